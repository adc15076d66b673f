// Are two ways the same? Judged by an interval over seeds against a margin that is stated beforehand.
#pragma once

#include <boost/math/distributions/students_t.hpp>
#include <span>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/report/statistics.hpp"
#include "repro/claims.hpp"

namespace morphvlm::repro {

/// Fewer seeds than this decide nothing.
inline constexpr std::int64_t kSeedsToDecide = 3;

/// Student's interval for the mean of `values`, one a seed. Needs at least two.
inline Interval seed_interval(std::span<const double> values, double confidence) {
  const SeedSummary s = over_seeds(values);
  expect(s.n > 1, "seed_interval: expected two seeds or more, found ", s.n);
  const boost::math::students_t distribution(static_cast<double>(s.n - 1));
  const double t = boost::math::quantile(distribution, 0.5 + confidence / 2);
  return {s.mean - t * s.standard_error, s.mean + t * s.standard_error};
}

/// A difference judged for equivalence: two one-sided tests at 5 % each, that is, whether the 90 % interval
/// lies within the margin (Schuirmann 1987).
struct Equivalence {
  Interval interval = {};
  double margin = 0;
  Verdict verdict = Verdict::not_decidable;
};

/// "Unaffected": `reproduced` where the interval lies within +-margin, `contradicted` where it lies outside
/// altogether, else (and with too few seeds) not decidable. `differences`: one a seed.
inline Equivalence judge_equivalence(std::span<const double> differences, double margin) {
  Equivalence out{.margin = margin};
  if (std::ssize(differences) < 2) return out;
  out.interval = seed_interval(differences, 0.9);
  if (std::ssize(differences) < kSeedsToDecide) return out;
  if (out.interval.low > -margin && out.interval.high < margin) out.verdict = Verdict::reproduced;
  if (out.interval.low > margin || out.interval.high < -margin) out.verdict = Verdict::contradicted;
  return out;
}

}  // namespace morphvlm::repro
