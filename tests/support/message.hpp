// What a failing call says.
#pragma once

#include <string>

#include "morphvlm/core/error.hpp"

namespace morphvlm::testing {

/// The message of the Error that f() throws.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

}  // namespace morphvlm::testing
