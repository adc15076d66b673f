// Generated Markdown that is as readable as text as it is rendered.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "morphvlm/report/markup.hpp"

namespace morphvlm {

namespace detail {

// Words that would begin a list, a heading, a quotation or a table if they stood first in a line.
inline bool begins_a_block(std::string_view word) {
  const auto digits = word.find_first_not_of("0123456789");
  const bool numbered = digits != 0 && digits != std::string_view::npos && digits + 1 == word.size() &&
                        (word[digits] == '.' || word[digits] == ')');
  return numbered || word == "-" || word == "+" || word == "*" || word.starts_with('|') ||
         word.starts_with('>') || word.find_first_not_of('=') == std::string_view::npos ||
         word.find_first_not_of('#') == std::string_view::npos || word.starts_with("```");
}

inline std::string wrapped_line(std::string_view line, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  while (!line.empty()) {
    const auto end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    const bool breaks = column > 0 && column + 1 + text_width(word) > width && !begins_a_block(word);
    if (column > 0) out += breaks ? '\n' : ' ';
    column = (breaks || column == 0 ? 0 : column + 1) + text_width(word);
    out += word;
  }
  return out;
}

}  // namespace detail

/// `markdown` with its paragraphs broken after at most `width` characters; it renders to the same. Tables,
/// fenced code, headings, images, lists and whatever is indented stay as they are.
inline std::string wrap_markdown(std::string_view markdown, std::size_t width = 100) {
  std::string out;
  bool code = false;
  while (!markdown.empty()) {
    const auto end = std::min(markdown.find('\n'), markdown.size());
    const std::string_view line = markdown.substr(0, end);
    const bool fence = line.starts_with("```");
    const bool kept = code || fence || line.starts_with(' ') || line.starts_with('#') ||
                      line.starts_with("![") || line.starts_with('|') || line.starts_with('>') ||
                      detail::begins_a_block(line.substr(0, line.find(' ')));
    out += kept ? std::string(line) : detail::wrapped_line(line, width);
    if (fence) code = !code;
    if (end < markdown.size()) out += '\n';
    markdown.remove_prefix(std::min(end + 1, markdown.size()));
  }
  return out;
}

}  // namespace morphvlm
