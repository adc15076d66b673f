// Pickles made byte by byte.
#pragma once

#include <span>
#include <string>

#include "morphvlm/formats/pickle.hpp"

namespace morphvlm::testing {

/// A pickle by its bytes, read as if it were a file's ("test.pt").
inline PickleDocument read(const std::string& bytes) {
  static std::string kept;
  kept = bytes;
  return read_pickle({std::as_writable_bytes(std::span(kept)), "test.pt"});
}

/// A short string.
inline std::string text(const std::string& s) {
  return "\x8c" + std::string(1, static_cast<char>(s.size())) + s;
}

/// A name.
inline std::string global(const std::string& module, const std::string& name) {
  return 'c' + module + '\n' + name + '\n';
}

}  // namespace morphvlm::testing
