// The gated block and the resampler against open_flamingo's (tests/golden).
#include "morphvlm/model/gated_cross_attention.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "morphvlm/model/perceiver.hpp"
#include "tests/support/layer_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::gated_cross_attention_test {
namespace {

using testing::LayerCase;
using testing::message_of;
using testing::on_meta;

// open_flamingo's keys for what is below one block, or below the resampler.
std::string block_key(const std::string& key) {
  const std::string whole = openflamingo_key("gated_cross_attn.0." + key, "model.layers", 1);
  return whole.substr(std::string("lang_encoder.model.layers.0.gated_cross_attn_layer.").size());
}
std::string perceiver_key(const std::string& key) {
  return openflamingo_key("perceiver." + key, "model.layers", 1).substr(std::string("perceiver.").size());
}

// Two texts with two and three images; the first text has words before its first image.
struct GatedBlock : ::testing::Test {
  LayerCase c{"gated_block"};
  GatedCrossAttention<> block = c.load(GatedCrossAttention<>::init(36, 40, sizes(), on_meta()), block_key);
  Tensor text_time = c["media_locations"].cumsum(-1);

  GatedCrossAttentionConfig sizes() const {
    return {.heads = c.config().at("heads"),
            .head_dim = c.config().at("dim_head"),
            .ff_mult = c.config().at("ff_mult")};
  }
  Tensor run(const Tensor& x, const Tensor& media, const Tensor& time) const {
    const Tensor flat = media.flatten(1, 2);
    return block(x, block.attn.key_values(flat), media_mask(time, media.size(1), media.size(2)));
  }
};

TEST_F(GatedBlock, AsOpenFlamingo) {
  const Tensor x = c.input("x"), media = c.input("media"), y = run(x, media, text_time);
  EXPECT_CLOSE(y, c["y"], 1e-5);
  c.expect_gradients(y, {{"x", x}, {"media", media}}, block, block_key);
}

TEST_F(GatedBlock, ACachedStepSeesTheLastImageOfItsText) {
  const Tensor time = text_time.slice(1, text_time.size(1) - 1);
  EXPECT_CLOSE(run(c["step"], c["media"], time), c["step_out"], 1e-5);
}

TEST_F(GatedBlock, ATokenWithoutMediaStillPassesTheFeedForward) {
  const Tensor first = c["x"].slice(1, 0, 1);
  EXPECT_EQ(text_time[0][0].item<std::int64_t>(), 0);
  EXPECT_CLOSE(block.feed_forward(first)[0], c["y"].slice(1, 0, 1)[0], 1e-5);
  EXPECT_GT(testing::relative_error(first[0], c["y"].slice(1, 0, 1)[0]), 1e-3);
}

// The fixtures' gates are alike. One token without a gradient goes by kernels of its own.
TEST_F(GatedBlock, EachGateIsOfItsOwnPart) {
  block.attn_gate = at::full({1}, 0.5, at::kFloat);
  block.ff_gate = at::full({1}, -0.3, at::kFloat);
  const Tensor x = c["step"], media = c["media"], time = text_time.slice(1, text_time.size(1) - 1);
  const auto gated = [](const Tensor& onto, const Tensor& part, double gate) {
    return onto.add(part.mul(std::tanh(gate))).detach();
  };
  const MediaMask mask = media_mask(time, media.size(1), media.size(2));
  const Tensor seen = gated(x, block.attn(x, block.attn.key_values(media.flatten(1, 2)), mask), 0.5);
  const Tensor expected = gated(seen, block.ff(seen), -0.3), unseen = gated(x, block.ff(x), -0.3);
  EXPECT_CLOSE(run(x, media, time), expected, 1e-5);
  EXPECT_CLOSE(block.feed_forward(x), unseen, 1e-5);
  at::NoGradGuard no_grad;
  ASSERT_TRUE(detail::is_gated_step(x, block.ff.norm, block.ff.fc_in, block.ff.fc_out, block.ff_gate));
  ASSERT_TRUE(detail::is_gated_step(x, block.attn.norm, block.attn.to_q, block.attn.to_out, block.attn_gate));
  EXPECT_CLOSE(run(x, media, time), expected, 1e-5);
  EXPECT_CLOSE(block.feed_forward(x), unseen, 1e-5);
}

TEST_F(GatedBlock, Bf16ActivationsOverFp32Masters) {
  const Tensor y = run(c["x"].to(at::kBFloat16), c["media"].to(at::kBFloat16), text_time);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(y, c["y"], 1e-2);
}

TEST(GatedCrossAttention, GatesStartAtTheirValueAndZeroGatesLeaveTheTextAsItIs) {
  const Init init{at::kFloat, make_generator(1)};
  const auto closed = GatedCrossAttention<>::init(8, 8, {.heads = 2, .head_dim = 4}, init);
  EXPECT_EQ(closed.attn_gate.item<double>(), 0);
  const Tensor x = testing::formula_input("x", {1, 3, 8}), media = testing::formula_input("media", {1, 5, 8});
  const auto mask = media_mask(at::zeros({1, 3}, at::kLong).add(1), 1, 5);
  EXPECT_TRUE(closed(x, closed.attn.key_values(media), mask).equal(x));
  const auto open = GatedCrossAttention<>::init(8, 8, {.heads = 2, .head_dim = 4, .gate_value = 0.5}, init);
  EXPECT_EQ(open.ff_gate.item<double>(), 0.5);
  EXPECT_FALSE(open(x, open.attn.key_values(media), mask).equal(x));
}

PerceiverModule perceiver(const LayerCase& c) {
  const Json& config = c.config();
  const PerceiverConfig sizes{.depth = config.at("depth"),
                              .heads = config.at("heads"),
                              .head_dim = config.at("dim_head"),
                              .latents = config.at("num_latents"),
                              .ff_mult = config.at("ff_mult")};
  return c.load(PerceiverModule::init(config.at("dim"), sizes, on_meta()), perceiver_key);
}

TEST(PerceiverResampler, AsOpenFlamingo) {
  const LayerCase c{"perceiver"};
  const auto module = perceiver(c);
  // open_flamingo has a dimension for frames, of which there is one.
  const Tensor x = c.input("x"), y = module(x.squeeze(2));
  EXPECT_CLOSE(y, c["y"], 1e-5);
  c.expect_gradients(y, {{"x", x}}, module, perceiver_key);
}

TEST(PerceiverResampler, EveryMediumIsResampledByItself) {
  const LayerCase c{"perceiver"};
  const auto module = perceiver(c);
  const Tensor x = c["x"].squeeze(2);
  EXPECT_CLOSE(module(x.slice(0, 1).slice(1, 2)), c["y"].slice(0, 1).slice(1, 2), 1e-5);
}

TEST(PerceiverResampler, Bf16ActivationsOverFp32Masters) {
  const LayerCase c{"perceiver"};
  const Tensor y = perceiver(c)(c["x"].squeeze(2).to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(y, c["y"], 2e-2);
}

TEST(PerceiverResampler, FeaturesOfAnotherWidthOrRankAreRefused) {
  const LayerCase c{"perceiver"};
  const auto module = perceiver(c);
  EXPECT_EQ(message_of([&] {
              module(at::zeros({2, 3, 5, 41}));
            }),
            "Perceiver: expected features [batch, media, tokens, 40], found [2, 3, 5, 41]");
  EXPECT_EQ(message_of([&] {
              module(at::zeros({3, 5, 40}));
            }),
            "Perceiver: expected features [batch, media, tokens, 40], found [3, 5, 40]");
}

}  // namespace
}  // namespace morphvlm::gated_cross_attention_test
