// The cheapest changes that make a step fit.
#include "morphvlm/plan/fit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::fit_test {
namespace {

using Model = testing::TinyVlm<LoRA<Attn>>;

struct WaysToFit : ::testing::Test {
  Model::Config config = testing::tiny_config<Model>();
  PlanWork work{.batch = 8, .seq = 120, .images = 1, .supervised = 4};
  PlanOf plan_of = [this](const PlanSetup& s, const PlanWork& w) { return plan<Model>(config, s, w); };
  Plan asked = plan_of({}, work);

  std::vector<Fit> within(std::int64_t budget, const PlanSetup& setup = {}) {
    auto ways = ways_to_fit(plan_of, setup, work, config.language.num_hidden_layers, budget);
    for (const auto& way : ways) {
      EXPECT_LE(way.plan.peak_bytes, budget) << way.change;
      EXPECT_EQ(way.work.batch * way.accumulate, work.batch) << way.change;
    }
    return ways;
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

TEST_F(WaysToFit, SaysWhenNothingIsEnough) { EXPECT_TRUE(within(1000).empty()); }

}  // namespace
}  // namespace morphvlm::fit_test
