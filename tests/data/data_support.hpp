// What the tests of this folder share: where the data packages and the golden files are, scratch files.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm::testing {

/// `relative` under the folder of the data packages; the environment goes before the build's own setting.
inline std::filesystem::path data_file(std::string_view relative) {
  const char* set = std::getenv("MORPHVLM_DATA_ROOT");
  return std::filesystem::path(set != nullptr ? set : MORPHVLM_DATA_ROOT) / relative;
}

inline std::filesystem::path golden_file(std::string_view relative) {
  return std::filesystem::path(MORPHVLM_GOLDEN_DIR) / relative;
}

/// An empty folder of the running test's own.
inline std::filesystem::path scratch_folder() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const auto folder = std::filesystem::path(::testing::TempDir()) / "morphvlm" /
                      (std::string(test->test_suite_name()) + "." + test->name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

inline void write_file_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// The message of the Error that `f` throws; a test failure and "" if it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "expected an Error";
  return {};
}

}  // namespace morphvlm::testing

/// Skips the test, with the reason, where a file of the data packages is not there.
#define MORPHVLM_NEEDS_DATA(relative)                                     \
  if (!std::filesystem::exists(::morphvlm::testing::data_file(relative))) \
  GTEST_SKIP() << ::morphvlm::testing::data_file(relative).string() << " is missing (MORPHVLM_DATA_ROOT)"
