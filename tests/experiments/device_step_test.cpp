// Training steps as on a card, here on the CPU.
#include "experiments/device/device_step.hpp"

#include <gtest/gtest.h>

#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::experiments {
namespace {

using Model = testing::TinyVlm<LoRA<Attn>>;

DeviceStep tried(const PlanSetup& setup) {
  auto config = testing::tiny_config<Model>();
  config.vision.image_size = 28;
  config.language.hidden_size = 64;
  config.language.intermediate_size = 172;
  return try_steps<Model>("tiny", config, setup,
                          {.batch = 6, .seq = 150, .images = 1, .supervised = 9, .packed = true}, c10::kCPU,
                          5);
}

TEST(DeviceStep, TrainsWithinItsPlan) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto step = tried({.dtype = dtype});
    EXPECT_TRUE(step.fits);
    ASSERT_EQ(step.losses.size(), 5U);
    EXPECT_LT(step.losses.back(), step.losses.front());
    EXPECT_GT(step.seconds, 0);
    EXPECT_NEAR(static_cast<double>(step.planned) / static_cast<double>(step.peak), 1, 0.01) << dtype;
  }
}

TEST(DeviceStep, RecomputingTakesLess) { EXPECT_LT(tried({.recompute = {.every = 1}}).peak, tried({}).peak); }

}  // namespace
}  // namespace morphvlm::experiments
