// Files that are read as a whole: one reader of other people's text, which says what a file is where it is
// no text.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/downloaded_file.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/utf8.hpp"

namespace morphvlm {

/// A whole file's bytes, as they are; an error where it cannot be read.
inline std::string read_file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  // A folder opens, and fails only when read.
  expect(in.good() && !std::filesystem::is_directory(path), path.string(), ": cannot be opened for reading");
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  expect_downloaded(bytes, path.string());
  return bytes;
}

namespace detail {

/// What bytes are that are no UTF-8 text, as far as their beginning tells; "" where they may be text.
inline std::string_view not_text(std::string_view bytes) {
  using namespace std::string_view_literals;
  constexpr std::size_t kBeginning = 4096;  // so that a file of gigabytes is not read for it
  if (bytes.starts_with("\xFF\xFE\0\0"sv) || bytes.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32 text";
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) return "UTF-16 text";
  if (bytes.starts_with("\x1F\x8B")) return "gzip data (unpack it first)";
  if (bytes.starts_with("PK\x03\x04")) return "a zip archive (unpack it first)";
  const auto begin = bytes.substr(0, kBeginning);
  const auto zeros = static_cast<std::size_t>(std::ranges::count(begin, '\0'));
  if (zeros == 0) return "";
  // Latin letters in UTF-16 have a zero in every other byte, and no other text has any.
  std::size_t even = 0, odd = 0;
  for (std::size_t i = 0; i < begin.size(); ++i) (i % 2 == 0 ? even : odd) += begin[i] == '\0' ? 1 : 0;
  const bool one_side = even == 0 || odd == 0;
  return one_side && 3 * zeros > begin.size() ? "UTF-16 text" : "binary data";
}

}  // namespace detail

/// `bytes` of a file as UTF-8 text, without the byte order mark that some programs put in front; UTF-16,
/// packed and binary data are errors that say so, led by `where`. Only the beginning is looked at.
inline std::string_view as_text(std::string_view bytes, std::string_view where) {
  const auto other = detail::not_text(bytes);
  expect(other.empty(), where, ": expected UTF-8 text, found ", other);
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  return bytes;
}

/// A whole text file; see as_text. Lines may end with CR LF: split_lines takes both.
inline std::string read_text_file(const std::filesystem::path& path) {
  std::string bytes = read_file_bytes(path);
  const auto text = as_text(bytes, path.string());
  bytes.erase(0, bytes.size() - text.size());
  return bytes;
}

/// Refuses text of a file that is not UTF-8, naming the byte and what people do about it.
inline void expect_utf8_file(std::string_view text, std::string_view where) {
  const std::size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  const auto line = 1 + std::ranges::count(text.substr(0, at), '\n');
  fail(where, ": line ", line, ": expected UTF-8 text, found byte ",
       int{static_cast<unsigned char>(text[at])}, " at ", at,
       ", which is none (text in Windows-1252 or Latin-1? Save it as UTF-8)");
}

/// The lines between line ends (LF or CR LF): one more than there are line ends.
inline std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    if (line.ends_with('\r') && end < text.size()) line.remove_suffix(1);
    lines.emplace_back(line);
    at = end + 1;
  }
  return lines;
}

}  // namespace morphvlm
