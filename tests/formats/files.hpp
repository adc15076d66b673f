// Files that tests make: a folder of their own, and content byte by byte.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm::testing {

namespace fs = std::filesystem;

/// An empty folder that goes away with the test.
struct ScratchFolder {
  fs::path path;

  ScratchFolder() {
    auto name = (fs::temp_directory_path() / "morphvlm-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no scratch folder");
    path = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path operator/(std::string_view name) const { return path / name; }

  /// Names of what lies directly in it.
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(path)) found.insert(entry.path().filename().string());
    return found;
  }
};

inline std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline fs::path put(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

/// The little-endian bytes of a number.
template <class T>
std::string le(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// The message of the Error that f throws; empty where it throws none.
template <class F>
std::string error_text(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace morphvlm::testing

/// The expression throws an Error whose message has all the given parts.
#define EXPECT_ERROR(expression, ...)                                                \
  EXPECT_THAT(morphvlm::testing::error_text([&] { static_cast<void>(expression); }), \
              ::testing::AllOf(__VA_ARGS__))
