#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "morphvlm/report/html.hpp"
#include "morphvlm/report/markup.hpp"
#include "morphvlm/report/table.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::page_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(MarkupTest, Base64HasTheVectorsOfRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string("\xff\xef\x00", 3)), "/+8A");
}

TEST(MarkupTest, EscapesAndRepairs) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  EXPECT_EQ(escape_html("größe\n\t✓"), "größe\n\t✓");
  EXPECT_EQ(escape_html(std::string("a\0b\x1b\xff", 5)), "a�b��");
  EXPECT_EQ(text_width("größe ✓"), 7u);
}

Table example() {
  return {"A | B", {"model", "all", "größe"}, {{"blind", "67.0", "1"}, {"a_b <c>", "9", "12345"}}, {"n = 3"}};
}

TEST(TableTest, Text) {
  EXPECT_EQ(to_text(example()),
            "A | B\n"
            "model     all  größe\n"
            "-------  ----  -----\n"
            "blind    67.0      1\n"
            "a_b <c>     9  12345\n"
            "n = 3\n");
  Table left = example();
  left.align = {Align::right, Align::left, Align::left};
  EXPECT_THAT(to_text(left), HasSubstr("  blind  67.0  1\n"));
}

TEST(TableTest, Markdown) {
  EXPECT_EQ(to_markdown(example()),
            "**A \\| B**\n\n"
            "| model | all | größe |\n"
            "|---|--:|--:|\n"
            "| blind | 67.0 | 1 |\n"
            "| a\\_b \\<c> | 9 | 12345 |\n"
            "\nn = 3\n");
}

TEST(TableTest, Html) {
  EXPECT_THAT(to_html(example()),
              AllOf(HasSubstr("<caption>A | B</caption>"), HasSubstr("<th class=\"right\">all</th>"),
                    HasSubstr("<td>a_b &lt;c&gt;</td>"), HasSubstr("<p class=\"note\">n = 3</p>")));
}

TEST(TableTest, RowsOfAnotherLengthAreRefused) {
  Table wrong = example();
  wrong.rows[1].pop_back();
  for (const auto& render : {to_text, to_markdown, static_cast<std::string (*)(const Table&)>(to_html)}) {
    EXPECT_ERROR(render(wrong), AllOf(HasSubstr("\"A | B\""), HasSubstr("row 1 has 2 cells, expected 3")));
  }
  EXPECT_ERROR(to_text(Table{.title = "none"}), HasSubstr("at least one column"));
}

Page page() {
  const std::string png("\x89PNG\r\n\x1a\n and more", 17);
  return {
      "<Title>",
      "lead & more",
      {{"One",
        {Paragraph{"a < b"}, Paragraph{"small", true}, Verbatim{"{\"x\": 1}"},
         Tiles{{{"90 %", "fine-tuned", "n = 3"}}}, example(),
         Figures{{{to_svg(LinePlot{.series = {{.label = "loss", .x = {0, 1}, .y = {2, 1}}}}), "the loss"}}},
         Pictures{{{png,
                    "a \"red\" shape",
                    {{"question", "Is it <red>?"}, {"blind", "no", false}, {"seeing", "yes", true}}}}}}}},
      "seed 1"};
}

TEST(PageTest, HasEverythingEscaped) {
  const std::string html = to_html(page());
  EXPECT_THAT(html, StartsWith("<!doctype html>"));
  EXPECT_THAT(html, AllOf(HasSubstr("<title>&lt;Title&gt;</title>"), HasSubstr("lead &amp; more"),
                          HasSubstr("<p>a &lt; b</p>"), HasSubstr("<pre>{&quot;x&quot;: 1}</pre>"),
                          HasSubstr("<b>90 %</b>"), HasSubstr("<figcaption>the loss</figcaption>")));
  EXPECT_THAT(html,
              AllOf(HasSubstr("alt=\"a &quot;red&quot; shape\" src=\"data:image/png;base64,iVBORw0KGgog"),
                    HasSubstr("<dd>Is it &lt;red&gt;?</dd>"), HasSubstr("aria-label=\"wrong\">✗"),
                    HasSubstr("aria-label=\"right\">✓"), HasSubstr("seed 1")));
}

// Nothing is fetched: no address but the name of SVG's namespace, no script, no import.
TEST(PageTest, IsSelfContained) {
  const std::string html =
      std::regex_replace(to_html(page()), std::regex("xmlns=\"http://www.w3.org/2000/svg\""), "");
  for (const char* word : {"http:", "https:", "<script", "<link", "@import", "url(", "src=\"/"}) {
    EXPECT_THAT(html, Not(HasSubstr(word)));
  }
}

TEST(PageTest, ElementsAreClosed) {
  const std::string html = to_html(page());
  for (const std::string tag :
       {"section", "figure", "div", "dl", "dd", "table", "tr", "svg", "style", "main", "p"}) {
    const auto count = [&](const std::string& pattern) {
      const std::regex re(pattern);
      return std::distance(std::sregex_iterator(html.begin(), html.end(), re), std::sregex_iterator());
    };
    EXPECT_EQ(count('<' + tag + "[ >]"), count("</" + tag + '>')) << tag;
  }
}

TEST(PageTest, WhatIsNoPictureIsRefused) {
  Page wrong{"t", "", {{"s", {Pictures{{{"\xff\xd8\xff", "a photograph"}}}}}}};
  EXPECT_ERROR(to_html(wrong), AllOf(HasSubstr("\"a photograph\""), HasSubstr("PNG")));
  wrong.sections[0].blocks = {Figures{{{"<script>", ""}}}};
  EXPECT_ERROR(to_html(wrong), HasSubstr("<script>"));
}

TEST(PageTest, IsWritten) {
  const testing::ScratchFolder folder;
  save_page(page(), folder / "report/index.html");
  EXPECT_EQ(testing::contents(folder / "report/index.html"), to_html(page()));
}

}  // namespace
}  // namespace morphvlm::page_test
