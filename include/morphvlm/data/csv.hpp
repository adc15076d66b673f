// Comma-separated values (RFC 4180), as spreadsheets write them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/text_file.hpp"

namespace morphvlm {

/// One record.
struct CsvRow {
  std::vector<std::string> fields = {};  ///< without their quotes; one at least
  std::int64_t line = 0;                 ///< of the file (from 1) on which it starts
};

namespace detail {

/// A position in the text; `line` counts line ends passed.
struct CsvCursor {
  std::string_view text = {};
  std::size_t at = 0;
  std::int64_t line = 1;

  bool done() const { return at >= text.size(); }
  bool at_line_end() const { return !done() && (text[at] == '\n' || text[at] == '\r'); }
  void skip_line_end() {
    at += text.substr(at, 2) == "\r\n" ? 2 : 1;
    ++line;
  }
};

inline std::string read_quoted_csv_field(CsvCursor& in, std::string_view where) {
  const auto start = in.line;
  std::string field;
  for (++in.at; !in.done(); ++in.at) {
    const char c = in.text[in.at];
    if (c == '"' && in.text.substr(in.at, 2) != "\"\"") {
      ++in.at;
      expect(in.done() || in.at_line_end() || in.text[in.at] == ',', where, ": line ", in.line,
             ": text after a closing quote");
      return field;
    }
    if (c == '"') ++in.at;
    if (c == '\n') ++in.line;
    field += c;
  }
  fail(where, ": line ", start, ": a quote is not closed");
}

inline std::string read_csv_field(CsvCursor& in, std::string_view where) {
  if (!in.done() && in.text[in.at] == '"') return read_quoted_csv_field(in, where);
  const auto begin = in.at;
  while (!in.done() && in.text[in.at] != ',' && !in.at_line_end()) ++in.at;
  return std::string(in.text.substr(begin, in.at - begin));
}

}  // namespace detail

/// Records of `text`; a byte order mark in front is skipped, and so are empty lines. Fields in quotes may
/// hold commas, line ends and doubled quotes. Error: a quote that is not closed, or text behind a closing
/// one; `where` leads it.
inline std::vector<CsvRow> parse_csv(std::string_view text, std::string_view where) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<CsvRow> rows;
  for (detail::CsvCursor in{text}; !in.done();) {
    if (in.at_line_end()) {
      in.skip_line_end();
      continue;
    }
    CsvRow row{.line = in.line};
    row.fields.push_back(detail::read_csv_field(in, where));
    while (!in.done() && in.text[in.at] == ',') {
      ++in.at;
      row.fields.push_back(detail::read_csv_field(in, where));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Reads a whole file of UTF-8 text; see parse_csv.
inline std::vector<CsvRow> read_csv(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  expect_utf8_file(text, path.string());
  return parse_csv(text, path.string());
}

}  // namespace morphvlm
