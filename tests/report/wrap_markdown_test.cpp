#include "morphvlm/report/wrap_markdown.hpp"

#include <gtest/gtest.h>

#include <string>

namespace morphvlm::wrap_markdown_test {
namespace {

TEST(WrapMarkdown, ParagraphsAreBrokenBeforeTheWordThatDoesNotFit) {
  EXPECT_EQ(wrap_markdown("one two three\n\nfour five six\n", 9), "one two\nthree\n\nfour five\nsix\n");
  EXPECT_EQ(wrap_markdown("one two", 7), "one two");
  EXPECT_EQ(wrap_markdown("one two", 6), "one\ntwo");
  EXPECT_EQ(wrap_markdown("", 9), "");
}

TEST(WrapMarkdown, AWordThatIsTooLongStandsAlone) {
  EXPECT_EQ(wrap_markdown("a https://example.org/long b", 8), "a\nhttps://example.org/long\nb");
}

TEST(WrapMarkdown, WidthCountsCharactersAndNotBytes) {
  EXPECT_EQ(wrap_markdown("± ± ± ±", 7), "± ± ± ±");
  EXPECT_EQ(wrap_markdown("± ± ± ±", 6), "± ± ±\n±");
}

// In front, these would begin a list, a heading, a quotation or a table.
TEST(WrapMarkdown, NoLineBeginsWithWhatWouldBeMarkup) {
  for (const std::string word : {"-", "+", "*", "12.", "3)", "#", "##", "=", "|x", ">"})
    EXPECT_EQ(wrap_markdown("aaaa " + word + " bbbb", 5), "aaaa " + word + "\nbbbb") << word;
  EXPECT_EQ(wrap_markdown("aaaa +4.2 bbbb", 5), "aaaa\n+4.2\nbbbb");
}

TEST(WrapMarkdown, TablesCodeHeadingsListsAndImagesStay) {
  const std::string page =
      "# a heading of some length\n\n| a | table of some length |\n|---|---|\n\n"
      "```sh\na command of some length\n```\n\n![a picture of some length](p.svg)\n\n"
      "- an item of some length\n\n    indented by four, so code\n";
  EXPECT_EQ(wrap_markdown(page, 10), page);
  EXPECT_EQ(wrap_markdown("```\na b c\n```\nd e f\n", 3), "```\na b c\n```\nd e\nf\n");
}

}  // namespace
}  // namespace morphvlm::wrap_markdown_test
