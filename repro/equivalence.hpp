// Are two ways the same? Judged by an interval over seeds against a margin that is stated beforehand.
#pragma once

#include <boost/math/distributions/students_t.hpp>
#include <span>
#include <string>
#include <utility>
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

/// a - b, seed by seed; another number of seeds is an Error that begins with `where`.
inline std::vector<double> minus(std::span<const double> a, std::span<const double> b,
                                 const std::string& where) {
  expect(a.size() == b.size(), where, ": ", a.size(), " seeds of one side and ", b.size(), " of the other");
  std::vector<double> out;
  for (std::size_t i = 0; i < a.size(); ++i) out.push_back(a[i] - b[i]);
  return out;
}

/// "1.23 ± 0.04": mean and standard error; the mean alone for a single seed.
inline std::string mean_text(std::span<const double> values, int digits) {
  const auto s = over_seeds(values);
  return fixed(s.mean, digits) + (s.n > 1 ? " ± " + fixed(s.standard_error, digits) : "");
}

/// "A is below B": differences A - B, one a seed, and what their 95 % interval says. `reproduced` where it
/// lies below 0, `contradicted` where above, else (and with too few seeds) not decidable.
struct Statement {
  std::string text = {};
  std::int64_t seeds = 0;
  double mean = 0;
  Interval interval = {};
  Verdict verdict = Verdict::not_decidable;
};

/// Judges that the differences are negative.
inline Statement judge_below(std::string text, std::span<const double> differences) {
  Statement out{.text = std::move(text), .seeds = std::ssize(differences)};
  out.mean = over_seeds(differences).mean;
  if (out.seeds < 2) return out;
  out.interval = seed_interval(differences, 0.95);
  if (out.seeds < kSeedsToDecide) return out;
  if (out.interval.high < 0) out.verdict = Verdict::reproduced;
  if (out.interval.low > 0) out.verdict = Verdict::contradicted;
  return out;
}

/// All of them hold; one that is contradicted contradicts all.
inline Verdict verdict_of_all(std::span<const Statement> statements) {
  Verdict out = Verdict::reproduced;
  for (const auto& s : statements) {
    if (s.verdict == Verdict::contradicted) return Verdict::contradicted;
    if (s.verdict != Verdict::reproduced) out = Verdict::not_decidable;
  }
  return statements.empty() ? Verdict::not_decidable : out;
}

/// "-0.031 (95 % interval -0.052 to -0.010)", or that there are too few seeds for one.
inline std::string difference_text(const Statement& s, int digits) {
  const std::string mean = (s.mean > 0 ? "+" : "") + fixed(s.mean, digits);
  if (s.seeds < kSeedsToDecide) return mean + " (too few seeds to decide)";
  return mean + " (95 % interval " + fixed(s.interval.low, digits) + " to " + fixed(s.interval.high, digits) +
         ")";
}

/// The statements as a table.
inline Table statements_table(std::string title, std::span<const Statement> statements, int digits) {
  Table table{.title = std::move(title),
              .columns = {"statement", "difference", "verdict"},
              .align = {Align::left, Align::left, Align::left}};
  for (const auto& s : statements)
    table.rows.push_back({s.text, difference_text(s, digits), std::string(to_string(s.verdict))});
  return table;
}

}  // namespace morphvlm::repro
