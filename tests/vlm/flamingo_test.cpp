// Parity with open_flamingo's Flamingo around transformers' LLaMA and open_clip's ViT (tests/golden).
#include <gtest/gtest.h>

#include "tests/support/flamingo_case.hpp"

namespace morphvlm::flamingo_test {
namespace {

using testing::causal_loss;
using testing::Golden;
using testing::load_flamingo;

using AllSites = LoRA<Attn, CrossMlp>;
template <AdapterPolicy P>
using Flamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

struct FlamingoParity : ::testing::Test {
  Golden golden = testing::open_golden("flamingo");
  Tensor valid = golden["attention_mask"].to(at::kBool).unsqueeze(-1);
  TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};

  Tensor where_valid(const Tensor& t) const { return t.masked_fill(valid.logical_not(), 0); }
};

TEST_F(FlamingoParity, VisionAndLatentsAndLogits) {
  const auto model = load_flamingo<Flamingo<NoAdapter>>(golden);
  const Tensor features = model.encode_vision(testing::flamingo_pixels("pixels", 3));
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
  auto model = load_flamingo<Flamingo<NoAdapter>>(golden);
  model.vision_encoder.tokens = VitTokens::after_ln_post;
  EXPECT_CLOSE(model.encode_vision(testing::flamingo_pixels("pixels", 3)).flatten(0, 1),
               golden["vit_tokens_after_ln_post"], 1e-5);
}

TEST_F(FlamingoParity, GradientsOfPerceiverAndGatedBlocks) {
  auto model = load_flamingo<Flamingo<NoAdapter>>(golden);
  unfreeze(model, "perceiver.*");
  unfreeze(model, "gated_cross_attn.*");
  unfreeze(model, "lang_encoder.model.embed_tokens.weight");
  backward(causal_loss(model(testing::flamingo_pixels("pixels", 3), text), golden["labels"]));
  testing::expect_flamingo_gradients(model, golden, "grad/");
}

TEST_F(FlamingoParity, LoraLogitsAndGradients) {
  auto model = load_flamingo<Flamingo<AllSites>>(golden);
  set_trainable_parts(model, {.adapters = true});
  const Tensor logits = model(testing::flamingo_pixels("pixels", 3), text);
  EXPECT_CLOSE(where_valid(logits), where_valid(golden["lora/logits"]), 1e-5);
  const Tensor loss = causal_loss(logits, golden["labels"]);
  EXPECT_CLOSE(loss, golden["lora/loss"], 1e-5);
  backward(loss);
  testing::expect_flamingo_gradients(model, golden, "lora/grad/");
}

TEST_F(FlamingoParity, MergedAdaptersLeaveLogits) {
  auto model = load_flamingo<Flamingo<AllSites>>(golden);
  // 5 layers x 4 projections, 2 gated blocks x (3 + 2)
  EXPECT_EQ(merge_adapters(model), 30);
  EXPECT_CLOSE(where_valid(model(testing::flamingo_pixels("pixels", 3), text)),
               where_valid(golden["lora/logits"]), 1e-5);
}

TEST_F(FlamingoParity, GreedyDecodingWithCacheAndLeftPadding) {
  const auto model = load_flamingo<Flamingo<AllSites>>(golden);
  const TextInput prompt{.ids = golden["prompt_ids"], .attention_mask = golden["prompt_mask"]};
  const Tensor latents = model.resample(model.encode_vision(testing::flamingo_pixels("prompt_pixels", 2)));
  const auto prompt_length = prompt.ids.size(1);
  const Tensor ids = generate(model, prompt, latents, {.max_new_tokens = 7}).ids;
  EXPECT_TRUE(ids.equal(golden["greedy_ids"].slice(1, prompt_length))) << ids;
  const std::int64_t eos = golden.meta.at("greedy_eos");
  const Tensor stopped = generate(model, prompt, latents, {.max_new_tokens = 7, .eos_token_id = eos}).ids;
  EXPECT_TRUE(stopped.equal(golden["greedy_ids_eos"].slice(1, prompt_length))) << stopped;
}

TEST_F(FlamingoParity, SharedPrefixAndSkippedLayersChangeNothing) {
  const auto model = load_flamingo<Flamingo<AllSites>>(golden);
  // Text 0's words before its image are read once and continued twice, with different images; layers below
  // the first gated block are not run again.
  const Tensor ids = golden["input_ids"].slice(0, 0, 1).expand({2, -1});
  const Tensor image_at = ids.eq(model.config.media_token_id).nonzero();
  const auto cut = image_at.select(0, 0).select(0, 1).item<std::int64_t>();
  ASSERT_GT(cut, 0);
  const Tensor latents =
      model.resample(model.encode_vision(testing::flamingo_pixels("pixels", 3))).slice(0, 0, 2);
  const Tensor whole = model.hidden({.ids = ids}, latents);

  const Tensor entry = model.ungated_hidden({.ids = ids.slice(0, 0, 1)});
  VlmCache prefix;
  model.hidden({.ids = ids.slice(0, 0, 1).slice(1, 0, cut), .ungated_hidden = entry.slice(1, 0, cut)}, {},
               &prefix);
  VlmCache both = prefix.select_text(at::zeros({2}, at::kLong));
  const TextInput rest{.ids = ids.slice(1, cut), .ungated_hidden = entry.slice(1, cut).expand({2, -1, -1})};
  EXPECT_CLOSE(model.hidden(rest, latents, &both), whole.slice(1, cut), 1e-5);
}

TEST(FlamingoTiedParity, Logits) {
  const auto golden = testing::open_golden("flamingo_tied");
  const auto model = load_flamingo<Flamingo<NoAdapter>>(golden);
  std::vector<std::int64_t> shape;
  for (const auto& input : golden.meta.at("formula_inputs"))
    shape = input.at(1).get<std::vector<std::int64_t>>();
  const auto key = golden.meta.at("formula_inputs").at(0).at(0).get<std::string>();
  const Tensor logits = model(testing::formula_input(key, shape).squeeze(2), {.ids = golden["input_ids"]});
  EXPECT_CLOSE(logits, golden["logits"], 1e-5);
  EXPECT_CLOSE(causal_loss(logits, golden["input_ids"]), golden["loss"], 1e-5);
}

}  // namespace
}  // namespace morphvlm::flamingo_test
