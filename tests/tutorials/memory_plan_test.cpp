// docs/tutorials/memory_plan.md shows pieces of this file.
#include <gtest/gtest.h>

#include <morphvlm/morphvlm.hpp>

using namespace morphvlm;

namespace {

using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

// OpenLLaMA-3B with ViT-L/14, OpenFlamingo's resampler and a gated block before every fourth layer.
const Model::Config kConfig = presets::flamingo<Model>(presets::open_llama_3b, 4);

TEST(TutorialMemoryPlan, RowsAddUp) {
  const PlanSetup setup{.dtype = at::kBFloat16, .device = c10::kCUDA};
  const StepShape work{.batch = 1, .seq = 512};
  const Plan p = plan<Model>(kConfig, setup, work);

  EXPECT_EQ(p.trained_bytes, 4 * p.trainable);  // fp32, whatever the base
  EXPECT_EQ(p.gradient_bytes, p.trained_bytes);
  EXPECT_GE(p.optimizer_bytes, 2 * p.trained_bytes);  // two moments, and a step count a tensor
  const auto standing = p.frozen_bytes + p.trained_bytes + p.optimizer_bytes;
  EXPECT_GE(p.peak_bytes, standing + p.kept_bytes);
  EXPECT_DOUBLE_EQ(p.flops(), p.vision_flops + p.forward_flops + p.backward_flops);
}

TEST(TutorialMemoryPlan, WaysToFit) {
  const PlanOf plan_of = [](const PlanSetup& s, const StepShape& w) { return plan<Model>(kConfig, s, w); };
  const PlanSetup setup{.dtype = at::kBFloat16, .device = c10::kCUDA};
  const StepShape work{.batch = 8, .seq = 512};
  const std::int64_t budget = 12'000'000'000;

  ASSERT_GT(plan_of(setup, work).peak_bytes, budget);  // as asked, it does not fit
  const auto ways = ways_to_fit(plan_of, setup, work, kConfig.language.num_hidden_layers, budget);
  ASSERT_FALSE(ways.empty());
  for (const Fit& way : ways) {
    EXPECT_LE(way.plan.peak_bytes, budget) << way.change;
    EXPECT_EQ(way.work.batch * way.accumulate, 8) << way.change;  // the same rows a step
    EXPECT_FALSE(way.change.empty());
  }
  EXPECT_LE(ways.front().cost, ways.back().cost);  // the cheapest comes first
}

}  // namespace
