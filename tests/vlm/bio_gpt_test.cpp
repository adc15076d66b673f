// Parity of BioGPT inside open_flamingo's Flamingo (tests/golden/language_models.py), and its known sizes.
#include <gtest/gtest.h>

#include "tests/support/flamingo_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::bio_gpt_test {
namespace {

using testing::FlamingoCase;
using testing::open_golden;

template <class P>
using BioGPTFlamingo = VLM<ClipViT, Perceiver, BioGPT, P>;

const Init kShapesOnly{at::TensorOptions(at::kFloat).device(at::kMeta)};

TEST(BioGPTParity, Logits) { FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_logits(); }

TEST(BioGPTParity, LanguageModelAlone) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_language_logits();
}

TEST(BioGPTParity, LogitsInBf16) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_logits_in_bf16();
}

TEST(BioGPTParity, AdapterLogitsAndGradients) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_adapter_gradients();
}

TEST(BioGPTParity, MergedAdaptersLeaveLogits) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_merged_logits();
}

TEST(BioGPTParity, GreedyDecodingWithCacheAndLeftPadding) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_greedy();
}

TEST(BioGPTParity, BeamSearch) {
  FlamingoCase<BioGPTFlamingo>{open_golden("flamingo_biogpt")}.expect_beams();
}

TEST(BioGPTSizes, AreThePublishedOnes) {
  EXPECT_EQ(parameter_count(BioGPTModel<NoAdapter>::init(presets::biogpt_large, kShapesOnly)), 1'571'188'800);
  EXPECT_EQ(parameter_count(BioGPTModel<NoAdapter>::init(presets::biogpt, kShapesOnly)), 346'763'264);
}

template <AdapterPolicy P>
std::int64_t adapter_count() {
  using Model = VLM<ClipViT, Perceiver, BioGPT, P>;
  return parameter_count(Model::init(presets::flamingo<Model>(presets::biogpt_large), kShapesOnly),
                         kAdapterParameters);
}

TEST(BioGPTSizes, Adapters) {
  EXPECT_EQ((adapter_count<LoRA<Attn, CrossMlp>>()), 14'106'624);
  EXPECT_EQ((adapter_count<LoRA<Attn>>()), 11'034'624);
}

TEST(BioGPT, MorePositionsThanTheModelHasAreRefused) {
  const BioGPTConfig config{.vocab_size = 9,
                            .hidden_size = 4,
                            .num_hidden_layers = 1,
                            .num_attention_heads = 2,
                            .intermediate_size = 8,
                            .max_position_embeddings = 5};
  const auto model = BioGPTModel<NoAdapter>::init(config, {at::kFloat, make_generator(1)});
  EXPECT_EQ(testing::message_of([&] {
              model.context(at::zeros({1, 6}, at::kLong), {}, nullptr);
            }),
            "BioGPT: expected at most 5 positions, found 6");
}

}  // namespace
}  // namespace morphvlm::bio_gpt_test
