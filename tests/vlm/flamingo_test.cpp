// Parity with open_flamingo's Flamingo around transformers' LLaMA and open_clip's ViT (tests/golden).
#include <gtest/gtest.h>

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/zeros.h>

#include "morphvlm/adapt.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm {
namespace {

using testing::Golden;

using AllSites = LoRA<Attn, CrossMlp>;
template <AdapterPolicy P>
using Flamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

template <class Model>
typename Model::Config config_of(const Json& meta) {
  typename Model::Config c;
  const auto& vision = meta.at("vision");
  c.vision = {.image_size = vision.at("image_size"),
              .patch_size = vision.at("patch_size"),
              .hidden_size = vision.at("width"),
              .num_hidden_layers = vision.at("layers"),
              .num_attention_heads = vision.at("heads"),
              .intermediate_size = vision.at("width").get<std::int64_t>() * 4,
              .projection_dim = vision.at("output_dim")};
  update_from_json(c.language, meta.at("language"), "language");
  c.cross_attention.every = meta.at("cross_attn_every_n_layers");
  c.media_token_id = meta.at("media_token_id");
  c.eoc_token_id = meta.at("eoc_token_id");
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) {
    c.adapter = {.rank = meta.at("lora").at("rank"), .alpha = meta.at("lora").at("alpha")};
  }
  return c;
}

template <class Model>
Model load_reference(const Golden& golden) {
  auto model = Model::init(config_of<Model>(golden.meta), {at::TensorOptions(at::kFloat).device(at::kMeta)});
  StateDict dict = testing::formula_state(golden.meta.at("parameters"));
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) {
    for (auto& entry : testing::formula_state(golden.meta.at("lora_parameters"))) dict.push_back(entry);
  }
  const auto every = model.config.cross_attention.every;
  auto theirs = [&](const std::string& key) { return openflamingo_key(key, OpenLLaMA::layers_path, every); };
  load_state_dict(model, rename_to_module(model, dict, theirs), "the reference's weights");
  freeze(model);
  return model;
}

Tensor pixels_of(const std::string& key, std::int64_t batch) {
  return testing::formula_input(key, {batch, 2, 1, 3, 42, 42}).squeeze(2);
}

Tensor causal_loss(const Tensor& logits, const Tensor& labels) {
  return at::cross_entropy_loss(logits.slice(1, 0, -1).flatten(0, 1), labels.slice(1, 1).flatten());
}

struct FlamingoParity : ::testing::Test {
  Golden golden = testing::open_golden("flamingo");
  Tensor valid = golden["attention_mask"].to(at::kBool).unsqueeze(-1);
  TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};

  Tensor where_valid(const Tensor& t) const { return t.masked_fill(valid.logical_not(), 0); }
};

TEST_F(FlamingoParity, VisionAndLatentsAndLogits) {
  const auto model = load_reference<Flamingo<NoAdapter>>(golden);
  const Tensor features = model.encode_vision(pixels_of("pixels", 3));
  EXPECT_CLOSE(features.flatten(0, 1), golden["vit_tokens"], 1e-5);
  const Tensor latents = model.resample(features);
  EXPECT_CLOSE(latents, golden["latents"], 1e-5);
  const Tensor hidden = model.hidden(text, latents);
  EXPECT_CLOSE(where_valid(hidden), where_valid(golden["hidden.4"]), 1e-5);
  const Tensor logits = model.logits(hidden);
  EXPECT_CLOSE(where_valid(logits), where_valid(golden["logits"]), 1e-5);
  EXPECT_CLOSE(causal_loss(logits, golden["labels"]), golden["loss"], 1e-5);
}

TEST_F(FlamingoParity, VisionTokensAfterLnPost) {
  auto model = load_reference<Flamingo<NoAdapter>>(golden);
  model.vision_encoder.tokens = VitTokens::after_ln_post;
  EXPECT_CLOSE(model.encode_vision(pixels_of("pixels", 3)).flatten(0, 1), golden["vit_tokens_after_ln_post"],
               1e-5);
}

template <class Model>
void expect_gradients(const Model& model, const Golden& golden, const std::string& prefix) {
  const auto every = model.config.cross_attention.every;
  std::size_t compared = 0, stored = 0;
  for (const auto& [name, t] : golden.tensors) stored += name.starts_with(prefix);
  visit(model, [&](const std::string& name, const Tensor& t) {
    const auto key = prefix + openflamingo_key(name, OpenLLaMA::layers_path, every);
    for (const auto& [golden_name, expected] : golden.tensors) {
      if (golden_name != key) continue;
      ++compared;
      ASSERT_TRUE(t.grad().defined()) << name;
      EXPECT_LE(testing::relative_error(t.grad(), expected), 1e-4) << name;
    }
  });
  EXPECT_EQ(compared, stored);
  EXPECT_GT(stored, 0u);
}

TEST_F(FlamingoParity, GradientsOfPerceiverAndGatedBlocks) {
  auto model = load_reference<Flamingo<NoAdapter>>(golden);
  unfreeze(model, "perceiver.*");
  unfreeze(model, "gated_cross_attn.*");
  unfreeze(model, "lang_encoder.model.embed_tokens.weight");
  backward(causal_loss(model(pixels_of("pixels", 3), text), golden["labels"]));
  expect_gradients(model, golden, "grad/");
}

TEST_F(FlamingoParity, LoraLogitsAndGradients) {
  auto model = load_reference<Flamingo<AllSites>>(golden);
  set_trainable_parts(model, {.adapters = true});
  const Tensor logits = model(pixels_of("pixels", 3), text);
  EXPECT_CLOSE(where_valid(logits), where_valid(golden["lora/logits"]), 1e-5);
  const Tensor loss = causal_loss(logits, golden["labels"]);
  EXPECT_CLOSE(loss, golden["lora/loss"], 1e-5);
  backward(loss);
  expect_gradients(model, golden, "lora/grad/");
}

TEST_F(FlamingoParity, MergedAdaptersLeaveLogits) {
  auto model = load_reference<Flamingo<AllSites>>(golden);
  // 5 layers x 4 projections, 2 gated blocks x (3 + 2)
  EXPECT_EQ(merge_adapters(model), 30);
  EXPECT_CLOSE(where_valid(model(pixels_of("pixels", 3), text)), where_valid(golden["lora/logits"]), 1e-5);
}

TEST_F(FlamingoParity, GreedyDecodingWithCacheAndLeftPadding) {
  const auto model = load_reference<Flamingo<AllSites>>(golden);
  const TextInput prompt{.ids = golden["prompt_ids"], .attention_mask = golden["prompt_mask"]};
  const Tensor latents = model.resample(model.encode_vision(pixels_of("prompt_pixels", 2)));
  const auto prompt_length = prompt.ids.size(1);
  const Tensor ids = greedy(model, prompt, latents, {.max_new_tokens = 7});
  EXPECT_TRUE(ids.equal(golden["greedy_ids"].slice(1, prompt_length))) << ids;
  const std::int64_t eos = golden.meta.at("greedy_eos");
  const Tensor stopped = greedy(model, prompt, latents, {.max_new_tokens = 7, .eos_token_id = eos});
  EXPECT_TRUE(stopped.equal(golden["greedy_ids_eos"].slice(1, prompt_length))) << stopped;
}

TEST_F(FlamingoParity, SharedPrefixAndSkippedLayersChangeNothing) {
  const auto model = load_reference<Flamingo<AllSites>>(golden);
  // Text 0's words before its image are read once and continued twice, with different images; layers below
  // the first gated block are not run again.
  const Tensor ids = golden["input_ids"].slice(0, 0, 1).expand({2, -1});
  const Tensor image_at = ids.eq(model.config.media_token_id).nonzero();
  const auto cut = image_at.select(0, 0).select(0, 1).item<std::int64_t>();
  ASSERT_GT(cut, 0);
  const Tensor latents = model.resample(model.encode_vision(pixels_of("pixels", 3))).slice(0, 0, 2);
  const Tensor whole = model.hidden({.ids = ids}, latents);

  const Tensor entry = model.below({.ids = ids.slice(0, 0, 1)});
  VlmCache prefix;
  model.hidden({.ids = ids.slice(0, 0, 1).slice(1, 0, cut), .entry = entry.slice(1, 0, cut)}, {}, &prefix);
  VlmCache both = prefix.select_text(at::zeros({2}, at::kLong));
  const TextInput rest{.ids = ids.slice(1, cut), .entry = entry.slice(1, cut).expand({2, -1, -1})};
  EXPECT_CLOSE(model.hidden(rest, latents, &both), whole.slice(1, cut), 1e-5);
}

TEST(FlamingoTiedParity, Logits) {
  const auto golden = testing::open_golden("flamingo_tied");
  const auto model = load_reference<Flamingo<NoAdapter>>(golden);
  std::vector<std::int64_t> shape;
  for (const auto& input : golden.meta.at("formula_inputs"))
    shape = input.at(1).get<std::vector<std::int64_t>>();
  const auto key = golden.meta.at("formula_inputs").at(0).at(0).get<std::string>();
  const Tensor logits = model(testing::formula_input(key, shape).squeeze(2), {.ids = golden["input_ids"]});
  EXPECT_CLOSE(logits, golden["logits"], 1e-5);
  EXPECT_CLOSE(causal_loss(logits, golden["input_ids"]), golden["loss"], 1e-5);
}

}  // namespace
}  // namespace morphvlm
