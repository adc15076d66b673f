// Our keys and OpenFlamingo's.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "morphvlm/io/keys.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::keys_test {
namespace {

using Model = testing::TinyVlm<LoRA<Attn, CrossMlp>>;

Model meta_model(std::int64_t layers, std::int64_t every) {
  auto config = testing::tiny_config<Model>();
  config.language.num_hidden_layers = layers;
  config.cross_attention.every = every;
  return Model::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
}

auto theirs(std::int64_t every) {
  return [every](const std::string& key) { return openflamingo_key(key, OpenLLaMA::layers_path, every); };
}

TEST(OpenFlamingoKeys, KnownSpellings) {
  const std::map<std::string, std::string> known = {
      {"vision_encoder.transformer.resblocks.0.attn.in_proj_weight",
       "vision_encoder.transformer.resblocks.0.attn.in_proj_weight"},
      {"perceiver.latents", "perceiver.latents"},
      {"perceiver.layers.5.attn.to_kv.weight", "perceiver.layers.5.0.to_kv.weight"},
      {"perceiver.layers.0.attn.norm_media.bias", "perceiver.layers.0.0.norm_media.bias"},
      {"perceiver.layers.0.ff.norm.weight", "perceiver.layers.0.1.0.weight"},
      {"perceiver.layers.12.ff.fc_in.weight", "perceiver.layers.12.1.1.weight"},
      {"perceiver.layers.0.ff.fc_out.weight", "perceiver.layers.0.1.3.weight"},
      {"perceiver.norm.weight", "perceiver.norm.weight"},
      {"gated_cross_attn.0.attn_gate", "lang_encoder.model.layers.1.gated_cross_attn_layer.attn_gate"},
      {"gated_cross_attn.11.attn.to_out.weight",
       "lang_encoder.model.layers.23.gated_cross_attn_layer.attn.to_out.weight"},
      {"gated_cross_attn.1.ff.norm.bias", "lang_encoder.model.layers.3.gated_cross_attn_layer.ff.0.bias"},
      {"gated_cross_attn.1.ff.fc_in.weight",
       "lang_encoder.model.layers.3.gated_cross_attn_layer.ff.1.weight"},
      {"gated_cross_attn.1.ff.fc_out.adapter.lora_B",
       "lang_encoder.model.layers.3.gated_cross_attn_layer.ff.3.lora_B"},
      {"lang_encoder.model.layers.10.self_attn.q_proj.adapter.lora_A",
       "lang_encoder.model.layers.10.decoder_layer.self_attn.q_proj.lora_A"},
      {"lang_encoder.model.embed_tokens.weight", "lang_encoder.model.embed_tokens.weight"},
      {"lang_encoder.lm_head.weight", "lang_encoder.lm_head.weight"}};
  for (const auto& [ours, expected] : known) EXPECT_EQ(openflamingo_key(ours, "model.layers", 2), expected);
}

TEST(OpenFlamingoKeys, ThereAndBackWithoutCollisions) {
  for (const auto& [layers, every] : {std::pair<int, int>{4, 2}, {13, 1}, {12, 4}, {5, 3}}) {
    const auto model = meta_model(layers, every);
    StateDict dict = state_dict(model);
    std::set<std::string> names, ours;
    for (auto& [name, t] : dict) {
      ours.insert(name);
      name = theirs(every)(name);
      EXPECT_TRUE(names.insert(name).second) << name << " stands for two parameters";
    }
    EXPECT_EQ(ours.size(), dict.size());
    const StateDict back = rename_to_module(model, dict, theirs(every));
    const StateDict expected = state_dict(model);
    ASSERT_EQ(back.size(), expected.size());
    for (std::size_t i = 0; i < back.size(); ++i) {
      EXPECT_EQ(back[i].first, expected[i].first);
      EXPECT_TRUE(back[i].second.is_same(dict[i].second));
    }
  }
}

TEST(OpenFlamingoKeys, ForeignKeysStayForTheLoaderToReport) {
  const auto model = meta_model(4, 2);
  const StateDict dict = {
      {"lang_encoder.model.layers.0.decoder_layer.self_attn.rotary_emb.inv_freq", at::zeros({1})},
      {"lang_encoder.old_decoder_blocks.0.input_layernorm.weight", at::zeros({1})}};
  const StateDict renamed = rename_to_module(model, dict, theirs(2));
  ASSERT_EQ(renamed.size(), 2u);
  EXPECT_EQ(renamed[0].first, dict[0].first);
  EXPECT_EQ(renamed[1].first, dict[1].first);
}

// The names in the fixture are those of open_flamingo's own state dict.
TEST(OpenFlamingoKeys, AreAllNamesOfTheReference) {
  const auto golden = testing::open_golden("flamingo");
  std::set<std::string> expected, found;
  for (const char* list : {"parameters", "lora_parameters"}) {
    for (const auto& entry : golden.meta.at(list)) expected.insert(entry.at(0));
  }
  auto config = testing::tiny_config<Model>();
  config.vision.num_hidden_layers = golden.meta.at("vision").at("layers");
  config.vision.projection_dim = golden.meta.at("vision").at("output_dim");
  update_from_json(config.language, golden.meta.at("language"), "language");
  config.perceiver.depth = golden.meta.at("perceiver").at("depth");
  const std::int64_t every = config.cross_attention.every = golden.meta.at("cross_attn_every_n_layers");
  const auto model = Model::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  visit(model, [&](const std::string& name, const Tensor&) { found.insert(theirs(every)(name)); });
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace morphvlm::keys_test
