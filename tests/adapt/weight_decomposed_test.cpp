// DoRA against PEFT's (tests/golden/dora.py).
#include "morphvlm/adapt/weight_decomposed.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/linear.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::weight_decomposed_test {
namespace {

using testing::formula_input;
using testing::formula_parameter;
using testing::Golden;
using ::testing::HasSubstr;
using testing::message_of;
using Projection = Linear<WeightDecomposed>;

const LoRAConfig kConfig{.rank = 3, .alpha = 6};

const Golden& golden() {
  static const Golden file = testing::open_golden("dora");
  return file;
}

Tensor draw(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

// The reference's projection [12, 64] as it starts.
Projection fresh() {
  auto linear = Projection::init(64, 12, true, {at::kFloat, make_generator(1)}, kConfig);
  linear.weight = formula_parameter("fc.weight", {12, 64});
  linear.bias = formula_parameter("fc.bias", {12});
  start_adapters(linear);
  return linear;
}

// Its adapter as the reference trained it.
void wake(WeightDecomposed& adapter) {
  adapter.lora_A = formula_parameter("fc.lora_A", {3, 64});
  adapter.lora_B = formula_parameter("fc.lora_B", {12, 3});
  adapter.lora_magnitude_vector =
      adapter.lora_magnitude_vector.mul(formula_input("fc.lora_magnitude_vector", {12}).div(4).add(1));
}

Projection trained() {
  auto linear = fresh();
  wake(linear.adapter);
  return linear;
}

static_assert(sizeof(Linear<LowRank>) == 2 * sizeof(Tensor) + sizeof(LowRank) && sizeof(LowRank) == 32);

TEST(WeightDecomposed, StartsAsTheIdentityWithTheWeightsNorms) {
  const auto linear = fresh();
  EXPECT_CLOSE(linear.adapter.lora_magnitude_vector, golden()["linear/start"], 1e-6);
  const Linear<> base{.weight = linear.weight, .bias = linear.bias};
  const Tensor x = draw({5, 64}, 2);
  EXPECT_CLOSE(linear(x), base(x), 1e-6);
  // Of weights that were just drawn, too.
  const auto drawn = Projection::init(6, 4, false, {at::kFloat, make_generator(1)}, kConfig);
  EXPECT_TRUE(drawn.adapter.lora_magnitude_vector.equal(at::linalg_vector_norm(drawn.weight, 2, {1})));
}

TEST(WeightDecomposed, OutputAndGradientsAreTheReferences) {
  auto linear = trained();
  unfreeze(linear, "adapter.*");
  unfreeze(linear, "bias");
  const Tensor x = formula_input("x", {5, 64}).set_requires_grad(true);
  const Tensor y = linear(x);
  EXPECT_CLOSE(y, golden()["linear/y"], 1e-5);
  backward(y.mul(formula_input("y_cotangent", {5, 12})).sum());
  EXPECT_CLOSE(x.grad(), golden()["linear/grad/x"], 1e-5);
  EXPECT_CLOSE(linear.bias.grad(), golden()["linear/grad/bias"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_A.grad(), golden()["linear/grad/lora_A"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_B.grad(), golden()["linear/grad/lora_B"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_magnitude_vector.grad(), golden()["linear/grad/lora_magnitude_vector"],
               1e-5);
}

TEST(WeightDecomposed, WithoutARecordingTheOutputIsTheSame) {
  const auto linear = trained();
  at::NoGradGuard no_grad;
  EXPECT_CLOSE(linear(formula_input("x", {5, 64})), golden()["linear/y"], 1e-5);
}

TEST(WeightDecomposed, MergesAsTheReferenceAndBack) {
  auto linear = trained();
  const Tensor x = draw({5, 64}, 2), before = linear(x), weight = linear.weight, original = weight.clone();
  EXPECT_CLOSE(merged_weight(linear), golden()["linear/merged"], 1e-6);
  EXPECT_EQ(merged_count(linear), 0);
  EXPECT_EQ(merge_adapters(linear), 1);
  EXPECT_CLOSE(linear.weight, golden()["linear/merged"], 1e-6);
  EXPECT_CLOSE(linear(x), before, 1e-5);
  EXPECT_TRUE(merged_weight(linear).equal(linear.weight));
  EXPECT_TRUE(weight.equal(original));
  const StateDict plain = merged_state(linear);
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_TRUE(plain[0].second.equal(linear.weight));
  EXPECT_EQ(unmerge_adapters(linear), 1);
  EXPECT_CLOSE(linear.weight, original, 1e-6);
  EXPECT_CLOSE(linear(x), before, 1e-5);
}

TEST(WeightDecomposed, ARowThatMergingErasedIsNotInvented) {
  auto linear = trained();
  linear.adapter.lora_magnitude_vector[3] = 0;
  merge_adapters(linear);
  EXPECT_THAT(message_of([&] { unmerge_adapters(linear); }), HasSubstr("DoRA: a magnitude is 0"));
}

TEST(WeightDecomposed, ARowOfZerosStaysOneWithoutNaN) {
  auto linear = fresh();
  linear.weight = linear.weight.clone();
  linear.weight[2] = 0;
  start_adapters(linear);
  unfreeze(linear, "adapter.*");
  const Tensor y = linear(draw({3, 64}, 4));
  backward(y.square().sum());
  EXPECT_TRUE(y.select(1, 2).equal(linear.bias[2].expand({3})));
  EXPECT_TRUE(linear.adapter.lora_B.grad().isfinite().all().item<bool>());
  EXPECT_TRUE(linear.adapter.lora_magnitude_vector.grad().isfinite().all().item<bool>());
}

// In bfloat16, 1 is followed by 1 + 1/128: what training makes of a magnitude would be rounded away.
TEST(WeightDecomposed, A16BitBaseKeepsTheFactorsPrecision) {
  auto linear = Projection::init(64, 400, false, {at::kBFloat16, make_generator(1)}, kConfig);
  EXPECT_EQ(linear.adapter.lora_magnitude_vector.scalar_type(), at::kFloat);
  const Tensor x = draw({1, 64}, 5).to(at::kBFloat16), before = linear(x);
  EXPECT_EQ(before.scalar_type(), at::kBFloat16);
  constexpr double kGrown = 1 + 0.75 / 128;
  linear.adapter.lora_magnitude_vector.mul_(kGrown);
  EXPECT_CLOSE(linear(x), before.to(at::kFloat).mul(kGrown).to(at::kBFloat16), 0);
  EXPECT_FALSE(linear(x).equal(before.mul(1 + 1.0 / 128)));
}

}  // namespace
}  // namespace morphvlm::weight_decomposed_test
