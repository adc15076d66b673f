// Learning-rate curves against transformers' schedulers (tests/golden/optim.json) and known values.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "morphvlm/core/config.hpp"
#include "morphvlm/train/schedule.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::schedule_test {
namespace {

Schedule named(const std::string& name, std::int64_t warmup) {
  Schedule schedule;
  update_from_json(schedule, Json{{name, {{"warmup", warmup}}}}, "schedule");
  return schedule;
}

TEST(Schedule, CurvesOfTheReference) {
  std::set<std::string> names;
  const Json golden = read_json(testing::golden_path("optim.json"));
  for (const auto& curve : golden.at("schedules")) {
    names.insert(curve.at("schedule"));
    const auto schedule = named(curve.at("schedule"), curve.at("warmup"));
    const std::int64_t total = curve.at("total");
    ASSERT_GT(total, 1);
    for (std::int64_t step = 0; step < total; ++step) {
      EXPECT_NEAR(rate_factor(schedule, step, total), curve.at("lr").at(static_cast<std::size_t>(step)),
                  1e-12)
          << curve.at("schedule") << " step " << step;
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"constant", "cosine", "linear"}));
}

TEST(Schedule, NothingRisesPastTheEnd) {
  for (const Schedule& s :
       {Schedule(Cosine{}), Schedule(LinearDecay{}), Schedule(LinearDecay{.hold = 0.5})}) {
    EXPECT_NEAR(rate_factor(s, 60, 60), 0, 1e-12);
    EXPECT_NEAR(rate_factor(s, 90, 60), 0, 1e-12);
  }
  EXPECT_DOUBLE_EQ(rate_factor(Constant{}, 90, 60), 1);
}

TEST(Schedule, ExponentialFallsByTheSameFactorEachStep) {
  const Schedule s = Exponential{.warmup = 10, .final = 0.01};
  EXPECT_DOUBLE_EQ(rate_factor(s, 0, 110), 0);
  EXPECT_DOUBLE_EQ(rate_factor(s, 5, 110), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(s, 10, 110), 1);
  EXPECT_NEAR(rate_factor(s, 60, 110), 0.1, 1e-12);
  EXPECT_NEAR(rate_factor(s, 110, 110), 0.01, 1e-12);
  EXPECT_NEAR(rate_factor(s, 31, 110) / rate_factor(s, 30, 110), std::pow(10.0, -0.02), 1e-12);
}

TEST(Schedule, LinearDecayHoldsThePeak) {
  const Schedule s = LinearDecay{.warmup = 10, .hold = 0.4};
  EXPECT_DOUBLE_EQ(rate_factor(s, 9, 110), 0.9);
  for (const std::int64_t step : {10, 30, 50}) EXPECT_DOUBLE_EQ(rate_factor(s, step, 110), 1) << step;
  EXPECT_LT(rate_factor(s, 51, 110), 1);
  EXPECT_NEAR(rate_factor(s, 80, 110), 0.5, 1e-12);
}

TEST(Schedule, WarmUpAsLongAsTheRunOrLonger) {
  EXPECT_DOUBLE_EQ(rate_factor(Cosine{.warmup = 10}, 9, 10), 0.9);
  EXPECT_DOUBLE_EQ(rate_factor(LinearDecay{.warmup = 20}, 9, 10), 0.45);
}

}  // namespace
}  // namespace morphvlm::schedule_test
