// How much LoRA trains in a Flamingo around OpenLLaMA-3B: the published table, on the meta device.
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/vlm/presets.hpp"
#include "morphvlm/vlm/trainable.hpp"
#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm::counts_test {
namespace {

constexpr std::int64_t kRank = 16, kLayers = 26, kWidth = 3200, kMediaWidth = 1024, kInner = 512;

template <AdapterPolicy P>
using Flamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

// A smaller tower than ViT-L/14 of the same width: adapters do not depend on its depth.
template <class Model>
Model model_with(std::int64_t every) {
  auto config = presets::flamingo<Model>(presets::open_llama_3b, every);
  config.vision.num_hidden_layers = 1;
  Model model = Model::init(config, {.options = TensorOptions(at::kFloat).device(at::kMeta)});
  set_trainable_parts(model, {.adapters = true});
  return model;
}

template <class Model>
std::int64_t trained(std::int64_t every) {
  const Model model = model_with<Model>(every);
  EXPECT_EQ(trainable_count(model), parameter_count(model, kAdapterParameters));
  EXPECT_EQ(std::ssize(model.gated_cross_attn), kLayers / every);
  return trainable_count(model);
}

// A projection in -> out has rank * (in + out) parameters in its two factors.
constexpr std::int64_t factors(std::int64_t in, std::int64_t out) { return kRank * (in + out); }
constexpr std::int64_t kSelfAttention = kLayers * 4 * factors(kWidth, kWidth);
constexpr std::int64_t kCross = 2 * factors(kWidth, kInner) + factors(kMediaWidth, 2 * kInner);
constexpr std::int64_t kCrossMlp = 2 * factors(kWidth, 4 * kWidth);

constexpr std::int64_t attention_only(std::int64_t every) {
  return kSelfAttention + kLayers / every * kCross;
}
constexpr std::int64_t all_sites(std::int64_t every) {
  return attention_only(every) + kLayers / every * kCrossMlp;
}

struct Row {
  std::int64_t all, attention;
};
const std::map<std::int64_t, Row> kPublished{
    {1, {27'901'952, 14'589'952}}, {2, {19'275'776, 12'619'776}}, {3, {15'958'016, 11'862'016}},
    {4, {14'630'912, 11'558'912}}, {5, {13'967'360, 11'407'360}}, {6, {13'303'808, 11'255'808}},
    {7, {12'640'256, 11'104'256}}, {8, {12'640'256, 11'104'256}}, {13, {11'976'704, 10'952'704}}};

TEST(LoraCounts, TheFormulaGivesThePublishedTable) {
  for (const auto& [every, row] : kPublished) {
    EXPECT_EQ(all_sites(every), row.all) << every;
    EXPECT_EQ(attention_only(every), row.attention) << every;
  }
  // Two blocks fit 26 layers from every 9th to every 13th.
  for (std::int64_t every = 9; every <= 12; ++every) {
    EXPECT_EQ(all_sites(every), kPublished.at(13).all);
    EXPECT_EQ(attention_only(every), kPublished.at(13).attention);
  }
}

TEST(LoraCounts, AttentionAndCrossFeedForward) {
  for (std::int64_t every = 1; every <= 13; ++every) {
    EXPECT_EQ((trained<Flamingo<LoRA<Attn, CrossMlp>>>(every)), all_sites(every)) << every;
  }
}

TEST(LoraCounts, AttentionAlone) {
  for (std::int64_t every = 1; every <= 13; ++every) {
    EXPECT_EQ(trained<Flamingo<LoRA<Attn>>>(every), attention_only(every)) << every;
  }
}

TEST(LoraCounts, TheBaseIsTheSameWithEveryPolicy) {
  const auto model = model_with<Flamingo<LoRA<Attn>>>(4);
  const auto adapters = parameter_count(model, kAdapterParameters);
  // The language model's two added tokens have a row each in the embedding and in the head.
  EXPECT_EQ(parameter_count(model, "lang_encoder.*"),
            3'426'473'600 + 2 * 2 * kWidth + parameter_count(model, "lang_encoder.*.adapter.*"));
  EXPECT_EQ(parameter_count(model, "gated_cross_attn.*"),
            6 * 86'258'178 + parameter_count(model, "gated_cross_attn.*.adapter.*"));
  EXPECT_EQ(parameter_count(model, "perceiver.*"), 63'019'008);
  EXPECT_EQ(adapters, attention_only(4));
}

TEST(FlamingoPreset, PlacesTheTwoTokensBehindTheVocabulary) {
  const auto config = presets::flamingo<Flamingo<LoRA<Attn>>>(presets::open_llama_3b, 3);
  EXPECT_EQ(config.eoc_token_id, 32000);
  EXPECT_EQ(config.media_token_id, 32001);
  EXPECT_EQ(config.language.vocab_size, 32002);
  EXPECT_EQ(config.cross_attention.every, 3);
}

}  // namespace
}  // namespace morphvlm::counts_test
