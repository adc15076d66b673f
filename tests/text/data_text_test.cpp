// data_text.hpp: special tokens in people's own words. That the ids are those of `split_special_tokens` is in
// tokenizers_5_test.cpp.
#include "morphvlm/text/data_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/data/few_shot.hpp"
#include "morphvlm/data/vqa_text.hpp"
#include "morphvlm/text/load_tokenizer.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::data_text_test {
namespace {

using testing::golden_file;
using testing::message_of;

Tokenizer sentence_piece() {
  SentencePieceSpec spec;
  spec.model = read_file_bytes(golden_file("llama_small/tokenizer.model"));
  return make_sentence_piece(std::move(spec), "small");
}

/// One of each kind, with OpenFlamingo's tokens.
std::vector<Tokenizer> every_kind() {
  std::vector<Tokenizer> all = {load_tokenizer(golden_file("bpe_small/tokenizer.json")),
                                load_tokenizer(golden_file("llama_small/tokenizer.json")), sentence_piece(),
                                load_tokenizer(golden_file("biogpt_small"))};
  for (Tokenizer& tokenizer : all) add_media_tokens(tokenizer);
  return all;
}

TEST(DataText, ASpecialTokenIsNamedWithItsRow) {
  for (const Tokenizer& tokenizer : every_kind()) {
    const DataText words(tokenizer);
    EXPECT_EQ(words("Is it <red>?", "row 3"), "Is it <red>?");
    EXPECT_EQ(
        message_of([&] { words("Is <image> red?", "q.jsonl: line 3"); }),
        "q.jsonl: line 3: \"Is <image> red?\": special token \"<image>\" in the data; take it out, or have "
        "special tokens in data taken as text");
    EXPECT_THAT(message_of([&] { words("yes<|endofchunk|>", "row 0"); }),
                ::testing::HasSubstr("<|endofchunk|>"));
  }
}

TEST(DataText, AsTextItHasNoPlaceForAPicture) {
  for (const Tokenizer& tokenizer : every_kind()) {
    const DataText words(tokenizer, SpecialInData::text);
    const std::int64_t image = *token_id(tokenizer, "<image>"), end = *token_id(tokenizer, "<|endofchunk|>");
    const auto ids = encode(tokenizer, "<image>Question:" + words("Is <image> red?", "") + " Short answer:" +
                                           words("no <|endofchunk|>", "") + "<|endofchunk|>");
    EXPECT_EQ(std::ranges::count(ids, image), 1);
    EXPECT_EQ(ids.front(), image);
    EXPECT_EQ(std::ranges::count(ids, end), 1);
    EXPECT_EQ(ids.back(), end);
    EXPECT_EQ(encode(tokenizer, words("nothing special", "")), encode(tokenizer, "nothing special"));
  }
}

TEST(DataText, GoesThroughPrompts) {
  const Tokenizer tokenizer = every_kind()[0];
  const DataText words(tokenizer, SpecialInData::text);
  const std::int64_t image = *token_id(tokenizer, "<image>");
  const auto tokens = tokenize_vqa(kVqaPrompt, words("<image>?", ""), "no", image,
                                   [&](const std::string& text) { return encode(tokenizer, text); });
  EXPECT_EQ(std::ranges::count(whole_text(tokens), image), 1);
  const std::string answer = words("<image>", "");
  const auto ids = encode(tokenizer, vqa_prompt(words(" a <image> ", ""), &answer, kFewShotV0));
  EXPECT_EQ(std::ranges::count(ids, image), 1);
}

TEST(DataText, BytesThatAreNoMarksAreStillRefused) {
  for (const Tokenizer& tokenizer : every_kind())
    for (const char* text : {"caf\xE9", "caf\xFE", "caf\xFF", "caf\xFE\xFE\xFF"})
      EXPECT_THAT(message_of([&] { encode(tokenizer, text); }),
                  ::testing::HasSubstr("not valid UTF-8 at byte 3"));
}

}  // namespace
}  // namespace morphvlm::data_text_test
