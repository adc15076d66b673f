// The cheapest changes that make a step fit.
#include "morphvlm/plan/fit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::fit_test {
namespace {

using Model = testing::TinyVlm<LoRA<Attn>>;

struct WaysToFit : ::testing::Test {
  Model::Config config = testing::tiny_config<Model>();
  StepShape work{.batch = 8, .seq = 120, .images = 1, .supervised = 4};
  PlanOf plan_of = [this](const PlanSetup& s, const StepShape& w) { return plan<Model>(config, s, w); };
  Plan asked = plan_of({}, work);

  std::vector<Fit> within(std::int64_t budget, const PlanSetup& setup = {}) {
    auto ways = ways_to_fit(plan_of, setup, work, config.language.num_hidden_layers, budget);
    for (const auto& way : ways) {
      EXPECT_LE(way.plan.peak_bytes, budget) << way.change;
      EXPECT_EQ(way.work.batch * way.accumulate, work.batch) << way.change;
      expect_cheapest(way, budget);
    }
    return ways;
  }

  static double flops_of_row(const Plan& p, const StepShape& w) {
    return p.flops() / static_cast<double>(w.batch);
  }

  // Of all that can be recomputed with this batch and dtype, nothing that fits takes fewer operations.
  void expect_cheapest(const Fit& way, std::int64_t budget) {
    EXPECT_DOUBLE_EQ(way.cost, flops_of_row(way.plan, way.work) / flops_of_row(asked, work)) << way.change;
    double least = std::numeric_limits<double>::infinity();
    for (const bool feed_forward : {false, true}) {
      for (std::int64_t layers = 0; layers <= config.language.num_hidden_layers; ++layers) {
        PlanSetup other = way.setup;
        other.recompute = {.every = layers > 0 ? 1 : 0, .layers = layers, .feed_forward = feed_forward};
        const Plan p = plan_of(other, way.work);
        if (p.peak_bytes <= budget) least = std::min(least, p.flops());
      }
    }
    EXPECT_EQ(way.plan.flops(), least) << way.change;
  }
};

TEST_F(WaysToFit, NothingChangesWhereItFits) {
  const auto ways = within(asked.peak_bytes);
  ASSERT_EQ(ways.size(), 1U);
  EXPECT_EQ(ways[0].change, "");
  EXPECT_EQ(ways[0].cost, 1);
}

TEST_F(WaysToFit, RecomputesNoMoreLayersThanItTakes) {
  const auto ways = within(asked.peak_bytes - 1, {.dtype = at::kFloat});
  const auto same_batch = std::ranges::find_if(
      ways, [&](const Fit& f) { return f.accumulate == 1 && f.setup.dtype == at::kFloat; });
  ASSERT_NE(same_batch, ways.end());
  EXPECT_EQ(same_batch->setup.recompute.layers, 1);
  EXPECT_GT(same_batch->cost, 1);
  EXPECT_EQ(same_batch->change, "activations of 1 layers recomputed");
}

TEST_F(WaysToFit, SmallerBatchesAndSixteenBitsAreFreeOfOperations) {
  const auto ways = within(asked.peak_bytes - 1);
  ASSERT_GE(ways.size(), 3U);
  EXPECT_EQ(ways[0].change, "batches of 4, 2 to a step");
  EXPECT_LE(ways[0].cost, 1);
  EXPECT_TRUE(std::ranges::is_sorted(ways, {}, &Fit::cost));
  EXPECT_TRUE(std::ranges::any_of(ways, [](const Fit& f) { return f.change == "bf16 for what is frozen"; }));
}

// In long texts attention costs the most operations, and feed-forwards keep the most for theirs.
TEST_F(WaysToFit, FeedForwardsAreComputedAgainWhereThatIsCheaper) {
  work = {.batch = 1, .seq = 600, .images = 1, .supervised = 4};
  asked = plan_of({.dtype = at::kBFloat16}, work);
  std::int64_t in_parts = 0;
  for (const std::int64_t percent : {95, 90, 85, 80, 75, 70}) {
    for (const auto& way : within(asked.peak_bytes * percent / 100, {.dtype = at::kBFloat16}))
      in_parts += way.setup.recompute.feed_forward;
  }
  EXPECT_GT(in_parts, 0);
}

TEST_F(WaysToFit, BatchesDivideTheRows) {
  work.batch = 7;  // of which half is no whole number: within() holds the products
  asked = plan_of({}, work);
  const auto ways = within(asked.peak_bytes * 4 / 10);
  EXPECT_TRUE(std::ranges::any_of(ways, [](const Fit& f) { return f.work.batch == 1; }));
}

TEST_F(WaysToFit, SaysWhenNothingIsEnough) { EXPECT_TRUE(within(1000).empty()); }

}  // namespace
}  // namespace morphvlm::fit_test
