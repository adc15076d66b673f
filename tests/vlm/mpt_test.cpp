// Parity of MPT inside open_flamingo's Flamingo (tests/golden/language_models.py), and its known sizes.
#include <gtest/gtest.h>

#include "tests/support/flamingo_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::mpt_test {
namespace {

using testing::FlamingoCase;
using testing::open_golden;

template <class P>
using MPTFlamingo = VLM<ClipViT, Perceiver, MPT, P>;

const Init kShapesOnly{at::TensorOptions(at::kFloat).device(at::kMeta)};

TEST(MPTParity, Logits) { FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_logits(); }

TEST(MPTParity, LanguageModelAlone) {
  FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_language_logits();
}

TEST(MPTParity, LogitsInBf16) {
  FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_logits_in_bf16();
}

TEST(MPTParity, AdapterLogitsAndGradients) {
  FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_adapter_gradients();
}

TEST(MPTParity, MergedAdaptersLeaveLogits) {
  FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_merged_logits();
}

TEST(MPTParity, GreedyDecodingWithCacheAndLeftPadding) {
  FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_greedy();
}

TEST(MPTParity, BeamSearch) { FlamingoCase<MPTFlamingo>{open_golden("flamingo_mpt")}.expect_beams(); }

TEST(MPTParity, WithoutNormsAndUnderTransformersNames) {
  const FlamingoCase<MPTFlamingo> hf{open_golden("flamingo_mpt_hf")};
  hf.expect_logits(hf_mpt_key);
  hf.expect_language_logits(hf_mpt_key);
}

TEST(MPTSizes, AreThePublishedOnes) {
  EXPECT_EQ(parameter_count(MPTModel<NoAdapter>::init(presets::mpt_1b_redpajama, kShapesOnly)),
            1'311'442'944);
  EXPECT_EQ(parameter_count(MPTModel<NoAdapter>::init(presets::mpt_7b, kShapesOnly)), 6'649'286'656);
}

// The published count is that of the checkpoint's 50,432 rows, of which OpenFlamingo keeps 50,280.
TEST(MPTSizes, CountGoesByTheTablesRows) {
  auto config = presets::mpt_1b_redpajama;
  EXPECT_EQ(config.vocab_size, 50432);
  config.vocab_size = 50280;
  EXPECT_EQ(parameter_count(MPTModel<NoAdapter>::init(config, kShapesOnly)), 1'311'442'944 - 152 * 2048);
}

// OpenFlamingo-3B: three added tokens, table of 50,280 rows, trained by default: perceiver, gated blocks with
// their gates, input embeddings.
TEST(MPTSizes, OpenFlamingo3B) {
  using Model = VLM<ClipViT, Perceiver, MPT>;
  auto config = presets::flamingo<Model>(presets::mpt_1b_redpajama, 1);
  config.language.vocab_size = 50280;
  auto model = Model::init(config, kShapesOnly);
  set_trainable_parts(model, {.adapters = false, .perceiver = true, .gated_cross_attention = true});
  unfreeze(model, kGates);
  unfreeze(model, "lang_encoder.transformer.wte.weight");
  EXPECT_EQ(trainable_count(model), 1'046'992'944);
}

TEST(MPT, HeadsThatDoNotDivideTheWidthAreRefused) {
  MPTConfig config;
  config.n_heads = 7;
  EXPECT_EQ(testing::message_of([&] { MPTModel<NoAdapter>::init(config, kShapesOnly); }),
            "MPT: 7 heads do not divide width 2048");
}

}  // namespace
}  // namespace morphvlm::mpt_test
