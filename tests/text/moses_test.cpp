// moses.hpp, moses_detokenizer.hpp and the classes of characters they rest on, against sacremoses
// (tests/golden/tokenizers_hf.py).
#include "morphvlm/text/moses.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "morphvlm/core/json.hpp"
#include "morphvlm/core/utf8.hpp"
#include "morphvlm/text/moses_detokenizer.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/sha256.hpp"

namespace morphvlm::moses_test {
namespace {

using ::testing::ElementsAre;
using testing::golden_file;

std::string utf8_of(std::uint32_t point) {
  std::string text;
  append_utf8(text, point);
  return text;
}

TEST(Moses, ClassesHaveTheReferencesCharacters) {
  const Json golden = read_json(golden_file("tokenizers.json")).at("moses_classes");
  const std::pair<const char*, std::string> classes[] = {{"letter", detail::moses_letter()},
                                                         {"letter_or_digit", detail::moses_letter_or_digit()},
                                                         {"number", detail::moses_number()},
                                                         {"lower", detail::moses_lower()},
                                                         {"plain_letter", detail::moses_plain_letter()},
                                                         {"currency", detail::moses_currency()}};
  ASSERT_EQ(golden.size(), std::size(classes));
  for (const auto& [name, pattern] : classes) {
    const Regex one = compile_regex("\\A" + pattern + "\\z");
    std::string points;
    std::size_t count = 0;
    for (std::uint32_t point = 0; point < 0x110000; ++point) {
      if ((point >= 0xD800 && point < 0xE000) || !regex_search(one, utf8_of(point))) continue;
      points += (count++ > 0 ? " " : "") + std::to_string(point);
    }
    EXPECT_EQ(count, golden.at(name)[0].get<std::size_t>()) << name;
    EXPECT_EQ(testing::sha256(points), golden.at(name)[1].get<std::string>()) << name;
  }
}

TEST(Moses, WordsAndTextsAreTheReferences) {
  const Json cases = read_json(golden_file("tokenizers.json")).at("bio_gpt").at("cases");
  ASSERT_EQ(cases.size(), 213u);
  for (const Json& row : cases) {
    const auto words = moses_tokenize(row.at("text").get<std::string>());
    EXPECT_EQ(words, row.at("words").get<std::vector<std::string>>()) << row.dump();
    EXPECT_EQ(moses_detokenize(words), row.at("detokenized").get<std::string>()) << row.dump();
  }
}

TEST(Moses, SplitsAndJoins) {
  EXPECT_THAT(moses_tokenize("AT&T's IL-2..."),
              ElementsAre("AT", "&amp;", "T", "&apos;s", "IL", "@-@", "2", "..."));
  EXPECT_EQ(moses_detokenize({"IL", "@-@", "2", "(", "n", "=", "5", ")", "."}), "IL-2 (n = 5).");
}

}  // namespace
}  // namespace morphvlm::moses_test
