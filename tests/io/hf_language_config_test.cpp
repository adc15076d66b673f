// config.json of MPT and GPT-NeoX: transformers' own files (tests/golden/language_models.py), and the forms
// of the published checkpoints.
#include "morphvlm/io/hf_language_config.hpp"

#include <gtest/gtest.h>

#include "morphvlm/model/presets.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::hf_language_config_test {
namespace {

Json mosaic_gpt() {
  return parse_json(R"({"model_type": "mosaic_gpt", "alibi": true, "alibi_bias_max": 8, "attn_clip_qkv": null,
    "attn_impl": "torch", "attn_pdrop": 0, "attn_qk_ln": true, "attn_uses_sequence_id": false, "d_model": 2048,
    "embedding_fraction": 1.0, "logit_scale": null, "low_precision_layernorm": true, "max_seq_len": 2048,
    "mlp_ratio": 4, "n_heads": 16, "n_layers": 24, "no_bias": true, "prefix_lm": false, "resid_pdrop": 0,
    "softmax_scale": null, "use_cache": false, "vocab_size": 50432})",
                    "literal");
}

Json red_pajama() {
  return parse_json(R"({"architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu", "hidden_size": 2560,
    "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
    "model_type": "gpt_neox", "num_attention_heads": 32, "num_hidden_layers": 32, "rotary_emb_base": 10000,
    "rotary_pct": 1.0, "tie_word_embeddings": false, "use_parallel_residual": false, "vocab_size": 50432})",
                    "literal");
}

std::string mpt_error(const Json& json) {
  return testing::message_of([&] { mpt_config_from_hf(json, "c"); });
}

std::string neox_error(const Json& json) {
  return testing::message_of([&] { gpt_neox_config_from_hf(json, "c"); });
}

TEST(HfLanguageConfig, PublishedFormsAreThePresets) {
  EXPECT_EQ(to_json(mpt_config_from_hf(mosaic_gpt(), "c")), to_json(presets::mpt_1b_redpajama));
  EXPECT_EQ(to_json(gpt_neox_config_from_hf(red_pajama(), "c")), to_json(presets::redpajama_incite_3b));
}

TEST(HfLanguageConfig, TransformersForms) {
  const Json files = read_json(testing::golden_path("language_configs.json"));
  EXPECT_EQ(to_json(mpt_config_from_hf(files.at("mpt_7b"), "c")), to_json(presets::mpt_7b));
  const MPTConfig small = mpt_config_from_hf(files.at("mpt_small"), "c");
  EXPECT_EQ(to_json(small), to_json(MPTConfig{.vocab_size = 131,
                                              .d_model = 60,
                                              .n_layers = 3,
                                              .n_heads = 6,
                                              .mlp_ratio = 3,
                                              .max_seq_len = 64,
                                              .attn_qk_ln = true,
                                              .alibi_bias_max = 16,
                                              .layer_norm_epsilon = 1e-6}));
  EXPECT_EQ(to_json(gpt_neox_config_from_hf(files.at("redpajama_incite_3b"), "c")),
            to_json(presets::redpajama_incite_3b));
  EXPECT_EQ(to_json(gpt_neox_config_from_hf(files.at("neox_small"), "c")),
            to_json(GPTNeoXConfig{.vocab_size = 131,
                                  .hidden_size = 60,
                                  .num_hidden_layers = 3,
                                  .num_attention_heads = 3,
                                  .intermediate_size = 92,
                                  .max_position_embeddings = 64,
                                  .rotary_pct = 0.4,
                                  .rotary_emb_base = 5000,
                                  .layer_norm_eps = 1e-6,
                                  .use_parallel_residual = true,
                                  .tie_word_embeddings = true}));
}

TEST(HfLanguageConfig, NeoXWithoutRotaryKeysMeansHfsDefaults) {
  Json json = red_pajama();
  for (const char* key : {"rotary_pct", "rotary_emb_base", "use_parallel_residual"}) json.erase(key);
  const auto config = gpt_neox_config_from_hf(json, "c");
  EXPECT_EQ(config.rotary_pct, 0.25);
  EXPECT_EQ(config.rotary_emb_base, 10000);
  EXPECT_TRUE(config.use_parallel_residual);
}

TEST(HfLanguageConfig, WhatIsNotHereIsRefusedByName) {
  const auto mpt_with = [](const char* key, Json value) {
    Json json = mosaic_gpt();
    json[key] = std::move(value);
    return mpt_error(json);
  };
  EXPECT_EQ(mpt_with("alibi", false), "c: alibi: expected true, found false");
  EXPECT_EQ(mpt_with("no_bias", false), "c: no_bias: expected true, found false");
  EXPECT_EQ(mpt_with("attn_clip_qkv", 6), "c: attn_clip_qkv: expected no such key, found 6");
  EXPECT_EQ(mpt_with("softmax_scale", 0.1), "c: softmax_scale: expected no such key, found 0.1");
  EXPECT_EQ(mpt_with("logit_scale", 2), "c: logit_scale: expected no such key, found 2");
  EXPECT_EQ(mpt_with("prefix_lm", true), "c: prefix_lm: expected false, found true");
  EXPECT_EQ(mpt_with("d_model", "wide"), "c: d_model: expected an integer, found \"wide\"");
  EXPECT_EQ(mpt_with("attn_config", 3), "c: attn_config: expected an object, found 3");
  EXPECT_EQ(mpt_with("attn_config", Json{{"alibi", true}, {"attn_type", "multiquery_attention"}}),
            "c: attn_config: attn_type: expected \"multihead_attention\", found \"multiquery_attention\"");
  const auto neox_with = [](const char* key, Json value) {
    Json json = red_pajama();
    json[key] = std::move(value);
    return neox_error(json);
  };
  EXPECT_EQ(neox_with("hidden_act", "gelu_fast"), "c: hidden_act: expected \"gelu\", found \"gelu_fast\"");
  EXPECT_EQ(neox_with("attention_bias", false), "c: attention_bias: expected true, found false");
  EXPECT_EQ(neox_with("rope_parameters", Json{{"rope_type", "yarn"}}),
            "c: rope_parameters: rope_type: expected \"default\", found \"yarn\"");
  EXPECT_EQ(neox_with("rope_scaling", Json{{"type", "linear"}}),
            "c: rope_scaling: type: expected \"default\", found \"linear\"");
}

TEST(HfLanguageConfig, SizesThatNoModelHasAreErrors) {
  const auto mpt_with = [](const char* key, std::int64_t value) {
    Json json = mosaic_gpt();
    json[key] = value;
    return mpt_error(json);
  };
  EXPECT_EQ(mpt_with("n_layers", 1'000'000), "c: n_layers: expected 1 to 1024, found 1000000");
  EXPECT_EQ(mpt_with("n_heads", 0), "c: n_heads: expected 1 to 262144, found 0");
  EXPECT_EQ(mpt_with("vocab_size", 1 << 25), "c: vocab_size: expected 1 to 16777216, found 33554432");
  Json neox = red_pajama();
  neox["rotary_pct"] = 1e300;
  EXPECT_EQ(neox_error(neox), "c: rotary_pct, the rotated part of a head: expected 0 to 1, found 1e+300");
}

// Found by the fuzzer of language_config: the default of 24 / 40 is no width.
TEST(HfLanguageConfig, ALlamasHeadsHaveAWidth) {
  const auto error = [](std::int64_t heads, const Json& head_dim) {
    const Json json{{"vocab_size", 59},
                    {"hidden_size", 24},
                    {"intermediate_size", 36},
                    {"num_hidden_layers", 2},
                    {"num_attention_heads", heads},
                    {"head_dim", head_dim}};
    return testing::message_of([&] { llama_config_from_hf(json, "c"); });
  };
  const std::string what = "c: the width of a head: expected 2, 4, ..., found ";
  EXPECT_EQ(error(40, nullptr), what + "0");
  EXPECT_EQ(error(8, nullptr), what + "3");
  EXPECT_EQ(error(40, 5), what + "5");
  EXPECT_EQ(error(40, 6), "(nothing was thrown)");
  EXPECT_EQ(error(4, nullptr), "(nothing was thrown)");
}

TEST(HfLanguageConfig, MissingSizesAndWrongShapesAreErrors) {
  Json mpt = mosaic_gpt(), neox = red_pajama();
  mpt.erase("n_heads");
  neox.erase("intermediate_size");
  EXPECT_EQ(mpt_error(mpt), "c: key \"n_heads\" is missing");
  EXPECT_EQ(neox_error(neox), "c: key \"intermediate_size\" is missing");
  EXPECT_EQ(mpt_error(Json::array()), "c: expected an object, found []");
  EXPECT_EQ(neox_error(Json(1)), "c: expected an object, found 1");
}

}  // namespace
}  // namespace morphvlm::hf_language_config_test
