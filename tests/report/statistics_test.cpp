#include "morphvlm/report/statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/formats/files.hpp"

namespace morphvlm::statistics_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Newcombe, Statistics in Medicine 17 (1998), table I, method 3, has these to four decimals; further digits
// from the roots of (p - k/n)^2 = z^2 p (1 - p) / n.
TEST(WilsonTest, PublishedIntervals) {
  const auto close = [](Interval i, double low, double high) {
    EXPECT_NEAR(i.low, low, 1e-12);
    EXPECT_NEAR(i.high, high, 1e-12);
  };
  close(wilson(81, 263), 0.2552885198782743, 0.3662095769828);
  close(wilson(15, 148), 0.06238639953073628, 0.16048724172330803);
  close(wilson(0, 20), 0, 0.16112515805281938);
  close(wilson(1, 29), 0.006113214292762649, 0.17175521879320288);
  close(wilson(20, 20), 0.8388748419471803, 1);
  close(wilson(8706, 9673), 0.8938936613434354, 0.9058507627987726);
}

TEST(WilsonTest, ImpossibleCountsAreRefused) {
  EXPECT_ERROR(wilson(0, 0), HasSubstr("0 of 0"));
  EXPECT_ERROR(wilson(5, 4), HasSubstr("5 of 4"));
  EXPECT_ERROR(wilson(-1, 4), HasSubstr("-1 of 4"));
}

TEST(QuantileTest, AsNumPy) {
  const std::vector<double> v = {1, 2, 4, 8, 16};
  EXPECT_DOUBLE_EQ(quantile(v, 0.1), 1.4);
  EXPECT_DOUBLE_EQ(quantile(v, 0.5), 4);
  EXPECT_DOUBLE_EQ(quantile(v, 0.975), 15.2);
  EXPECT_DOUBLE_EQ(quantile(v, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(v, 1), 16);
  EXPECT_ERROR(quantile({}, 0.5), HasSubstr("0 values"));
}

TEST(BootstrapTest, MatchesTheNormalIntervalOfALargeSample) {
  std::vector<double> right(2000, 0);
  for (std::size_t i = 0; i < 1400; ++i) right[i] = 1;
  const Interval i = bootstrap_mean(right, {.resamples = 4000, .seed = 1});
  const double half = kZ95 * std::sqrt(0.7 * 0.3 / 2000);
  EXPECT_NEAR(i.low, 0.7 - half, 0.002);
  EXPECT_NEAR(i.high, 0.7 + half, 0.002);
}

TEST(BootstrapTest, LessConfidenceIsANarrowerInterval) {
  std::vector<double> right(2000, 0);
  for (std::size_t i = 0; i < 1400; ++i) right[i] = 1;
  const Interval i = bootstrap_mean(right, {.resamples = 4000, .confidence = 0.5, .seed = 1});
  const double half = 0.6744897501960817 * std::sqrt(0.7 * 0.3 / 2000);  // the normal's 75 % point
  EXPECT_NEAR(i.low, 0.7 - half, 0.001);
  EXPECT_NEAR(i.high, 0.7 + half, 0.001);
}

TEST(BootstrapTest, PairingTakesAwayWhatBothShare) {
  // Half of the questions are hard for both; B gets one in twenty more, always on top of A.
  std::vector<double> a, b;
  for (int i = 0; i < 1000; ++i) {
    a.push_back(i % 2);
    b.push_back(i % 2 == 1 || i % 20 == 0 ? 1 : 0);
  }
  const Interval paired = paired_bootstrap(a, b, {.resamples = 2000, .seed = 3});
  const double half = kZ95 * std::sqrt(0.05 * 0.95 / 1000);
  EXPECT_NEAR(paired.low, 0.05 - half, 0.003);
  EXPECT_NEAR(paired.high, 0.05 + half, 0.003);
  EXPECT_GT(bootstrap_mean(b, {.resamples = 2000}).high - bootstrap_mean(b, {.resamples = 2000}).low,
            2 * (paired.high - paired.low));
}

TEST(BootstrapTest, TheSeedDecides) {
  const std::vector<double> v = {0.1, 0.7, 0.2, 0.9, 0.4};
  const Interval one = bootstrap_mean(v, {.resamples = 200, .seed = 1});
  const Interval again = bootstrap_mean(v, {.resamples = 200, .seed = 1});
  const Interval other = bootstrap_mean(v, {.resamples = 200, .seed = 2});
  EXPECT_EQ(one.low, again.low);
  EXPECT_EQ(one.high, again.high);
  EXPECT_TRUE(one.low != other.low || one.high != other.high);
}

TEST(BootstrapTest, WhatCannotBeResampledIsRefused) {
  const std::vector<double> two = {1, 2}, three = {1, 2, 3}, bad = {1, std::nan("")};
  EXPECT_ERROR(bootstrap_mean({}), HasSubstr("found none"));
  EXPECT_ERROR(bootstrap_mean(bad), HasSubstr("nan"));
  EXPECT_ERROR(bootstrap_mean(two, {.resamples = 0}), HasSubstr("resamples"));
  EXPECT_ERROR(paired_bootstrap(two, three), HasSubstr("2 and 3"));
}

TEST(PairedTest, Counts) {
  const std::vector<bool> a = {true, true, true, false, false, false};
  const std::vector<int> b = {1, 1, 0, 1, 1, 0};
  const PairedCounts c = paired_counts(a, b);
  EXPECT_EQ(c.both, 2);
  EXPECT_EQ(c.only_a, 1);
  EXPECT_EQ(c.only_b, 2);
  EXPECT_EQ(c.neither, 1);
  EXPECT_EQ(c.total(), 6);
  EXPECT_DOUBLE_EQ(c.difference(), 1.0 / 6);
  EXPECT_ERROR(paired_counts(a, std::vector<int>{1, 1}), HasSubstr("more answers than the other's 2"));
}

TEST(PairedTest, McNemarIsTheExactBinomialTest) {
  // Sums of binomial coefficients over 2^n in integers.
  EXPECT_NEAR(mcnemar_p({.only_a = 5, .only_b = 20}), 0.004077315330505371, 1e-14);
  EXPECT_NEAR(mcnemar_p({.only_a = 120, .only_b = 80}), 0.0056851559967503055, 1e-13);
  EXPECT_DOUBLE_EQ(mcnemar_p({.only_a = 7, .only_b = 7}), 1);
  EXPECT_DOUBLE_EQ(mcnemar_p({.both = 10}), 1);
}

TEST(SeedsTest, MeanAndErrors) {
  const std::vector<double> v = {0.881, 0.902, 0.893, 0.897, 0.888};
  const SeedSummary s = over_seeds(v);
  EXPECT_EQ(s.n, 5);
  EXPECT_NEAR(s.mean, 0.8922, 1e-15);
  EXPECT_NEAR(s.deviation, 0.008105553651663785, 1e-15);
  EXPECT_NEAR(s.standard_error, 0.0036249137920783747, 1e-15);
  const std::vector<double> one = {0.5};
  EXPECT_EQ(over_seeds(one).standard_error, 0);
  EXPECT_ERROR(over_seeds({}), HasSubstr("found none"));
}

}  // namespace
}  // namespace morphvlm::statistics_test
