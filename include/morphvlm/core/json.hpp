// JSON: the only header that names nlohmann/json. Everything else says `Json` and uses the readers here,
// which turn the library's exceptions into ours.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Insertion-ordered, so that files written here read in the order of the fields.
using Json = nlohmann::ordered_json;

/// Deepest nesting accepted from a file: far above any config, far below the parser's stack.
inline constexpr int kMaxJsonDepth = 64;

namespace detail {

// Before there are values, with which most things are done by recursion. (The parser's callback could tell
// the depth too, but makes long lists of objects take quadratic time.) In what is not JSON a bracket may be
// miscounted; the parser then says what is wrong.
inline void expect_shallow_json(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\';
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      expect(++depth <= kMaxJsonDepth, where, ": JSON nested deeper than ", kMaxJsonDepth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

}  // namespace detail

/// Parses `text`; `where` (a file or key) leads the message of any error.
inline Json parse_json(std::string_view text, std::string_view where) {
  detail::expect_shallow_json(text, where);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& e) {
    fail(where, ": not valid JSON: ", e.what());
  }
}

/// Reads and parses a whole file.
inline Json read_json(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  // A folder opens, and fails only when read.
  expect(in.good() && !std::filesystem::is_directory(path), path.string(), ": cannot be opened for reading");
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return parse_json(text, path.string());
}

/// The member `key` of `object` as T; a missing key or another type is an error naming `where` and the key.
template <class T>
T json_get(const Json& object, std::string_view key, std::string_view where) {
  expect(object.is_object() && object.contains(key), where, ": key \"", key, "\" is missing");
  try {
    return object.at(std::string(key)).template get<T>();
  } catch (const nlohmann::json::exception& e) {
    fail(where, ": key \"", key, "\": ", e.what());
  }
}

}  // namespace morphvlm
