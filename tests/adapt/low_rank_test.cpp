#include "morphvlm/adapt/low_rank.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/nn/linear.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::low_rank_test {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

Init seeded(std::uint64_t seed, at::ScalarType dtype = at::kFloat) { return {dtype, make_generator(seed)}; }
Tensor draw(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

TEST(LowRank, StartsAsTheIdentity) {
  const auto linear = Linear<LowRank>::init(30, 20, true, seeded(1), LoRAConfig{.rank = 4});
  const Linear<> base{.weight = linear.weight, .bias = linear.bias};
  const Tensor x = draw({5, 30}, 2);
  EXPECT_EQ(linear.adapter.lora_B.abs().max().item<double>(), 0);
  EXPECT_TRUE(linear(x).equal(base(x)));
}

TEST(LowRank, AIsUniformWithinOneOverTheRootOfItsInputs) {
  const auto adapter = LowRank::init(400, 7, {.rank = 50}, at::kFloat, make_generator(3));
  EXPECT_EQ(adapter.lora_A.sizes(), at::IntArrayRef({50, 400}));
  EXPECT_EQ(adapter.lora_B.sizes(), at::IntArrayRef({7, 50}));
  const double bound = 1 / std::sqrt(400.0);
  const double largest = adapter.lora_A.abs().max().item<double>();
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  EXPECT_NEAR(adapter.lora_A.mean().item<double>(), 0, 0.01 * bound);
  // The standard deviation of a uniform distribution is its bound / sqrt 3.
  EXPECT_NEAR(adapter.lora_A.square().mean().sqrt().item<double>(), bound / std::sqrt(3.0), 0.01 * bound);
}

TEST(LowRank, TheGeneratorDecidesA) {
  auto a_of = [](std::uint64_t seed) {
    return LowRank::init(9, 9, {}, at::kFloat, make_generator(seed)).lora_A;
  };
  EXPECT_TRUE(a_of(1).equal(a_of(1)));
  EXPECT_FALSE(a_of(1).equal(a_of(2)));
}

TEST(LowRank, AddsScaleTimesBTimesAx) {
  const LowRank adapter{.lora_A = at::tensor({1.0F, 2.0F, 3.0F}).reshape({1, 3}),
                        .lora_B = at::tensor({10.0F, -1.0F}).reshape({2, 1}),
                        .scale = 0.5};
  const Linear<LowRank> linear{
      .weight = at::ones({2, 3}), .bias = at::tensor({0.0F, 7.0F}), .adapter = adapter};
  // x = (1, 1, 2): base (4, 11), A x = 9
  EXPECT_TRUE(linear(at::tensor({1.0F, 1.0F, 2.0F})).equal(at::tensor({4 + 45.0F, 11 - 4.5F})));
}

TEST(LoRAConfig, ScaleIsAlphaOverRankOrOverItsRoot) {
  EXPECT_EQ(LoRAConfig{}.scale(), 1);
  EXPECT_EQ((LoRAConfig{.rank = 4, .alpha = 8}.scale()), 2);
  EXPECT_EQ((LoRAConfig{.rank = 4, .alpha = 8, .rank_stabilized = true}.scale()), 4);
  EXPECT_EQ((LowRank::init(3, 3, {.rank = 64, .alpha = 16, .rank_stabilized = true}, at::kFloat, {}).scale),
            2);
}

TEST(LowRank, ARankThatIsNotPositiveIsRefused) {
  for (const std::int64_t rank : {0, -1}) {
    EXPECT_THAT(message_of([&] { LowRank::init(3, 3, {.rank = rank}, at::kFloat, {}); }),
                HasSubstr("LoRA: rank must be positive, found " + std::to_string(rank)));
  }
}

TEST(LowRank, MastersAreFp32UnderA16BitBase) {
  const auto linear = Linear<LowRank>::init(6, 5, false, seeded(1, at::kBFloat16), LoRAConfig{});
  EXPECT_EQ(linear.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(linear.adapter.lora_A.scalar_type(), at::kFloat);
  EXPECT_EQ(linear(at::ones({2, 6}, at::kBFloat16)).scalar_type(), at::kBFloat16);
  const auto wide = Linear<LowRank>::init(6, 5, false, seeded(1, at::kDouble), LoRAConfig{});
  EXPECT_EQ(wide.adapter.lora_B.scalar_type(), at::kDouble);
}

struct Net {
  Linear<LowRank> adapted = {};
  std::vector<Linear<LowRank>> more = {};
  Linear<> plain = {};
};

Net net(at::ScalarType dtype) {
  const LoRAConfig config{.rank = 3, .alpha = 5};
  Net n{.adapted = Linear<LowRank>::init(8, 8, true, seeded(1, dtype), config),
        .more = {Linear<LowRank>::init(8, 8, false, seeded(2, dtype), config)},
        .plain = Linear<>::init(8, 8, true, seeded(3, dtype))};
  n.adapted.adapter.lora_B = draw({8, 3}, 4);
  n.more[0].adapter.lora_B = draw({8, 3}, 5);
  return n;
}

Tensor run(const Net& n, const Tensor& x) { return n.plain(n.more[0](n.adapted(x))); }

TEST(Merge, LeavesTheOutputAndSilencesTheAdapters) {
  Net n = net(at::kFloat);
  unfreeze(n, "*.adapter.*");
  const Tensor x = draw({5, 8}, 6), before = run(n, x);
  const Tensor shared = n.adapted.weight, original = shared.clone(), plain = n.plain.weight;
  EXPECT_EQ(merge_adapters(n), 2);
  EXPECT_CLOSE(run(n, x), before, 1e-5);
  EXPECT_TRUE(n.adapted.adapter.lora_B.equal(draw({8, 3}, 4)));
  EXPECT_GT(n.adapted.weight.sub(original).abs().max().item<double>(), 0.1);
  // Without the adapters, too: everything is in the weights.
  const Linear<> base{.weight = n.adapted.weight, .bias = n.adapted.bias};
  EXPECT_CLOSE(base(x), n.adapted(x), 1e-6);
  // Whoever shares the old weight does not see the merge, and what has no adapter is not touched.
  EXPECT_TRUE(shared.equal(original));
  EXPECT_TRUE(n.plain.weight.is_same(plain));
  EXPECT_TRUE(n.adapted.adapter.lora_A.requires_grad());
  EXPECT_EQ(merge_adapters(n), 0);
  EXPECT_CLOSE(run(n, x), before, 1e-5);
}

TEST(Merge, UnmergingIsTheInverse) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    Net n = net(dtype);
    const Tensor original = n.adapted.weight.clone(), x = draw({5, 8}, 6).to(dtype), before = run(n, x);
    EXPECT_EQ(unmerge_adapters(n), 0);
    EXPECT_EQ(merged_count(n), 0);
    merge_adapters(n);
    EXPECT_EQ(merged_count(n), 2);
    const Tensor merged = n.adapted.weight;
    EXPECT_EQ(unmerge_adapters(n), 2);
    EXPECT_EQ(merged_count(n), 0);
    // One rounding of the sum: half a unit in the last place of the largest value.
    const double bound = (dtype == at::kFloat ? 6e-8 : 4e-3) * 2 * merged.abs().max().item<double>();
    EXPECT_EQ(n.adapted.weight.scalar_type(), dtype);
    EXPECT_LE(n.adapted.weight.sub(original).abs().max().item<double>(), bound);
    EXPECT_CLOSE(run(n, x), before, dtype == at::kBFloat16 ? 2e-2 : 1e-5);
    EXPECT_EQ(merge_adapters(n), 2);
    EXPECT_EQ(merged_count(n), 2);
  }
}

TEST(Merge, TheMergedWeightIsThereWithoutMerging) {
  Net n = net(at::kFloat);
  const Tensor weight = n.adapted.weight, expected = merged_weight(n.adapted);
  EXPECT_TRUE(n.adapted.weight.is_same(weight));
  EXPECT_TRUE(merged_weight(n.plain).equal(n.plain.weight));
  merge_adapters(n);
  EXPECT_TRUE(n.adapted.weight.equal(expected));
  EXPECT_TRUE(merged_weight(n.adapted).equal(expected));
}

TEST(Merge, TheMergedStateIsThatOfAPlainModel) {
  Net n = net(at::kFloat);
  const Tensor weight = n.adapted.weight;
  const StateDict live = merged_state(n);
  const std::vector<std::string> expected = {"adapted.weight", "adapted.bias", "more.0.weight",
                                             "plain.weight", "plain.bias"};
  ASSERT_EQ(live.size(), expected.size());
  for (std::size_t i = 0; i < live.size(); ++i) EXPECT_EQ(live[i].first, expected[i]);
  EXPECT_TRUE(n.adapted.weight.is_same(weight));
  merge_adapters(n);
  EXPECT_TRUE(live[0].second.equal(n.adapted.weight));
  EXPECT_TRUE(live[2].second.equal(n.more[0].weight));
  EXPECT_TRUE(merged_state(n)[0].second.equal(n.adapted.weight));
  // A projection alone, whose adapter's names have no level before them.
  EXPECT_EQ(merged_state(n.adapted).size(), 2u);
}

TEST(Merge, A16BitBaseStaysOneAndKeepsTheOutputToItsPrecision) {
  Net n = net(at::kBFloat16);
  const Tensor x = draw({5, 8}, 6).to(at::kBFloat16), before = run(n, x);
  merge_adapters(n);
  EXPECT_EQ(n.adapted.weight.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(run(n, x), before, 2e-2);
}

TEST(Merge, AModelWithoutAdaptersIsLeftAlone) {
  auto linear = Linear<>::init(3, 3, true, seeded(1));
  EXPECT_EQ(merge_adapters(linear), 0);
}

}  // namespace
}  // namespace morphvlm::low_rank_test
