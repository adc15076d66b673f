// The suite as a program.
#pragma once

#include <string_view>

namespace morphvlm::repro {

/// Runs the suite with a command line. `only` are the rows that a program for one experiment runs unless
/// --only says otherwise. Returns the exit code: 0 if something was checked and nothing failed.
int program(int argc, char** argv, std::string_view only = "") noexcept;

}  // namespace morphvlm::repro
