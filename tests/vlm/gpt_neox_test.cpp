// Parity of GPT-NeoX inside open_flamingo's Flamingo (tests/golden/language_models.py), and its known sizes.
#include <gtest/gtest.h>

#include "tests/support/flamingo_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::gpt_neox_test {
namespace {

using testing::FlamingoCase;
using testing::open_golden;

template <class P>
using NeoxFlamingo = VLM<ClipViT, Perceiver, GPTNeoX, P>;

const Init kShapesOnly{at::TensorOptions(at::kFloat).device(at::kMeta)};

TEST(GPTNeoXParity, Logits) { FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_logits(); }

TEST(GPTNeoXParity, LanguageModelAlone) {
  FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_language_logits();
}

TEST(GPTNeoXParity, LogitsInBf16) {
  FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_logits_in_bf16();
}

TEST(GPTNeoXParity, AdapterLogitsAndGradients) {
  FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_adapter_gradients();
}

TEST(GPTNeoXParity, MergedAdaptersLeaveLogits) {
  FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_merged_logits();
}

TEST(GPTNeoXParity, GreedyDecodingWithCacheAndLeftPadding) {
  FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_greedy();
}

TEST(GPTNeoXParity, BeamSearch) { FlamingoCase<NeoxFlamingo>{open_golden("flamingo_neox")}.expect_beams(); }

TEST(GPTNeoXParity, ParallelResidualPartialRotaryTiedHead) {
  const FlamingoCase<NeoxFlamingo> parallel{open_golden("flamingo_neox_parallel")};
  parallel.expect_logits();
  parallel.expect_language_logits();
}

TEST(GPTNeoXSizes, RedPajamaIncite3B) {
  EXPECT_EQ(parameter_count(GPTNeoXModel<NoAdapter>::init(presets::redpajama_incite_3b, kShapesOnly)),
            2'775'864'320);
}

TEST(GPTNeoX, OddRotaryDimensionIsRefused) {
  GPTNeoXConfig config;
  config.rotary_pct = 0.34;
  EXPECT_NE(
      testing::message_of([&] { GPTNeoXModel<NoAdapter>::init(config, kShapesOnly); }).find("27 dimensions"),
      std::string::npos);
}

}  // namespace
}  // namespace morphvlm::gpt_neox_test
