// Files that are read as a whole.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// A whole file as text; an error where it cannot be read.
inline std::string read_text_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  // A folder opens, and fails only when read.
  expect(in.good() && !std::filesystem::is_directory(path), path.string(), ": cannot be opened for reading");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace morphvlm
