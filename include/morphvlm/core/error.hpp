// The one exception type, and the one way to raise it.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace morphvlm {

/// Every failure the toolkit reports. The message names the file or key, what was expected, what was
/// found and, where it helps, what to do about it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws Error with all parts streamed into one message.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

/// Throws Error with the given parts unless `condition` holds.
template <class... Parts>
void expect(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

}  // namespace morphvlm
