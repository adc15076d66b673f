// State-dict keys around every language model, against the reference's (tests/golden/checkpoint.py).
#include <gtest/gtest.h>

#include <set>

#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::flamingo_keys_test {
namespace {

using ::testing::HasSubstr;
using Names = std::set<std::string>;

template <LanguageModel L>
using Flamingo = VLM<ClipViT, Perceiver, L, LoRA<Attn>>;

template <LanguageModel L>
Flamingo<L> shapes(const typename L::Config& language) {
  const auto small =
      testing::small_flamingo_config<testing::SmallFlamingo<LoRA<Attn>>>(testing::open_golden("peft").meta);
  return Flamingo<L>::init({.vision = small.vision,
                            .perceiver = small.perceiver,
                            .language = language,
                            .cross_attention = small.cross_attention},
                           {at::kFloat, make_generator(1)});
}

Names language_names(const StateDict& dict) {
  Names names;
  for (const auto& [key, t] : dict) {
    if (!key.starts_with("lang_encoder.")) continue;
    EXPECT_TRUE(names.insert(key.substr(13)).second) << key << " twice";
  }
  return names;
}

struct FlamingoKeyLists : ::testing::Test {
  Json keys = testing::open_golden("checkpoint").meta.at("keys");

  // Every key there and none else; and every one of them finds its parameter here.
  template <LanguageModel L, class F = std::identity>
  void expect_keys(const char* name, const typename L::Config& config, F language = {}) const {
    const auto model = shapes<L>(config);
    const StateDict whole = openflamingo_state(model, FlamingoKeys::whole, language);
    EXPECT_EQ(language_names(whole), keys.at(name).at("whole").get<Names>()) << name;
    // Where the head is tied, the reference's own filter keeps the copy, and its published files lack it.
    Names trained = keys.at(name).at("trained").get<Names>();
    const Names ours = language_names(openflamingo_state(model, FlamingoKeys::trained, language));
    if (!ours.contains(std::string(head_key(L::layers_path))))
      trained.erase(std::string(head_key(L::layers_path)));
    EXPECT_EQ(ours, trained) << name;

    auto other = shapes<L>(config);
    WeightSources sources;
    take_weights(other, flamingo_weights(other, whole, name), name, sources);
    expect_all_sources(other, sources, name);
    for (const auto& row : source_rows(other, sources))
      EXPECT_TRUE(row.source == name || row.source == "made here");
  }
};

TEST_F(FlamingoKeyLists, OfLlama) {
  expect_keys<OpenLLaMA>("llama", testing::small_llama_config(testing::open_golden("peft").meta));
}

TEST_F(FlamingoKeyLists, OfMpt) {
  expect_keys<MPT>("mpt", {.vocab_size = 61, .d_model = 24, .n_layers = 2, .n_heads = 4, .attn_qk_ln = false},
                   hf_mpt_key);
}

TEST_F(FlamingoKeyLists, OfGptNeoX) {
  for (const bool tied : {false, true}) {
    expect_keys<GPTNeoX>(tied ? "gpt_neox_tied" : "gpt_neox", {.vocab_size = 61,
                                                               .hidden_size = 24,
                                                               .num_hidden_layers = 2,
                                                               .num_attention_heads = 4,
                                                               .intermediate_size = 36,
                                                               .rotary_pct = 1.0,
                                                               .tie_word_embeddings = tied});
  }
}

TEST_F(FlamingoKeyLists, OfBioGpt) {
  expect_keys<BioGPT>("biogpt", {.vocab_size = 61,
                                 .hidden_size = 24,
                                 .num_hidden_layers = 2,
                                 .num_attention_heads = 4,
                                 .intermediate_size = 36,
                                 .max_position_embeddings = 64});
}

TEST(FlamingoKeys, WrappersAndSecondNamesFallAway) {
  const std::string path = "transformer.blocks";
  const std::pair<const char*, const char*> known[] = {
      {"module.perceiver.latents", "perceiver.latents"},
      {"module.lang_encoder.old_decoder_blocks.11.attn.Wqkv.weight",
       "lang_encoder.transformer.blocks.11.decoder_layer.attn.Wqkv.weight"},
      {"lang_encoder.gated_cross_attn_layers.3.ff.1.weight",
       "lang_encoder.transformer.blocks.3.gated_cross_attn_layer.ff.1.weight"},
      {"_orig_mod.perceiver._checkpoint_wrapped_module.norm.weight", "perceiver.norm.weight"},
      {"lang_encoder._fsdp_wrapped_module.transformer.wte.weight", "lang_encoder.transformer.wte.weight"},
      {"lang_encoder.transformer.wte.weight", "lang_encoder.transformer.wte.weight"}};
  for (const auto& [key, expected] : known) {
    EXPECT_EQ(openflamingo_canonical(key, path), expected);
    const auto alias = openflamingo_alias(expected, path);
    if (alias.empty()) continue;
    EXPECT_EQ(openflamingo_canonical(alias, path), expected);
  }
  EXPECT_EQ(openflamingo_alias("perceiver.latents", path), "");
}

TEST(FlamingoKeys, BuffersAndTheCopyOfATiedHeadAreLeftOut) {
  auto tied = testing::small_llama_config(testing::open_golden("peft").meta);
  tied.tie_word_embeddings = true;
  const auto language = Llama<NoAdapter>::init(tied, {at::kFloat, make_generator(1)});
  StateDict dict = state_dict(language);
  const auto count = dict.size();
  const Tensor table = dict.front().second;
  dict.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", table);
  dict.emplace_back("lm_head.weight", table);
  EXPECT_EQ(language_weights(language, dict).size(), count);
  // A head of its own that the model would not use is no copy.
  dict.back().second = table.add(1);
  EXPECT_EQ(language_weights(language, dict).size(), count + 1);
}

TEST(FlamingoKeys, AdaptersAreNotSilentlyLeftOut) {
  const testing::ScratchFolder scratch;
  auto model = shapes<OpenLLaMA>(testing::small_llama_config(testing::open_golden("peft").meta));
  EXPECT_ERROR(save_flamingo_checkpoint(model, scratch / "c.safetensors"), HasSubstr("merge_adapters"));
  merge_adapters(model);
  EXPECT_NO_THROW(save_flamingo_checkpoint(model, scratch / "c.safetensors"));
}

}  // namespace
}  // namespace morphvlm::flamingo_keys_test
