// Rows of JSON files: long lists one element at a time (VQAv2's annotations as a whole would take gigabytes),
// and JSON lines.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"

namespace morphvlm {

namespace detail {

/// Walks over JSON text without reading values: what it takes for a value, parse_json checks.
struct JsonScanner {
  std::string_view text = {};
  std::string_view where = {};
  std::size_t at = 0;

  /// The next character that is not white space, 0 at the end.
  char peek() {
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
    return at < text.size() ? text[at] : '\0';
  }

  bool take(char c) {
    if (peek() != c) return false;
    ++at;
    return true;
  }

  void need(char c) { expect(take(c), where, ": not valid JSON: expected '", c, "' at byte ", at); }

  void skip_string() {
    for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
    at = std::min(at + 1, text.size());
  }

  /// The text of the value that begins here.
  std::string_view value() {
    int depth = 0;
    peek();
    const auto begin = at;
    while (at < text.size()) {
      const char c = text[at];
      if (c == '"') {
        skip_string();
        if (depth == 0) break;
        continue;
      }
      const bool closes = c == '}' || c == ']';
      if (depth == 0 && (closes || c == ',')) break;
      depth += (c == '{' || c == '[') - closes;
      ++at;
      if (closes && depth == 0) break;
    }
    return text.substr(begin, at - begin);
  }

  template <class F>
  void rows(F&& row) {
    need('[');
    if (take(']')) return;
    std::size_t index = 0;
    do {
      const std::string here = std::string(where) + ": row " + std::to_string(index);
      row(parse_json(value(), here), index, here);
      ++index;
    } while (take(','));
    need(']');
  }
};

}  // namespace detail

/// Calls `row(Json, index, where)` for each element of the list `key` of the object that `text` is; `where`
/// then names the row, for messages. The rest of the object is checked to be JSON and dropped. Errors: text
/// that is not JSON, no such list.
template <class F>
void for_each_json_row(std::string_view text, std::string_view key, std::string_view where, F&& row) {
  detail::JsonScanner in{text, where};
  bool found = false;
  std::set<std::string> keys;
  const auto expect_list = [&](bool ok) {
    expect(ok, where, ": expected an object with a list \"", key, '"');
  };
  if (!in.take('{')) {
    parse_json(text, where);
    expect_list(false);
  }
  if (!in.take('}')) {
    do {
      const Json name = parse_json(in.value(), where);
      expect(name.is_string(), where, ": not valid JSON: expected a key before byte ", in.at);
      expect(keys.insert(name.get<std::string>()).second, where, ": key ", name.dump(),
             " appears twice in one object");
      in.need(':');
      if (name == key) {
        expect_list(in.peek() == '[');
        found = true;
        in.rows(row);
      } else {
        parse_json(in.value(), where);
      }
    } while (in.take(','));
    in.need('}');
  }
  expect(in.peek() == '\0' && in.at == text.size(), where,
         ": not valid JSON: text behind the object at byte ", in.at);
  expect_list(found);
}

/// Calls `row(Json, number, where)` for each line of a file of JSON lines, an object each; `number` counts
/// from 1 and `where` names file and line, for messages. Empty lines are passed over. Errors: a line that is
/// no object; a file that is one JSON value over several lines.
template <class F>
void for_each_json_line(const std::filesystem::path& file, F&& row) {
  const auto lines = split_lines(read_text_file(file));
  bool first = true;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto begin = lines[i].find_first_not_of(" \t\r");
    if (begin == std::string::npos) continue;
    const std::string where = file.string() + ": line " + std::to_string(i + 1);
    const char c = lines[i][begin];
    // A list or an object that is laid out over lines begins with a line that is no JSON by itself.
    const bool opens =
        first &&
        (c == '[' || (c == '{' && lines[i].find_first_not_of(" \t\r", begin + 1) == std::string::npos));
    expect(!opens, where, ": expected JSON lines, one object a line, found the beginning of a JSON ",
           c == '[' ? "list" : "object over several lines");
    const Json json = parse_json(lines[i], where);
    expect(json.is_object(), where, ": expected an object, found ", json.dump());
    row(json, static_cast<std::int64_t>(i + 1), where);
    first = false;
  }
}

}  // namespace morphvlm
