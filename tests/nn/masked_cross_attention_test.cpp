// Which image a token sees. Parity with open_flamingo is in model/gated_cross_attention_test.cpp.
#include "morphvlm/nn/masked_cross_attention.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "morphvlm/core/module.hpp"
#include "morphvlm/core/rng.hpp"

namespace morphvlm::masked_cross_attention_test {
namespace {

TEST(MediaMask, ATokenAttendsToItsLatestMediumAlone) {
  const Tensor text_time = at::tensor({0, 1, 2, 3}, at::kLong).reshape({1, 4});
  const MediaMask mask = media_mask(text_time, 2, 2);
  // Before any medium, and after more placeholders than media, there is nothing to see: the row is all true
  // (softmax needs something) and `seen` is false.
  const Tensor attend = at::tensor({1, 1, 1, 1,  //
                                    1, 1, 0, 0,  //
                                    0, 0, 1, 1,  //
                                    1, 1, 1, 1});
  EXPECT_TRUE(mask.attend.equal(attend.to(at::kBool).reshape({1, 1, 4, 4}))) << mask.attend;
  EXPECT_TRUE(mask.seen.equal(at::tensor({0, 1, 1, 0}).to(at::kBool).reshape({1, 4, 1})));
}

struct TwoMedia : ::testing::Test {
  at::Generator generator = make_generator(1);
  MaskedCrossAttention<> attention = MaskedCrossAttention<>::init(12, 10, 2, 3, {at::kFloat, generator});
  Tensor x = draw({1, 5, 12}), media = draw({1, 2 * 4, 10});
  Tensor text_time = at::tensor({0, 1, 1, 2, 2}, at::kLong).reshape({1, 5});

  Tensor draw(at::IntArrayRef shape) const { return at::empty(shape, at::kFloat).normal_(0, 1, generator); }
  Tensor run(const Tensor& visible) const {
    return attention(x, attention.key_values(visible), media_mask(text_time, 2, 4));
  }
};

TEST_F(TwoMedia, TokensBeforeTheFirstGetZero) {
  const Tensor y = run(media);
  EXPECT_EQ(y[0][0].abs().max().item<double>(), 0);
  for (std::int64_t t = 1; t < 5; ++t) EXPECT_GT(y[0][t].abs().max().item<double>(), 0) << t;
}

TEST_F(TwoMedia, OnlyTheOwnMediumMatters) {
  Tensor other = media.clone();
  other.slice(1, 4).add_(1);
  const Tensor before = run(media), after = run(other);
  EXPECT_TRUE(after.slice(1, 0, 3).equal(before.slice(1, 0, 3)));
  for (std::int64_t t = 3; t < 5; ++t) EXPECT_FALSE(after[0][t].equal(before[0][t])) << t;
}

TEST_F(TwoMedia, KeysAreTheFirstHalfOfToKv) {
  const auto kv = attention.key_values(media);
  const Tensor keys = media.matmul(attention.to_kv.weight.slice(0, 0, 6).t()).unflatten(-1, {2, 3});
  EXPECT_EQ(kv.k.sizes(), at::IntArrayRef({1, 2, 8, 3}));
  EXPECT_LE(kv.k.transpose(1, 2).sub(keys).abs().max().item<double>(), 1e-6);
}

TEST_F(TwoMedia, ThereAreNoBiasesButTheNorms) {
  std::int64_t biases = 0;
  visit(attention, [&](const std::string& name, const Tensor&) { biases += name.ends_with("bias"); });
  EXPECT_EQ(biases, 1);
  EXPECT_TRUE(attention.norm.bias.defined());
}

}  // namespace
}  // namespace morphvlm::masked_cross_attention_test
