// utf8.hpp, byte_level.hpp, regex.hpp, pre_tokenizer.hpp, bpe_merge.hpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <set>

#include "morphvlm/core/utf8.hpp"
#include "morphvlm/text/bpe_merge.hpp"
#include "morphvlm/text/byte_level.hpp"
#include "morphvlm/text/pre_tokenizer.hpp"
#include "tests/data/data_support.hpp"

namespace morphvlm::text_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("aé二😀\U0010FFFF"), std::string_view::npos);
  const std::pair<const char*, std::size_t> bad[] = {{"\x80", 0},
                                                     {"a\xC0\xAF", 1},
                                                     {"\xC1\x81", 0},
                                                     {"\xE0\x80\x80", 0},
                                                     {"\xED\xA0\x80", 0},
                                                     {"\xF4\x90\x80\x80", 0},
                                                     {"\xF5\x80\x80\x80", 0},
                                                     {"ab\xE2\x82", 2},
                                                     {"\xE2\x28\xA1", 0},
                                                     {"\xFF", 0}};
  for (const auto& [text, at] : bad) EXPECT_EQ(find_invalid_utf8(text), at) << at;
  EXPECT_THAT(testing::error_of([] { expect_utf8("ab\xFF", "q.json"); }),
              HasSubstr("q.json: not valid UTF-8 at byte 2"));
}

TEST(Utf8, ReplacesEachMaximalPart) {
  // Table 3-8 of the Unicode standard and two of its neighbours.
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "��������A");
  EXPECT_EQ(replace_invalid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "�����A��B");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "����A");
  EXPECT_EQ(replace_invalid_utf8("ok é"), "ok é");
}

TEST(ByteLevel, IsAOneToOneAlphabet) {
  EXPECT_EQ(to_byte_level(" a\n"), "ĠaĊ");
  EXPECT_EQ(to_byte_level("é"), "Ã©");
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    EXPECT_TRUE(seen.insert(to_byte_level(one)).second) << byte;
    EXPECT_EQ(from_byte_level(to_byte_level(one)), one) << byte;
    EXPECT_EQ(find_invalid_utf8(to_byte_level(one)), std::string_view::npos);
  }
  EXPECT_EQ(from_byte_level("a b"), std::nullopt);
  EXPECT_EQ(from_byte_level("二"), std::nullopt);
  EXPECT_EQ(from_byte_level("\xC4"), std::nullopt);
}

TEST(Regex, WhiteSpaceIsUnicodeWhiteSpace) {
  EXPECT_TRUE(regex_search(compile_regex(R"(^\s$)"), "\u3000"));
  EXPECT_TRUE(regex_search(compile_regex(R"(^[\s]$)"), "\u0085"));
  EXPECT_FALSE(regex_search(compile_regex(R"(\s)"), "\u180E"));
  EXPECT_TRUE(regex_search(compile_regex(R"(\S)"), "\u180E"));
  EXPECT_TRUE(regex_search(compile_regex(R"(\\s)"), "\\s"));
}

TEST(Regex, RefusesBadPatternsAndText) {
  EXPECT_THAT(testing::error_of([] { compile_regex("a(b"); }), HasSubstr("a(b"));
  EXPECT_THAT(testing::error_of([] { regex_search(compile_regex("a"), "b\xFF"); }), HasSubstr("UTF-8"));
}

TEST(Regex, StopsAPatternThatExplodes) {
  const Regex bomb = compile_regex("(a+)+$");
  const std::string text = std::string(40, 'a') + "b";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(testing::error_of([&] { regex_search(bomb, text); }), HasSubstr("limit"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST(Regex, LowerCase) {
  EXPECT_EQ(lower_case("ÀÉ Straße ЖЯ"), "àé straße жя");
  EXPECT_EQ(lower_case("ΣΑΣ ΑΣ' Α'ΣΑ ΑΣ.Σ Σ İΣ"), "σας ας' α'σα ασ.ς σ i̇ς");  // str.lower()'s own answer
  EXPECT_EQ(lower_case(""), "");
  EXPECT_EQ(lower_case(std::string(100, 'A') + "\u023A\u023A"), std::string(100, 'a') + "\u2C65\u2C65");
}

Words cut(std::string_view name, std::string_view text) {
  return pre_tokenize(compile_pre_tokenizer(named_pre_tokenizer(name)), text);
}

TEST(PreTokenizer, Gpt2Words) {
  EXPECT_THAT(cut("gpt-2", "I'm  here,  42!\n "),
              ElementsAre("I", "'m", " ", " here", ",", " ", " 42", "!", "\n "));
  EXPECT_THAT(cut("gpt-2", ""), ElementsAre());
}

TEST(PreTokenizer, SmollmCutsDigitsFirst) {
  // The spaces before a digit are a piece of their own by then, so none is left out for it.
  EXPECT_THAT(cut("smollm", "a  42 b"), ElementsAre("a", "  ", "4", "2", " b"));
}

TEST(PreTokenizer, Llama3TakesThreeDigits) {
  EXPECT_THAT(cut("llama-bpe", "12345\n\nx"), ElementsAre("123", "45", "\n\n", "x"));
}

TEST(PreTokenizer, RefusesUnknownNames) {
  EXPECT_THAT(testing::error_of([] { named_pre_tokenizer("poro-chat"); }), HasSubstr("\"poro-chat\""));
}

TEST(PreTokenizer, LongRunsAreLinear) {
  for (const char* unit : {"a", " ", "1", "!", "é", "\n"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += unit;
    EXPECT_EQ(cut("gpt-2", text).size(), 1u) << unit;
    EXPECT_LE(cut("gpt-2", text + "x").size(), 3u) << unit;
  }
}

/// The definition of the merge loop, word for word: quadratic, and nothing to get wrong.
std::vector<std::int64_t> merge_by_definition(const BpeMerges& merges, const std::vector<std::int32_t>& in) {
  std::vector<std::int64_t> ids(in.begin(), in.end());
  for (;;) {
    std::size_t best = ids.size();
    BpeMerge rule{};
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found =
          merges.find(bpe_pair(static_cast<std::int32_t>(ids[i]), static_cast<std::int32_t>(ids[i + 1])));
      if (found != merges.end() && (best == ids.size() || found->second.rank < rule.rank)) {
        best = i;
        rule = found->second;
      }
    }
    if (best == ids.size()) return ids;
    ids[best] = rule.id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BpeMerge, EqualsItsDefinitionOnRandomRules) {
  std::mt19937 random(7);
  const auto below = [&](std::int32_t n) {
    return static_cast<std::int32_t>(random() % static_cast<unsigned>(n));
  };
  for (int round = 0; round < 300; ++round) {
    BpeMerges merges;
    std::int32_t tokens = 3;
    for (std::int32_t rank = 0; rank < 12; ++rank)
      if (merges.emplace(bpe_pair(below(tokens), below(tokens)), BpeMerge{rank, tokens}).second) ++tokens;
    std::vector<std::int32_t> word;
    for (std::int32_t i = below(40); i > 0; --i) word.push_back(below(3));
    ASSERT_EQ(bpe_merge(merges, word), merge_by_definition(merges, word)) << "round " << round;
  }
}

}  // namespace
}  // namespace morphvlm::text_test
