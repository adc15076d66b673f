// bpe_gguf.hpp: what the name of a GGUF's pre-tokenizer says without a key.
#include "morphvlm/text/bpe_gguf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/gguf_parts.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::bpe_gguf_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string text_list(const std::vector<std::string>& texts) {
  std::string bytes = testing::le(GgufType::text) + testing::le(std::uint64_t{texts.size()});
  for (const std::string& text : texts) bytes += testing::gguf_text(text);
  return bytes;
}

/// "the" is a token that no rule makes: merging ends at "t", "he".
testing::Parts small(std::string_view pre, bool bos) {
  testing::Parts parts;
  parts.key("tokenizer.ggml.model", "gpt2").key("tokenizer.ggml.pre", pre);
  parts.raw_key("tokenizer.ggml.tokens", GgufType::array, text_list({"t", "h", "e", "he", "the", "<b>"}));
  parts.raw_key("tokenizer.ggml.merges", GgufType::array, text_list({"h e"}));
  if (bos) parts.key("tokenizer.ggml.bos_token_id", GgufType::u32, std::uint32_t{5});
  return parts;
}

ByteLevelBpe read(const testing::Parts& parts) {
  const testing::ScratchFolder folder;
  return make_byte_level_bpe(gguf_bpe(open_gguf(testing::put(folder / "small.gguf", parts.bytes()))));
}

TEST(BpeGguf, LlamaBpeTakesWholeWordsAndBeginsWithBos) {
  for (const char* pre : {"llama-bpe", "llama3"}) {
    const ByteLevelBpe bpe = read(small(pre, true));
    EXPECT_THAT(encode_sequence(bpe, "the"), ElementsAre(5, 4)) << pre;
    auto without = small(pre, true);
    without.key("tokenizer.ggml.add_bos_token", GgufType::boolean, false);
    EXPECT_THAT(encode_sequence(read(without), "the"), ElementsAre(4)) << pre;
  }
}

TEST(BpeGguf, OtherNamesDoNeither) {
  for (const char* pre : {"gpt-2", "qwen2", "smollm", "mpt"}) {
    EXPECT_THAT(encode_sequence(read(small(pre, true)), "the"), ElementsAre(0, 3)) << pre;
    auto with = small(pre, true);
    with.key("tokenizer.ggml.add_bos_token", GgufType::boolean, true);
    EXPECT_THAT(encode_sequence(read(with), "the"), ElementsAre(5, 0, 3)) << pre;
  }
}

TEST(BpeGguf, ABosThatTheNameAsksForMustBeThere) {
  EXPECT_THAT(testing::message_of([] { read(small("llama-bpe", false)); }),
              AllOf(HasSubstr("tokenizer.ggml.add_bos_token is missing"),
                    HasSubstr("\"llama-bpe\" means true"), HasSubstr("there is no such token")));
}

}  // namespace
}  // namespace morphvlm::bpe_gguf_test
