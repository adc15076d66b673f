// A row of the paper is one declaration: what it claims, what was measured, which checks our numbers passed,
// and whether the claim holds. Passing checks and holding claims are two things, kept apart.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/format.hpp"
#include "morphvlm/report.hpp"

namespace morphvlm::repro {

/// What became of a check. A check that cannot run is skipped with its reason, never passed.
enum class Outcome { passed, failed, skipped };

/// Whether the paper's claim holds, here.
enum class Verdict { reproduced, not_reproduced, contradicted, not_decidable };

/// One comparison of a number with what it is expected to be.
struct Check {
  std::string what = {};
  Outcome outcome = Outcome::failed;
  std::string detail = {};
  bool learned = false;  ///< about what training achieved: a run of a few steps cannot pass it
};

/// A row of the paper as it came out.
struct Row {
  std::string id = {};
  std::string claim = {};
  std::vector<Check> checks = {};
  Verdict verdict = Verdict::not_decidable;
  std::string evidence = {};
};

/// "passed", "failed" or "skipped".
inline std::string_view to_string(Outcome o) {
  return std::array<std::string_view, 3>{"passed", "failed", "skipped"}.at(static_cast<std::size_t>(o));
}

/// The verdict in words.
inline std::string_view to_string(Verdict v) {
  return std::array<std::string_view, 4>{"reproduced", "not reproduced", "contradicted", "not decidable here"}
      .at(static_cast<std::size_t>(v));
}

namespace detail {
inline Check judge(std::string what, bool passed, std::string detail) {
  return {std::move(what), passed ? Outcome::passed : Outcome::failed, std::move(detail)};
}
inline Check of_learning(Check check) {
  check.learned = true;
  return check;
}
}  // namespace detail

/// For counts and bytes.
inline Check exactly(std::string what, std::int64_t measured, std::int64_t expected) {
  return detail::judge(std::move(what), measured == expected,
                       "expected " + with_commas(expected) + ", measured " + with_commas(measured));
}

/// For deviations: no more than `limit`. A NaN fails.
inline Check at_most(std::string what, double measured, double limit) {
  std::ostringstream text;
  text.precision(3);
  text << "at most " << limit << ", measured " << measured;
  return detail::judge(std::move(what), measured <= limit, text.str());
}

/// For accuracies: within `tolerance` of `expected`, on either side. A NaN fails.
inline Check near(std::string what, double measured, double expected, double tolerance) {
  return detail::of_learning(detail::judge(std::move(what), std::abs(measured - expected) <= tolerance,
                                           "expected " + percent(expected) + " ± " + percent(tolerance) +
                                               " %, measured " + percent(measured) + " %"));
}

/// B is better than A on the same questions: more right answers, and McNemar's two-sided test says that this
/// is no accident.
inline Check ordered(std::string what, const PairedCounts& counts, double alpha = 0.05) {
  const double p = mcnemar_p(counts);
  return detail::of_learning(
      detail::judge(std::move(what), counts.difference() > 0 && p < alpha,
                    "difference " + percent(counts.difference()) + " points, p = " + fixed(p, 4)));
}

/// A check that could not be made.
inline Check skipped(std::string what, std::string reason) {
  return {std::move(what), Outcome::skipped, std::move(reason)};
}

/// Verdict on "B is better than A" from a paired interval for the difference: holds, the opposite holds, or
/// neither.
inline Verdict verdict_of_gain(const Interval& gain) {
  if (gain.low > 0) return Verdict::reproduced;
  if (gain.high < 0) return Verdict::contradicted;
  return Verdict::not_decidable;
}

/// What a run in which all checks were skipped ends with: a failure, which tests may tell from others.
inline constexpr int kNothingChecked = 77;

/// 0 when something was checked and nothing failed; kNothingChecked when all that there was to check was
/// skipped; 1 otherwise.
inline int exit_code(const std::vector<Row>& rows) {
  std::int64_t passed = 0, failed = 0, skipped = 0;
  for (const auto& row : rows) {
    for (const auto& check : row.checks) {
      passed += check.outcome == Outcome::passed;
      failed += check.outcome == Outcome::failed;
      skipped += check.outcome == Outcome::skipped;
    }
  }
  if (failed > 0) return 1;
  if (passed > 0) return 0;
  return skipped > 0 ? kNothingChecked : 1;
}

}  // namespace morphvlm::repro
