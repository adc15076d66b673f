#include "morphvlm/report/convergence.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/message.hpp"

namespace morphvlm::convergence_test {
namespace {

using testing::message_of;

std::vector<double> falling(std::int64_t points, double rate) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < points; ++i) out.push_back(1 + std::exp(-rate * static_cast<double>(i)));
  return out;
}

TEST(Convergence, IsWhereTheLossStaysNearItsEnd) {
  // 1 + e^(-i/10) is within 5 % of its end, about 1, from i = 30 on: e^-3 = 0.0498.
  const auto c = convergence(falling(200, 0.1), {.window = 1, .tolerance = 0.05});
  EXPECT_EQ(c.index, 30);
  EXPECT_NEAR(c.final_loss, 1, 1e-8);
}

TEST(Convergence, TheToleranceIsTheCallers) {
  // Within 1 % from i = 47 on: e^-4.7 = 0.0091, e^-4.6 = 0.0101.
  EXPECT_EQ(convergence(falling(200, 0.1), {.window = 1, .tolerance = 0.01}).index, 47);
}

TEST(Convergence, TheEndIsTheMeanOfTheLastWindow) {
  const std::vector<double> losses{9, 9, 9, 1, 2, 6};
  EXPECT_DOUBLE_EQ(convergence(losses, {.window = 3}).final_loss, 3);
  EXPECT_DOUBLE_EQ(convergence(losses, {.window = 1}).final_loss, 6);
  EXPECT_DOUBLE_EQ(convergence(losses, {.window = 99}).final_loss, 6);  // of all there are
}

TEST(Convergence, AnExcursionAfterwardsDelaysIt) {
  auto losses = falling(200, 0.1);
  losses[120] = 1.2;
  EXPECT_EQ(convergence(losses, {.window = 1}).index, 121);
  // Smoothed over nine steps the same excursion is too small to count.
  EXPECT_LT(convergence(losses, {.window = 9}).index, 60);
}

TEST(Convergence, ARunThatStillFallsConvergesAtItsEnd) {
  std::vector<double> losses;
  for (int i = 0; i < 20; ++i) losses.push_back(std::pow(0.5, i));
  EXPECT_EQ(convergence(losses, {.window = 1}).index, 19);
}

TEST(Convergence, OfAConstantIsAtOnce) {
  const std::vector<double> losses(5, 0.7);
  EXPECT_EQ(convergence(losses).index, 0);
  EXPECT_DOUBLE_EQ(convergence(losses).final_loss, 0.7);
}

TEST(Convergence, RefusesWhatIsNoCurve) {
  const std::vector<double> with_nan{1, std::numeric_limits<double>::quiet_NaN()}, one{1};
  EXPECT_NE(message_of([&] { convergence(with_nan); }).find("expected finite losses"), std::string::npos);
  EXPECT_NE(message_of([&] { convergence({}); }).find("found none"), std::string::npos);
  EXPECT_NE(message_of([&] { convergence(one, {.window = 4}); }).find("odd window"), std::string::npos);
}

TEST(FirstBelow, IsOfTheSmoothedCurve) {
  const std::vector<double> losses{5, 4, 3, 2, 1};
  EXPECT_EQ(first_below(losses, 3, {.window = 1}), 2);
  EXPECT_EQ(first_below(losses, 0.5, {.window = 1}), -1);
  const std::vector<double> spike{5, 5, 0, 5, 5};
  EXPECT_EQ(first_below(spike, 1, {.window = 3}), -1);
}

}  // namespace
}  // namespace morphvlm::convergence_test
