// Files of the source tree, as text.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace morphvlm::structure {

/// What the file `name` of the source tree holds; a failure where there is none.
inline std::string text_of(const std::string& name) {
  std::ifstream in(std::filesystem::path(MORPHVLM_SOURCE_DIR) / name);
  EXPECT_TRUE(in.good()) << name;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace morphvlm::structure
