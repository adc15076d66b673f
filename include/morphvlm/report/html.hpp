// One self-contained HTML page: text, numbers, tables, plots and pictures, with nothing to fetch from
// anywhere.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/report/bars.hpp"
#include "morphvlm/report/html_style.hpp"
#include "morphvlm/report/markup.hpp"
#include "morphvlm/report/plot.hpp"
#include "morphvlm/report/table.hpp"

namespace morphvlm {

/// A paragraph; a note is smaller and paler.
struct Paragraph {
  std::string text;   ///< plain; escaped
  bool note = false;  ///< smaller and paler
};

/// Text as it is, such as a command or JSON.
struct Verbatim {
  std::string text;  ///< kept to the letter; escaped
};

/// A number to be seen first: large, with what it is and one line on it.
struct Tile {
  std::string value;        ///< the number, as it is to be read
  std::string label;        ///< what it is
  std::string detail = {};  ///< one line on it; empty: none
};

/// A row of tiles.
struct Tiles {
  std::vector<Tile> items;  ///< from left to right
};

/// A plot (to_svg's text) with a caption.
struct Figure {
  std::string svg;           ///< an `<svg>` element of its own
  std::string caption = {};  ///< below it; empty: none
};

/// Figures side by side where the window is wide enough.
struct Figures {
  std::vector<Figure> items;  ///< from left to right
};

/// A line below a picture, such as {"answer", "red"}; with `right` it gets a mark.
struct CaptionLine {
  std::string label;               ///< what the text is, such as "answer"
  std::string text;                ///< what is said
  std::optional<bool> right = {};  ///< whether it is right; none: no mark
};

/// A picture with what is said of it.
struct PictureCard {
  std::string png;                      ///< the bytes of a PNG file
  std::string alt;                      ///< for those who cannot see it
  std::vector<CaptionLine> lines = {};  ///< from top to bottom
};

/// Cards in as many columns as fit.
struct Pictures {
  std::vector<PictureCard> items;  ///< row by row
};

/// What a section is made of.
using Block = std::variant<Paragraph, Verbatim, Tiles, Table, Figures, Pictures>;

/// A part of a page under a heading.
struct Section {
  std::string heading;             ///< of the second level
  std::vector<Block> blocks = {};  ///< from top to bottom
};

/// A page.
struct Page {
  std::string title;                   ///< of the page and of its window
  std::string lead = {};               ///< one or two sentences below the title
  std::vector<Section> sections = {};  ///< from top to bottom
  std::string footer = {};             ///< small, at the end; empty: none
};

namespace detail {

inline std::string element(std::string_view tag, std::string_view classes, std::string_view text) {
  const std::string open = classes.empty() ? "" : " class=\"" + std::string(classes) + '"';
  return '<' + std::string(tag) + open + '>' + escape_html(text) + "</" + std::string(tag) + '>';
}

inline std::string html_block(const Paragraph& p) {
  return element("p", p.note ? "note" : "", p.text) + '\n';
}

inline std::string html_block(const Verbatim& v) { return element("pre", "", v.text) + '\n'; }

inline std::string html_block(const Table& table) { return to_html(table); }

inline std::string html_block(const Tiles& tiles) {
  std::string out = "<div class=\"tiles\">\n";
  for (const Tile& tile : tiles.items) {
    out += "<div class=\"tile\">" + element("b", "", tile.value) + element("span", "", tile.label) +
           (tile.detail.empty() ? "" : element("small", "", tile.detail)) + "</div>\n";
  }
  return out + "</div>\n";
}

inline std::string html_block(const Figures& figures) {
  std::string out = "<div class=\"figures\">\n";
  for (const Figure& figure : figures.items) {
    expect(figure.svg.starts_with("<svg"), "page: a figure expects to_svg's text, found \"",
           figure.svg.substr(0, 20), '"');
    out += "<figure>" + figure.svg +
           (figure.caption.empty() ? "" : element("figcaption", "", figure.caption)) + "</figure>\n";
  }
  return out + "</div>\n";
}

inline std::string html_caption(const CaptionLine& line) {
  // The mark is a sign with a name, so that it needs neither colour nor eyes.
  const std::string mark = !line.right   ? ""
                           : *line.right ? " <span class=\"good\" role=\"img\" aria-label=\"right\">✓</span>"
                                         : " <span class=\"bad\" role=\"img\" aria-label=\"wrong\">✗</span>";
  return "<div>" + element("dt", "", line.label) + "<dd>" + escape_html(line.text) + mark + "</dd></div>";
}

inline std::string html_block(const Pictures& pictures) {
  std::string out = "<div class=\"pictures\">\n";
  for (const PictureCard& card : pictures.items) {
    expect(card.png.starts_with("\x89PNG\r\n\x1a\n"), "page: picture \"", card.alt,
           "\": expected the bytes of a PNG file");
    out += "<figure><img alt=\"" + escape_html(card.alt) + "\" src=\"data:image/png;base64," +
           base64(card.png) + "\">";
    if (!card.lines.empty()) {
      out += "<dl>";
      for (const CaptionLine& line : card.lines) out += html_caption(line);
      out += "</dl>";
    }
    out += "</figure>\n";
  }
  return out + "</div>\n";
}

}  // namespace detail

/// The page as a complete document; all text is escaped.
inline std::string to_html(const Page& page) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += detail::element("title", "", page.title) + '\n' + std::string(detail::kPageStyle) +
         "</head>\n<body>\n<main>\n";
  out += detail::element("h1", "", page.title) + '\n';
  if (!page.lead.empty()) out += detail::element("p", "lead", page.lead) + '\n';
  for (const Section& section : page.sections) {
    out += "<section>\n" + detail::element("h2", "", section.heading) + '\n';
    for (const Block& block : section.blocks) {
      out += std::visit([](const auto& b) { return detail::html_block(b); }, block);
    }
    out += "</section>\n";
  }
  if (!page.footer.empty()) out += "<footer>" + detail::element("p", "note", page.footer) + "</footer>\n";
  return out + "</main>\n</body>\n</html>\n";
}

/// Writes the page to `path`, atomically.
inline void save_page(const Page& page, const std::filesystem::path& path) {
  write_file(path, to_html(page));
}

}  // namespace morphvlm
