// How sure a measured number is: intervals for proportions and paired differences, counts of paired answers,
// means over seeds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ranges>
#include <span>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/rng.hpp"

namespace morphvlm {

/// A range that holds the true value with some confidence.
struct Interval {
  double low = 0;   ///< its lower end
  double high = 0;  ///< its upper end
};

/// The 97.5 % point of the normal distribution: two-sided 95 %.
inline constexpr double kZ95 = 1.959963984540054;

/// Wilson's score interval for a proportion of which `successes` of `n` were seen (Wilson 1927); unlike p +-
/// z SE it stays inside [0, 1] and is right near the ends.
inline Interval wilson(std::int64_t successes, std::int64_t n, double z = kZ95) {
  expect(n > 0 && successes >= 0 && successes <= n, "wilson: expected 0 <= successes <= n and n > 0, found ",
         successes, " of ", n);
  const auto count = static_cast<double>(n);
  const double p = static_cast<double>(successes) / count, zz = z * z / count;
  const double middle = p + zz / 2;
  const double half = z * std::sqrt(p * (1 - p) / count + zz / (4 * count));
  // At 0 and n the bound is exact, and rounding must not make it miss.
  return {successes == 0 ? 0.0 : (middle - half) / (1 + zz),
          successes == n ? 1.0 : (middle + half) / (1 + zz)};
}

/// Quantile of sorted values with linear interpolation between neighbours (type 7 of Hyndman and Fan 1996,
/// the default of R and NumPy).
inline double quantile(std::span<const double> sorted, double q) {
  expect(!sorted.empty() && q >= 0 && q <= 1, "quantile: expected values and 0 <= q <= 1, found ",
         sorted.size(), " values, q ", q);
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

/// Bootstrap with its interval's confidence and its own randomness: the same settings give the same interval.
struct Bootstrap {
  std::int64_t resamples = 10000;  ///< how many samples are drawn
  double confidence = 0.95;        ///< that the interval holds the true value
  std::uint64_t seed = 0;          ///< of the samples
};

/// Percentile bootstrap interval for the mean of `values` (Efron 1979), resampled with replacement.
inline Interval bootstrap_mean(std::span<const double> values, const Bootstrap& how = {}) {
  expect(!values.empty(), "bootstrap: expected values, found none");
  expect(how.resamples > 0 && how.confidence > 0 && how.confidence < 1,
         "bootstrap: expected resamples > 0 and 0 < confidence < 1, found ", how.resamples, " and ",
         how.confidence);
  for (const double v : values) expect(std::isfinite(v), "bootstrap: expected finite values, found ", v);
  CounterRng rng{how.seed};
  std::vector<double> means(static_cast<std::size_t>(how.resamples));
  for (double& mean : means) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[rng.below(values.size())];
    mean = sum / static_cast<double>(values.size());
  }
  std::ranges::sort(means);
  const double tail = (1 - how.confidence) / 2;
  return {quantile(means, tail), quantile(means, 1 - tail)};
}

/// Bootstrap interval for mean(b) - mean(a) where a[i] and b[i] score the same question: questions are
/// resampled, so that what makes one hard for both does not widen the interval.
inline Interval paired_bootstrap(std::span<const double> a, std::span<const double> b,
                                 const Bootstrap& how = {}) {
  expect(a.size() == b.size(), "paired_bootstrap: expected as many scores of both, found ", a.size(), " and ",
         b.size());
  std::vector<double> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = b[i] - a[i];
  return bootstrap_mean(difference, how);
}

/// The same questions answered by A and by B.
struct PairedCounts {
  std::int64_t both = 0;     ///< both right
  std::int64_t only_a = 0;   ///< A right, B wrong
  std::int64_t only_b = 0;   ///< B right, A wrong
  std::int64_t neither = 0;  ///< both wrong

  /// All questions.
  std::int64_t total() const { return both + only_a + only_b + neither; }
  /// Share right of B minus that of A.
  double difference() const { return static_cast<double>(only_b - only_a) / static_cast<double>(total()); }
};

/// Counts pairs; `a` and `b` are ranges of what is true where the answer is right, question by question.
template <std::ranges::input_range A, std::ranges::input_range B>
PairedCounts paired_counts(const A& a, const B& b) {
  PairedCounts counts;
  auto x = std::ranges::begin(a);
  auto y = std::ranges::begin(b);
  for (; x != std::ranges::end(a) && y != std::ranges::end(b); ++x, ++y) {
    const bool right_a = static_cast<bool>(*x), right_b = static_cast<bool>(*y);
    ++(right_a ? (right_b ? counts.both : counts.only_a) : (right_b ? counts.only_b : counts.neither));
  }
  expect(x == std::ranges::end(a) && y == std::ranges::end(b),
         "paired_counts: one of the two has more answers than the other's ", counts.total());
  return counts;
}

/// McNemar's exact test, two-sided: how likely pairs at least as uneven are if A and B are equally good. 1
/// where no question tells them apart.
inline double mcnemar_p(const PairedCounts& counts) {
  const std::int64_t n = counts.only_a + counts.only_b, k = std::min(counts.only_a, counts.only_b);
  double tail = 0;
  for (std::int64_t i = 0; i <= k; ++i) {
    const auto x = static_cast<double>(i), m = static_cast<double>(n);
    tail += std::exp(std::lgamma(m + 1) - std::lgamma(x + 1) - std::lgamma(m - x + 1) - m * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

/// Mean of one number over runs that differ in their seed alone.
struct SeedSummary {
  std::int64_t n = 0;         ///< runs
  double mean = 0;            ///< over the runs
  double deviation = 0;       ///< sample standard deviation (n - 1); 0 for a single run
  double standard_error = 0;  ///< of the mean; 0 for a single run, which says nothing about it
};

/// Summary of one value a seed.
inline SeedSummary over_seeds(std::span<const double> values) {
  expect(!values.empty(), "over_seeds: expected values, found none");
  SeedSummary s{.n = std::ssize(values)};
  const auto n = static_cast<double>(s.n);
  for (const double v : values) s.mean += v / n;
  double squares = 0;
  for (const double v : values) squares += (v - s.mean) * (v - s.mean);
  if (s.n > 1) s.deviation = std::sqrt(squares / (n - 1));
  s.standard_error = s.deviation / std::sqrt(n);
  return s;
}

}  // namespace morphvlm
