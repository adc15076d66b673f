// Linear, embedding, norms and feed-forward blocks against torch, transformers and open_clip (tests/golden).
#include "morphvlm/nn/feed_forward.hpp"

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "morphvlm/nn/batch_norm.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "tests/support/layer_case.hpp"

namespace morphvlm::feed_forward_test {
namespace {

using testing::LayerCase;
using testing::on_meta;

template <class M>
void expect_case(const LayerCase& c, const M& module) {
  const Tensor x = c.input("x"), y = module(x);
  EXPECT_CLOSE(y, c["y"], 1e-5);
  c.expect_gradients(y, {{"x", x}}, module);
}

// 16-bit activations over fp32 masters: the masters stay what they are and get fp32 gradients.
template <class M>
void expect_bf16_case(const LayerCase& c, const M& module) {
  const Tensor y = module(c["x"].to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(y, c["y"], 1e-2);
  backward(y.to(at::kFloat).mul(c["dy"]).sum());
  visit(module, [&](const std::string& name, const Tensor& t) {
    ASSERT_EQ(t.grad().scalar_type(), at::kFloat) << name;
    EXPECT_LE(testing::relative_error(t.grad(), c["grad/" + name]), 3e-2) << name;
  });
}

LayerNorm layer_norm(const LayerCase& c) {
  return c.load(LayerNorm::init(33, on_meta(), c.config().at("eps").get<double>()));
}
RMSNorm rms_norm(const LayerCase& c) {
  return c.load(RMSNorm::init(37, on_meta(), c.config().at("eps").get<double>()));
}
GeluMlp gelu_mlp(const LayerCase& c, Activation activation) {
  return c.load(GeluMlp::init(20, 70, activation, on_meta()));
}

TEST(Norm, LayerNormAsTorch) {
  const LayerCase c{"layer_norm"};
  expect_case(c, layer_norm(c));
  expect_bf16_case(c, layer_norm(c));
}

TEST(Norm, RmsNormAsTransformers) {
  const LayerCase c{"rms_norm"};
  expect_case(c, rms_norm(c));
  expect_bf16_case(c, rms_norm(c));
}

TEST(Norm, LayerNormWithoutBias) {
  const LayerNorm norm{.weight = at::ones({2})};
  EXPECT_CLOSE(norm(at::tensor({3.0F, 5.0F})), at::tensor({-1.0F, 1.0F}), 1e-4);
}

// Few rows without a gradient are normed by kernels of our own. Mean square 12.5, and 0.5 added to it.
TEST(Norm, RmsNormOfGemvAddsItsEps) {
  at::NoGradGuard no_grad;
  const RMSNorm norm{.weight = at::tensor({1.0F, 2.0F}), .eps = 0.5};
  const Tensor x = at::tensor({3.0F, 4.0F}).view({1, 1, 2});
  EXPECT_CLOSE(norm(x), at::tensor({3.0F, 8.0F}).div(std::sqrt(13.0)).view({1, 1, 2}), 1e-6);
}

// (5 - 1) / sqrt(3 + 1) * 2 + 7 and (0 - 2) / sqrt(8 + 1) * 3 - 1
TEST(Norm, BatchNormIsByItsFixedStatisticsAndItsEps) {
  const BatchNorm norm{.weight = at::tensor({2.0F, 3.0F}),
                       .bias = at::tensor({7.0F, -1.0F}),
                       .running_mean = at::tensor({1.0F, 2.0F}),
                       .running_var = at::tensor({3.0F, 8.0F}),
                       .eps = 1};
  const Tensor x = at::tensor({5.0F, 0.0F}).view({1, 2, 1, 1});
  EXPECT_CLOSE(norm(x).flatten(), at::tensor({11.0F, -3.0F}), 1e-6);
}

TEST(FeedForward, QuickGeluAsOpenClip) {
  const LayerCase c{"mlp_quick_gelu"};
  expect_case(c, gelu_mlp(c, Activation::quick_gelu));
  expect_bf16_case(c, gelu_mlp(c, Activation::quick_gelu));
}

TEST(FeedForward, ExactGeluAsTorch) {
  const LayerCase c{"mlp_gelu"};
  expect_case(c, gelu_mlp(c, Activation::gelu));
  expect_bf16_case(c, gelu_mlp(c, Activation::gelu));
  // The two activations are not the same, and the fixtures tell them apart.
  EXPECT_GT(testing::relative_error(gelu_mlp(c, Activation::quick_gelu)(c["x"]), c["y"]), 1e-3);
}

TEST(FeedForward, SwiGluAsTransformers) {
  const LayerCase c{"swiglu"};
  const auto module = c.load(SwiGlu<>::init(20, 34, on_meta()));
  expect_case(c, module);
  expect_bf16_case(c, module);
}

TEST(Linear, IsXTimesWTransposedPlusB) {
  const Linear<> linear{.weight = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).reshape({2, 2}),
                        .bias = at::tensor({10.0F, 20.0F})};
  EXPECT_TRUE(linear(at::tensor({1.0F, -1.0F})).equal(at::tensor({9.0F, 19.0F})));
  const Linear<> without{.weight = linear.weight};
  EXPECT_TRUE(without(at::tensor({1.0F, -1.0F})).equal(at::tensor({-1.0F, -1.0F})));
}

TEST(Linear, StartsUniformWithinOneOverTheRootOfItsInputs) {
  const auto linear = Linear<>::init(100, 300, true, {at::kFloat, make_generator(1)});
  for (const Tensor& t : {linear.weight, linear.bias}) {
    EXPECT_LE(t.abs().max().item<double>(), 0.1);
    EXPECT_GT(t.abs().max().item<double>(), 0.098);
    EXPECT_NEAR(t.mean().item<double>(), 0, 0.01);
  }
  EXPECT_FALSE(Linear<>::init(100, 300, false, {at::kFloat, make_generator(1)}).bias.defined());
}

TEST(Embedding, LooksRowsUpAndStartsNormal) {
  const auto table = Embedding::init(500, 40, {at::kFloat, make_generator(1)}, 0.5);
  const Tensor ids = at::tensor({7, 7, 499}, at::kLong).reshape({1, 3});
  const Tensor rows = table(ids);
  EXPECT_EQ(rows.sizes(), at::IntArrayRef({1, 3, 40}));
  EXPECT_TRUE(rows[0][0].equal(table.weight[7]));
  EXPECT_TRUE(rows[0][2].equal(table.weight[499]));
  EXPECT_NEAR(table.weight.square().mean().sqrt().item<double>(), 0.5, 0.01);
}

}  // namespace
}  // namespace morphvlm::feed_forward_test
