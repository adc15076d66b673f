// The vision tower against open_clip's VisionTransformer (tests/golden).
#include "morphvlm/model/clip_vit.hpp"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/layer_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::clip_vit_test {
namespace {

using testing::LayerCase;
using testing::message_of;
using testing::on_meta;

ClipVitConfig sizes(const Json& config, Activation activation) {
  const auto width = config.at("width").get<std::int64_t>();
  const auto& image = config.at("image_size");
  return {.image_size = image.is_array() ? image[0].get<std::int64_t>() : image.get<std::int64_t>(),
          .patch_size = config.at("patch_size"),
          .hidden_size = width,
          .num_hidden_layers = config.at("layers"),
          .num_attention_heads = config.at("heads"),
          .intermediate_size =
              static_cast<std::int64_t>(static_cast<double>(width) * config.at("mlp_ratio").get<double>()),
          .projection_dim = 11,
          .hidden_act = activation};
}

void expect_tower(const LayerCase& c, ClipVitModule module) {
  const Tensor x = c.input("x"), y = module(x);
  EXPECT_CLOSE(y, c["y"], 1e-5);
  c.expect_gradients(y, {{"x", x}}, module);
  module.tokens = VitTokens::after_ln_post;
  EXPECT_CLOSE(module(x), c["y_after_ln_post"], 1e-5);
}

TEST(ClipVit, QuickGeluAsOpenClip) {
  const LayerCase c{"vit"};
  expect_tower(c, c.load(ClipVitModule::init(sizes(c.config(), Activation::quick_gelu), on_meta())));
}

TEST(ClipVit, ExactGeluAndAnImageThatIsNotSquareAsOpenClip) {
  const LayerCase c{"vit_rect_gelu"};
  auto module = ClipVitModule::init(sizes(c.config(), Activation::gelu), on_meta());
  module.positional_embedding = at::empty({1 + 4 * 3, 20}, on_meta().options);
  expect_tower(c, c.load(std::move(module)));
}

TEST(ClipVit, Bf16ActivationsOverFp32Weights) {
  const LayerCase c{"vit"};
  const auto module = c.load(ClipVitModule::init(sizes(c.config(), Activation::quick_gelu), on_meta()));
  const Tensor y = module(c["x"].to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(y, c["y"], 2e-2);
}

TEST(ClipVit, TheConfigChoosesTheTokensAndWhetherThereIsAProjection) {
  const ClipVitConfig config{.image_size = 8,
                             .patch_size = 4,
                             .hidden_size = 6,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 2,
                             .intermediate_size = 10,
                             .projection_dim = 0,
                             .tokens = VitTokens::after_ln_post};
  const auto module = ClipVitModule::init(config, {at::kFloat, make_generator(1)});
  EXPECT_EQ(module.tokens, VitTokens::after_ln_post);
  EXPECT_FALSE(module.proj.defined());
  const Tensor y = module(testing::formula_input("pixels", {3, 3, 8, 8}));
  EXPECT_EQ(y.sizes(), at::IntArrayRef({3, 4, 6}));
  // ln_post with weight 1 and bias 0 leaves tokens of mean 0.
  EXPECT_LE(y.mean(-1).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(ClipViT::feature_dim(config), 6);
}

TEST(ClipVit, PixelsOfAnotherSizeAreRefused) {
  const LayerCase c{"vit"};
  const auto module = c.load(ClipVitModule::init(sizes(c.config(), Activation::quick_gelu), on_meta()));
  EXPECT_EQ(message_of([&] {
              module(at::zeros({2, 3, 42, 35}));
            }),
            "ClipViT: an image of [2, 3, 42, 35] makes 30 patches, but the model has positions for 25");
  EXPECT_EQ(message_of([&] {
              module(at::zeros({2, 1, 35, 35}));
            }),
            "ClipViT: expected pixels [n, 3, S, S], found [2, 1, 35, 35]");
  EXPECT_EQ(message_of([&] {
              module(at::zeros({3, 35, 35}));
            }),
            "ClipViT: expected pixels [n, 3, S, S], found [3, 35, 35]");
  for (const auto type : {at::kByte, at::kLong, at::kBool})
    EXPECT_THAT(message_of([&] {
                  module(at::zeros({2, 3, 35, 35}, type));
                }),
                ::testing::HasSubstr("ClipViT: expected pixels of a floating-point type"))
        << type;
  EXPECT_THAT(message_of([&] { module({}); }), ::testing::HasSubstr("found undefined"));
}

TEST(ClipVit, APatchThatDoesNotDivideTheImageIsRefused) {
  EXPECT_EQ(message_of([] { ClipVitModule::init({.image_size = 224, .patch_size = 15}, on_meta()); }),
            "ClipViT: patch size 15 does not divide image size 224");
  EXPECT_EQ(message_of([] { ClipVitModule::init({.patch_size = 0}, on_meta()); }),
            "ClipViT: patch size 0 does not divide image size 224");
}

}  // namespace
}  // namespace morphvlm::clip_vit_test
