// PiSSA's start against PEFT's (tests/golden/dora.py).
#include "morphvlm/adapt/pissa.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::pissa_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

const LoRAConfig kConfig{.rank = 3, .alpha = 6, .init = LoRAInit::pissa};

Init seeded(std::uint64_t seed, at::ScalarType dtype = at::kFloat) { return {dtype, make_generator(seed)}; }

// With weights that were loaded after it was made, as a model's are.
template <class Adapter>
Linear<Adapter> loaded() {
  auto linear = Linear<Adapter>::init(10, 12, false, seeded(1), kConfig);
  linear.weight = testing::formula_parameter("pissa.weight", {12, 10});
  detail::restart_adapters(linear, [](const std::string&) { return true; });
  return linear;
}

// Singular vectors have no sign, so their product is compared, and their lengths.
TEST(Pissa, FactorsAndResidualAreTheReferences) {
  const auto golden = testing::open_golden("dora");
  const auto linear = loaded<LowRank>();
  const auto& a = linear.adapter;
  EXPECT_CLOSE(at::matmul(a.lora_B, a.lora_A), golden["pissa/product"], 1e-5);
  EXPECT_CLOSE(at::matmul(a.lora_A, a.lora_A.t()), golden["pissa/gram"], 1e-5);
  EXPECT_CLOSE(linear.weight, golden["pissa/residual"], 1e-5);
  EXPECT_TRUE(a.base_is_residual);
}

template <class Adapter>
void expect_it_starts_as_the_whole_weight() {
  const auto linear = loaded<Adapter>();
  const Linear<> whole{.weight = testing::formula_parameter("pissa.weight", {12, 10})};
  const Tensor x = testing::formula_input("x", {7, 10});
  EXPECT_CLOSE(linear(x), whole(x), 1e-5);
  EXPECT_GT(testing::relative_error(linear.weight, whole.weight), 0.1);
  EXPECT_CLOSE(merged_weight(linear), whole.weight, 1e-5);
}

TEST(Pissa, StartsAsTheWholeWeight) {
  expect_it_starts_as_the_whole_weight<LowRank>();
  expect_it_starts_as_the_whole_weight<WeightDecomposed>();
}

TEST(Pissa, WhatWasTakenOutOnceIsNotTakenOutAgain) {
  auto linear = loaded<LowRank>();
  const Tensor residual = linear.weight, a = linear.adapter.lora_A;
  start_adapters(linear);
  EXPECT_TRUE(linear.weight.is_same(residual));
  EXPECT_TRUE(linear.adapter.lora_A.is_same(a));
  EXPECT_THAT(message_of([&] { init_adapters(linear, at::kFloat, make_generator(1)); }),
              HasSubstr("taken out of this weight before; load the weights again"));
}

// As a model's that was made without memory: the weight comes first, the factors with init_adapters.
TEST(Pissa, FactorsWithoutMemoryStartWhenTheyAreInitialised) {
  auto linear = Linear<LowRank>::init(10, 12, false, {TensorOptions(at::kMeta)}, kConfig);
  EXPECT_FALSE(linear.adapter.base_is_residual);
  linear.weight = testing::formula_parameter("pissa.weight", {12, 10}).to(at::kBFloat16);
  detail::restart_adapters(linear, [](const std::string&) { return true; });
  EXPECT_TRUE(linear.adapter.lora_A.is_meta());
  init_adapters(linear, at::kFloat, make_generator(1));
  EXPECT_TRUE(linear.adapter.base_is_residual);
  EXPECT_EQ(linear.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(linear.adapter.lora_A.scalar_type(), at::kFloat);
  EXPECT_CLOSE(merged_weight(linear).to(at::kFloat), testing::formula_parameter("pissa.weight", {12, 10}),
               1e-2);
}

TEST(Pissa, WhatIsTrainedStaysTrained) {
  auto linear = Linear<LowRank>::init(10, 12, false, seeded(1), kConfig);
  unfreeze(linear, "*");
  detail::restart_adapters(linear, [](const std::string&) { return true; });
  std::size_t count = 0;
  visit(linear, [&](const std::string& name, const Tensor& t) {
    EXPECT_TRUE(t.requires_grad() && t.is_leaf()) << name;
    ++count;
  });
  EXPECT_EQ(count, 3u);
}

TEST(Pissa, AWeightThatCannotBeSplitIsRefused) {
  const auto start = [](std::int64_t rank, const Tensor& weight) {
    Tensor a = at::empty({rank, weight.size(1)}, at::kFloat),
           b = at::empty({weight.size(0), rank}, at::kFloat);
    return message_of([&] { start_as_pissa(a, b, 1, weight); });
  };
  const Tensor weight = testing::formula_input("w", {4, 6});
  EXPECT_EQ(start(4, weight), "(nothing was thrown)");
  EXPECT_THAT(start(5, weight), AllOf(HasSubstr("a rank of at most 4"), HasSubstr("found 5")));
  EXPECT_THAT(start(2, weight.div(0)), HasSubstr("a weight of finite numbers"));
}

struct Net {
  std::vector<Linear<LowRank>> layers = {};
};

TEST(Pissa, TheProjectionIsNamed) {
  Net net{{Linear<LowRank>::init(10, 12, false, seeded(1), LoRAConfig{}),
           Linear<LowRank>::init(10, 12, false, seeded(2), LoRAConfig{})}};
  for (auto& layer : net.layers) layer.adapter.start = LoRAInit::pissa;
  net.layers[1].weight[3][4] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message_of([&] { init_adapters(net, at::kFloat, make_generator(1)); }),
              HasSubstr("layers.0: PiSSA: expected a rank of at most 10"));
  for (auto& layer : net.layers)
    layer.adapter = LowRank::init(10, 12, kConfig, at::kFloat, make_generator(3));
  EXPECT_THAT(message_of([&] { init_adapters(net, at::kFloat, make_generator(1)); }),
              HasSubstr("layers.1: PiSSA: expected a weight of finite numbers"));
  EXPECT_FALSE(net.layers[1].adapter.base_is_residual);
}

TEST(Pissa, APackedBaseIsRefusedUntilTheFactorsHaveStarted) {
  using Packed = Linear<Over<Int8, LowRank>>;
  EXPECT_THAT(message_of([] { Packed::init(10, 12, false, seeded(1), kConfig); }),
              AllOf(HasSubstr("PiSSA"), HasSubstr("which is packed here")));
  auto dense = loaded<LowRank>();
  auto packed = Packed::init(10, 12, false, {TensorOptions(at::kMeta)}, kConfig);
  quantize_into(packed, dense);
  EXPECT_TRUE(packed.adapter.base_is_residual);
  start_adapters(packed);
  EXPECT_TRUE(packed.adapter.lora_A.equal(dense.adapter.lora_A));
  const Tensor x = testing::formula_input("x", {7, 10});
  EXPECT_CLOSE(packed(x), dense(x), 2e-2);
}

}  // namespace
}  // namespace morphvlm::pissa_test
