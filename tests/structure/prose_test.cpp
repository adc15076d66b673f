// Pages are wrapped, what they link to and name is there, and the index has them all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/structure/prose.hpp"
#include "tests/structure/rules.hpp"

namespace morphvlm::structure {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::filesystem::path kRoot = MORPHVLM_SOURCE_DIR;

TEST(Prose, PagesOfTheTreeAreFound) {
  const auto pages = markdown_pages(kRoot);
  for (const char* page : {"README.md", "CONTRIBUTING.md", "docs/design.md", "docs/tutorials/compose.md",
                           "docs/performance.md", "tests/golden/README.md"})
    EXPECT_THAT(pages, Contains(page));
}

TEST(Prose, EveryPageIsWrapped) {
  std::string all;
  for (const auto& page : markdown_pages(kRoot)) {
    for (const auto& wrong : check_wrap(page, text_of(page))) all += wrong + '\n';
  }
  EXPECT_EQ(all, "");
}

TEST(Prose, EveryLinkLeadsToAFile) {
  std::string all;
  for (const auto& page : markdown_pages(kRoot)) {
    for (const auto& wrong : check_links(kRoot, page, text_of(page))) all += wrong + '\n';
  }
  EXPECT_EQ(all, "");
}

TEST(Prose, EverySourceThatAPageNamesIsThere) {
  std::string all;
  for (const auto& page : markdown_pages(kRoot)) {
    if (page == "docs/changelog.md") continue;  // it also names what was there before
    for (const auto& wrong : check_sources(kRoot, page, text_of(page))) all += wrong + '\n';
  }
  EXPECT_EQ(all, "");
}

TEST(Prose, TheIndexHasEveryPage) {
  const std::string index = text_of("docs/README.md");
  for (const auto& page : markdown_pages(kRoot)) {
    if (!page.starts_with("docs/") || page == "docs/README.md") continue;
    const std::string path = page.substr(std::string("docs/").size());
    // The tutorials have an index of their own.
    const std::string listed = path.starts_with("tutorials/") ? "tutorials/README.md" : path;
    EXPECT_THAT(index, HasSubstr("](" + listed + ")")) << page;
  }
}

TEST(Prose, TheReadmeFitsOnTwoScreens) { EXPECT_LE(line_count(kRoot / "README.md"), 100U); }

TEST(Prose, TheChangelogKeepsItsForm) {
  EXPECT_THAT(check_changelog(text_of("docs/changelog.md")), IsEmpty());
}

// The order that the test of the layers holds is the one that pages and the picture show.
TEST(Prose, TheOrderOfTheLayersIsTheOneThatIsHeld) {
  std::string text, chain;
  for (const char* layer : kLayers) chain += (chain.empty() ? "" : " -> ") + std::string(layer);
  for (const char* page : {"docs/design.md", "CONTRIBUTING.md"}) {
    text = text_of(page);
    std::ranges::replace(text, '\n', ' ');
    EXPECT_THAT(text, HasSubstr(chain)) << page;
  }
  const std::string picture = text_of("docs/layers.svg");
  std::size_t last = 0;  // a layer's name is looked for behind the one before it
  for (const char* layer : kLayers) {
    const auto at = picture.find(">" + std::string(layer) + "</text>", last);
    ASSERT_NE(at, std::string::npos) << layer << " is missing, or stands before an earlier one";
    last = at;
  }
}

TEST(Prose, ALongLineIsFound) {
  const std::string line = std::string(97, 'x') + " ab";
  EXPECT_THAT(check_wrap("a.md", "short\n" + line + "\n"), IsEmpty());
  EXPECT_THAT(check_wrap("a.md", "short\n" + line + "c\n"), ElementsAre("a.md:2: 101 columns"));
  EXPECT_THAT(check_wrap("a.md", "- " + line + "\n"), ElementsAre("a.md:1: 102 columns"));
  EXPECT_THAT(check_wrap("a.md", std::string(98, 'x') + " \u00b1\n"), IsEmpty());
  // Behind code that has ended, too.
  EXPECT_THAT(check_wrap("a.md", "```\n" + line + line + "\n```\n" + line + "c\n"),
              ElementsAre("a.md:4: 101 columns"));
}

TEST(Prose, TablesCodeAndWordsMayBeWider) {
  const std::string wide(101, 'x');
  EXPECT_THAT(check_wrap("a.md", "| " + wide + " | b |\n"), IsEmpty());
  EXPECT_THAT(check_wrap("a.md", "  ```sh\n  a " + wide + "\n  ```\n"), IsEmpty());
  EXPECT_THAT(check_wrap("a.md", "  " + wide + "\n- " + wide + "\n12. " + wide + "\n"), IsEmpty());
}

TEST(Prose, AMissingFileIsFound) {
  EXPECT_THAT(check_links(kRoot, "docs/a.md", "[x](design.md#layers), [y](../README.md), [z](https://a.b/c)"),
              IsEmpty());
  EXPECT_THAT(check_links(kRoot, "docs/a.md", "[x](README.md)\n[y](docs/design.md)"),
              ElementsAre("docs/a.md: links to docs/design.md, which is not there"));
  EXPECT_THAT(
      check_sources(kRoot, "a.md",
                    "`nn/linear.hpp`, `morphvlm/vlm.hpp`, `tests/structure/prose.hpp`, `io/keys*.hpp`"),
      IsEmpty());
  EXPECT_THAT(check_sources(kRoot, "a.md", "`morphvlm/nn/none.hpp`"),
              ElementsAre("a.md: names morphvlm/nn/none.hpp, which is not there"));
}

TEST(Prose, AnotherFormOfAChangelogIsFound) {
  EXPECT_THAT(check_changelog("# Changelog\n\nWords.\n\n## [1.0.0] - 2026-11-30\n### Added\n- one\n| a |\n"),
              IsEmpty());
  EXPECT_THAT(
      check_changelog("## 1.0.0\n### New\n- one\n  and more\n"),
      ElementsAre("no version: ## 1.0.0", "no kind of change: ### New", "no line of its own:   and more"));
}

}  // namespace
}  // namespace morphvlm::structure
