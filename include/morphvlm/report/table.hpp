// Tables of text, rendered for a terminal, for Markdown and for HTML.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/report/markup.hpp"

namespace morphvlm {

/// On which side a column's text stands.
enum class Align { left, right };

/// Rows of text under headings. Every row has as many cells as there are columns.
struct Table {
  std::string title = {};                           ///< above it; empty: none
  std::vector<std::string> columns = {};            ///< headings
  std::vector<std::vector<std::string>> rows = {};  ///< cells, row by row
  std::vector<std::string> notes = {};              ///< lines below the table
  std::vector<Align> align = {};  ///< of the columns; those it does not reach: the first left, others right
};

namespace detail {

inline void expect_regular(const Table& table) {
  expect(!table.columns.empty(), "table \"", table.title, "\": expected at least one column, found none");
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    expect(table.rows[i].size() == table.columns.size(), "table \"", table.title, "\": row ", i, " has ",
           table.rows[i].size(), " cells, expected ", table.columns.size());
  }
}

inline bool stands_right(const Table& table, std::size_t column) {
  return column < table.align.size() ? table.align[column] == Align::right : column > 0;
}

inline std::vector<std::size_t> column_widths(const Table& table) {
  std::vector<std::size_t> widths;
  for (const auto& name : table.columns) widths.push_back(text_width(name));
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], text_width(row[i]));
  }
  return widths;
}

inline std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, text_width(text)), ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

// One line, cells as wide as their columns; no spaces at its end.
inline std::string text_row(const Table& table, const std::vector<std::string>& cells,
                            const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += (i ? "  " : "") + padded(cells[i], widths[i], stands_right(table, i));
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
}

inline std::string markdown_cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '<' || c == '*' || c == '_' || c == '`') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

inline std::string html_row(const Table& table, const std::vector<std::string>& cells, std::string_view tag) {
  std::string out = "<tr>";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    out += '<' + std::string(tag) + (stands_right(table, i) ? " class=\"right\">" : ">") +
           escape_html(cells[i]) + "</" + std::string(tag) + '>';
  }
  return out + "</tr>\n";
}

}  // namespace detail

/// Aligned plain text for a terminal.
inline std::string to_text(const Table& table) {
  detail::expect_regular(table);
  const auto widths = detail::column_widths(table);
  std::vector<std::string> rule;
  for (const std::size_t width : widths) rule.emplace_back(width, '-');
  std::string out = table.title.empty() ? "" : table.title + '\n';
  out += detail::text_row(table, table.columns, widths) + detail::text_row(table, rule, widths);
  for (const auto& row : table.rows) out += detail::text_row(table, row, widths);
  for (const auto& note : table.notes) out += note + '\n';
  return out;
}

/// A Markdown table (GitHub's dialect), the title above it in bold and the notes below.
inline std::string to_markdown(const Table& table) {
  detail::expect_regular(table);
  const auto row = [](const std::vector<std::string>& cells) {
    std::string line = "|";
    for (const auto& cell : cells) line += ' ' + detail::markdown_cell(cell) + " |";
    return line + '\n';
  };
  std::string out = table.title.empty() ? "" : "**" + detail::markdown_cell(table.title) + "**\n\n";
  out += row(table.columns) + '|';
  for (std::size_t i = 0; i < table.columns.size(); ++i)
    out += detail::stands_right(table, i) ? "--:|" : "---|";
  out += '\n';
  for (const auto& cells : table.rows) out += row(cells);
  for (const auto& note : table.notes) out += '\n' + detail::markdown_cell(note) + '\n';
  return out;
}

/// An HTML table, all text escaped; its class names are styled by html.hpp.
inline std::string to_html(const Table& table) {
  detail::expect_regular(table);
  std::string out = "<div class=\"table\"><table>\n";
  if (!table.title.empty()) out += "<caption>" + escape_html(table.title) + "</caption>\n";
  out += "<thead>" + detail::html_row(table, table.columns, "th") + "</thead>\n<tbody>\n";
  for (const auto& row : table.rows) out += detail::html_row(table, row, "td");
  out += "</tbody></table></div>\n";
  for (const auto& note : table.notes) out += "<p class=\"note\">" + escape_html(note) + "</p>\n";
  return out;
}

}  // namespace morphvlm
