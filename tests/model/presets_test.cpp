// Published parameter counts, on the meta device: shapes without memory.
#include "morphvlm/model/presets.hpp"

#include <gtest/gtest.h>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"

namespace morphvlm::presets_test {
namespace {

Init on_meta() { return {.options = TensorOptions(at::kFloat).device(at::kMeta)}; }

template <class M>
std::int64_t count(const M& module) {
  visit(module, [](const std::string& name, const Tensor& t) { EXPECT_TRUE(t.is_meta()) << name; });
  return parameter_count(module);
}

TEST(Counts, ClipVitL14) {
  const auto tower = ClipVitModule::init(presets::clip_vit_l14, on_meta());
  EXPECT_EQ(count(tower), 303'966'208);
  EXPECT_EQ(tower.positional_embedding.size(0), 257);
}

TEST(Counts, PerceiverAtWidth1024) {
  EXPECT_EQ(count(PerceiverModule::init(1024, presets::openflamingo_perceiver, on_meta())), 63'019'008);
}

TEST(Counts, GatedBlockByTextWidth) {
  const std::map<std::int64_t, std::int64_t> published{
      {1600, 23'173'378}, {2048, 36'708'354}, {2560, 56'109'058}, {3200, 86'258'178}, {4096, 139'476'994}};
  for (const auto& [width, parameters] : published) {
    EXPECT_EQ(count(GatedCrossAttention<>::init(width, 1024, {}, on_meta())), parameters) << width;
  }
}

TEST(Counts, OpenLlama3B) {
  EXPECT_EQ(count(Llama<NoAdapter>::init(presets::open_llama_3b, on_meta())), 3'426'473'600);
  EXPECT_EQ(presets::open_llama_3b.attention().head_dim, 100);
}

TEST(Counts, Llama7B) {
  EXPECT_EQ(count(Llama<NoAdapter>::init(presets::llama_7b, on_meta())), 6'738'415'616);
  EXPECT_EQ(presets::llama_7b.attention().head_dim, 128);
  EXPECT_EQ(presets::llama_7b.vocab_size, 32000);
  EXPECT_EQ(presets::llama_7b.rms_norm_eps, 1e-6);
}

// What no count of parameters shows: of openlm-research/open_llama_3b, huggyllama/llama-7b,
// HuggingFaceTB/SmolLM2-135M, microsoft/BioGPT-Large and microsoft/biogpt, as their config.json have it.
TEST(Presets, HaveTheNumbersOfTheirConfigs) {
  EXPECT_EQ(presets::open_llama_3b.num_attention_heads, 32);
  EXPECT_EQ(presets::open_llama_3b.rms_norm_eps, 1e-6);
  EXPECT_EQ(presets::open_llama_3b.rope_theta, 10000);
  EXPECT_EQ(presets::open_llama_3b.max_position_embeddings, 2048);
  EXPECT_FALSE(presets::open_llama_3b.tie_word_embeddings);
  EXPECT_EQ(presets::llama_7b.rope_theta, 10000);
  EXPECT_EQ(presets::llama_7b.max_position_embeddings, 2048);
  EXPECT_EQ(presets::smollm2_135m.num_attention_heads, 9);
  EXPECT_EQ(presets::smollm2_135m.num_key_value_heads, 3);
  EXPECT_EQ(presets::smollm2_135m.rms_norm_eps, 1e-5);
  EXPECT_EQ(presets::smollm2_135m.rope_theta, 100000);
  EXPECT_EQ(presets::smollm2_135m.max_position_embeddings, 8192);
  EXPECT_EQ(presets::biogpt_large.num_attention_heads, 25);
  EXPECT_EQ(presets::biogpt.num_attention_heads, 16);
  EXPECT_EQ(presets::biogpt_large.max_position_embeddings, 2048);
  EXPECT_EQ(presets::biogpt.max_position_embeddings, 1024);
  EXPECT_TRUE(presets::biogpt_large.scale_embedding && presets::biogpt.scale_embedding);
}

TEST(Counts, SmolLm2TiedAndGrouped) {
  const auto model = Llama<NoAdapter>::init(presets::smollm2_135m, on_meta());
  EXPECT_EQ(count(model), 134'515'008);
  EXPECT_EQ(state_dict(model).size(), 272U);
  EXPECT_FALSE(model.lm_head.weight.defined());
  EXPECT_EQ(presets::smollm2_135m.attention().head_dim, 64);
}

}  // namespace
}  // namespace morphvlm::presets_test
