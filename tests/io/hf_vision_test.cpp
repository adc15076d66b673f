// CLIP's, SigLIP's and DINOv2's vision towers as configs of ClipViT, against transformers
// (tests/golden/vit_variants.py).
#include <gtest/gtest.h>

#include <ATen/ops/zeros.h>

#include <map>
#include <set>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/io/hf_vision_config.hpp"
#include "morphvlm/model/presets.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::hf_vision_test {
namespace {

using testing::formula_input;
using testing::message_of;

const Init kShapesOnly{at::TensorOptions(at::kFloat).device(at::kMeta)};

struct Variant {
  std::string name;
  testing::Golden golden = testing::open_golden("vit_variants");

  const Json& about() const { return golden.meta.at("cases").at(name); }
  HfVitConfig config() const { return vit_config_from_hf(about().at("config"), name); }
  StateDict file() const { return testing::formula_state(about().at("parameters")); }

  ClipVitModule load(const StateDict& dict) const {
    auto tower = ClipVitModule::init(config().model, kShapesOnly);
    load_state_dict(tower, vit_from_hf(dict, config().family, name), name);
    return tower;
  }
};

struct HfVision : ::testing::TestWithParam<const char*> {
  Variant variant{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Towers, HfVision, ::testing::Values("clip", "siglip", "dinov2"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(HfVision, TokensAndGradientsAreTheReferences) {
  auto tower = variant.load(variant.file());
  unfreeze(tower, "*");
  Tensor x = formula_input(variant.name + ".pixels", {2, 3, 15, 15}).set_requires_grad(true);
  const Tensor y = tower(x);
  EXPECT_CLOSE(y, variant.golden[variant.name + "/y"], 1e-5);
  backward(y.mul(formula_input(variant.name + ".dy", y.sizes())).sum());
  EXPECT_CLOSE(x.grad(), variant.golden[variant.name + "/grad/x"], 1e-4);

  StateDict found;
  visit(tower, [&](const std::string& key, const Tensor& t) {
    if (t.grad().defined()) found.emplace_back(key, t.grad());
  });
  const auto prefix = variant.name + "/grad/";
  std::size_t compared = 1, stored = 0;
  for (const auto& [key, t] : variant.golden.tensors) stored += key.starts_with(prefix);
  for (const auto& [key, gradient] : vit_to_hf(found, variant.config().family)) {
    for (const auto& [name, expected] : variant.golden.tensors) {
      if (name != prefix + key) continue;
      ++compared;
      EXPECT_LE(testing::relative_error(gradient, expected), 1e-4) << key;
    }
  }
  EXPECT_EQ(compared, stored);
  EXPECT_GT(stored, 15u);
}

TEST_P(HfVision, Bf16) {
  const auto tower = variant.load(variant.file());
  const Tensor y = tower(formula_input(variant.name + ".pixels", {2, 3, 15, 15}).to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const Tensor expected = variant.golden[variant.name + "/y"], error = y.to(at::kFloat).sub(expected);
  EXPECT_LE(error.norm().div(expected.norm()).item<double>(), 1e-2);
}

// What is written here has the keys, shapes and values of the reference's file, but for what is beside the
// tower.
TEST_P(HfVision, WritesWhatItRead) {
  std::map<std::string, Tensor> expected;
  for (const auto& [key, t] : variant.file()) {
    if (!key.starts_with("vision_model.head.") && key != "embeddings.mask_token") expected.emplace(key, t);
  }
  const StateDict written = vit_to_hf(state_dict(variant.load(variant.file())), variant.config().family);
  EXPECT_EQ(written.size(), expected.size());
  for (const auto& [key, t] : written) {
    ASSERT_TRUE(expected.contains(key)) << key;
    EXPECT_EQ(t.sizes(), expected[key].sizes()) << key;
    EXPECT_TRUE(t.equal(expected[key])) << key;
  }
}

// transformers 5 leaves `vision_model.` out of a tower's own file; a whole model's has other parts.
TEST_P(HfVision, OtherFormsOfTheFile) {
  const Tensor expected = variant.golden[variant.name + "/y"];
  const Tensor x = formula_input(variant.name + ".pixels", {2, 3, 15, 15});
  StateDict bare = variant.file();
  for (auto& [key, t] : bare) {
    if (key.starts_with("vision_model.")) key = key.substr(13);
  }
  EXPECT_CLOSE(variant.load(bare)(x), expected, 1e-5);
  StateDict whole = variant.file();
  if (variant.config().family == HfVit::dinov2) {
    for (auto& [key, t] : whole) key = "dinov2." + key;
    whole.emplace_back("classifier.weight", at::zeros({2, 2}));
  } else {
    whole.emplace_back("vision_model.embeddings.position_ids", at::zeros({1, 9}, at::kLong));
    whole.emplace_back("text_model.encoder.layers.0.self_attn.q_proj.weight", at::zeros({2, 2}));
    whole.emplace_back("logit_scale", at::zeros({}));
  }
  EXPECT_CLOSE(variant.load(whole)(x), expected, 1e-5);
}

TEST_P(HfVision, WhatIsMissingOrUnknownIsNamed) {
  StateDict dict = variant.file();
  const bool dinov2 = variant.config().family == HfVit::dinov2;
  const std::string layer =
      dinov2 ? "encoder.layer.1.attention.attention." : "vision_model.encoder.layers.1.self_attn.";
  const std::string k = layer + (dinov2 ? "key.bias" : "k_proj.bias"),
                    q = layer + (dinov2 ? "query.bias" : "q_proj.bias");
  const auto at_k = std::ranges::find(dict, k, &StateDict::value_type::first);
  ASSERT_NE(at_k, dict.end());
  at_k->second = at::zeros({14});
  EXPECT_EQ(message_of([&] { variant.load(dict); }),
            variant.name + ": " + k + ": expected Float [15] as " + q + ", found Float [14]");
  dict.erase(at_k);
  EXPECT_EQ(message_of([&] { variant.load(dict); }),
            variant.name +
                ": q, k and v make transformer.resblocks.1.attn.in_proj_bias, but one of them is missing");
  dict = variant.file();
  dict.emplace_back(dinov2 ? "register_tokens" : "vision_model.register_tokens", at::zeros({2}));
  EXPECT_NE(message_of([&] { variant.load(dict); }).find("unexpected (1):\n    register_tokens"),
            std::string::npos);
}

TEST(HfVisionConfig, DefaultsAreTransformers) {
  const auto clip =
      vit_config_from_hf(parse_json(R"({"model_type": "clip", "projection_dim": 768, "vision_config":
      {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
       "patch_size": 14, "projection_dim": 1}})",
                                    "clip"),
                         "clip");
  EXPECT_EQ(to_json(clip.model), to_json(presets::clip_vit_l14));
  EXPECT_EQ(to_json(vit_config_from_hf({{"model_type", "siglip_vision_model"}}, "").model),
            to_json(presets::siglip_base_16));
  EXPECT_EQ(to_json(vit_config_from_hf({{"model_type", "dinov2"}, {"image_size", 518}}, "").model),
            to_json(presets::dinov2_base_14));
  EXPECT_EQ(vit_config_from_hf({{"model_type", "clip_vision_model"}}, "").model.projection_dim, 0);
  EXPECT_EQ(vit_config_from_hf({{"model_type", "clip_vision_model"}}, "").model.patch_size, 32);
}

TEST(HfVisionConfig, WhatIsNotHereIsRefused) {
  const auto message = [](const Json& json) {
    return message_of([&] { vit_config_from_hf(json, "c.json"); });
  };
  EXPECT_EQ(message({{"model_type", "vit"}}),
            "c.json: model_type: expected one of clip, clip_vision_model, siglip, siglip_vision_model, "
            "dinov2, found "
            "\"vit\"");
  EXPECT_EQ(message({{"model_type", "dinov2"}, {"use_swiglu_ffn", true}}),
            "c.json: use_swiglu_ffn: expected false, found true");
  EXPECT_EQ(message({{"model_type", "siglip_vision_model"}, {"num_channels", 1}}),
            "c.json: num_channels: expected 3, found 1");
  EXPECT_EQ(message({{"model_type", "siglip_vision_model"}, {"num_hidden_layers", 1'000'000'000}}),
            "c.json: num_hidden_layers: expected 1 to 1024, found 1000000000");
  EXPECT_EQ(message({{"model_type", "dinov2"}, {"mlp_ratio", 1e300}}), "c.json: mlp_ratio: found 1e+300");
  EXPECT_EQ(message({{"model_type", "clip_vision_model"}, {"hidden_act", "silu"}}),
            "c.json: hidden_act: expected one of quick_gelu, gelu, gelu_pytorch_tanh, found \"silu\"");
}

TEST(VitVariants, HaveThePublishedSizes) {
  EXPECT_EQ(parameter_count(ClipVitModule::init(presets::siglip_base_16, kShapesOnly)), 85'797'120);
  // The reference's 86,580,480 count a mask token of 768.
  EXPECT_EQ(parameter_count(ClipVitModule::init(presets::dinov2_base_14, kShapesOnly)), 86'580'480 - 768);
}

}  // namespace
}  // namespace morphvlm::hf_vision_test
