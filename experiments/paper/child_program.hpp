// Other programs of the project, run as a user would.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace morphvlm::experiments {

/// Runs a program to its end, its output into the file `said`; what it says of its progress is shown. Errors
/// name the program: it cannot be started, it ended with another status than 0, or by a signal.
void run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                 const std::filesystem::path& said);

/// The folder that this program lies in.
std::filesystem::path own_folder();

}  // namespace morphvlm::experiments
