// What to change so that a training step fits a memory, cheapest first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "morphvlm/plan/plan.hpp"

namespace morphvlm {

/// The plan of a setup and a batch; `plan<Model>` with its config bound.
using PlanOf = std::function<Plan(const PlanSetup&, const StepShape&)>;

/// A way to train the same rows.
struct Fit {
  PlanSetup setup = {};  ///< as asked for but for dtype and recomputation
  StepShape work = {};   ///< as asked for, but the batch may be smaller
  std::int64_t accumulate =
      1;                    ///< batches to an optimizer step, so that it sees as many rows as were asked for
  Plan plan = {};           ///< of one batch
  std::string change = {};  ///< against what was asked for; empty: none
  double cost = 1;          ///< operations a row, relative to what was asked for
};

namespace detail {

// With as few layers recomputed as fit the budget; all of them if none is enough.
inline Fit least_recomputed(const PlanOf& plan_of, Fit fit, std::int64_t layers, std::int64_t budget) {
  const auto with = [&](std::int64_t n) {
    fit.setup.recompute.every = n > 0 ? 1 : 0;
    fit.setup.recompute.layers = n;
    fit.plan = plan_of(fit.setup, fit.work);
    return fit.plan.peak_bytes <= budget;
  };
  if (with(0)) return fit;
  std::int64_t too_few = 0, enough = layers;
  if (!with(layers)) return fit;
  while (enough - too_few > 1) {
    const auto middle = (too_few + enough) / 2;
    (with(middle) ? enough : too_few) = middle;
  }
  with(enough);
  return fit;
}

inline std::string describe_change(const Fit& fit, const PlanSetup& asked) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (fit.setup.dtype != asked.dtype) add("bf16 for what is frozen");
  if (fit.accumulate > 1)
    add("batches of " + std::to_string(fit.work.batch) + ", " + std::to_string(fit.accumulate) +
        " to a step");
  const auto& again = fit.setup.recompute;
  const auto whole = "activations of " + std::to_string(again.layers) + " layers";
  if (again.feed_forward)
    add((again.every > 0 ? whole + " and" : std::string("activations")) + " of feed-forwards recomputed");
  else if (again.every > 0)
    add(whole + " recomputed");
  return text;
}

// The cheaper of recomputing layers whole, and all feed-forwards with as few whole layers as it then takes.
inline Fit least_again(const PlanOf& plan_of, const Fit& fit, std::int64_t layers, std::int64_t budget) {
  Fit whole = least_recomputed(plan_of, fit, layers, budget);
  if (whole.setup.recompute.every == 0 || fit.setup.recompute.feed_forward) return whole;
  Fit in_parts = fit;
  in_parts.setup.recompute.feed_forward = true;
  in_parts = least_recomputed(plan_of, in_parts, layers, budget);
  if (in_parts.plan.peak_bytes > budget) return whole;
  return whole.plan.peak_bytes > budget || in_parts.plan.flops() < whole.plan.flops() ? in_parts : whole;
}

}  // namespace detail

/// Ways to train the asked-for rows in `budget` bytes, by their operations a row and then by how little they
/// change: smaller batches accumulated, activations recomputed in as many of the `layers` as it takes or in
/// all feed-forwards, 16-bit frozen weights. The first is the asked-for step itself where it fits. Empty
/// where nothing of this is enough.
inline std::vector<Fit> ways_to_fit(const PlanOf& plan_of, const PlanSetup& asked, const StepShape& work,
                                    std::int64_t layers, std::int64_t budget) {
  const Plan as_asked = plan_of(asked, work);
  if (as_asked.peak_bytes <= budget) return {{.setup = asked, .work = work, .plan = as_asked}};
  const double row = as_asked.flops() / static_cast<double>(work.batch);
  std::vector<at::ScalarType> dtypes{asked.dtype};
  if (asked.dtype == at::kFloat) dtypes.push_back(at::kBFloat16);
  std::vector<Fit> out;
  for (const auto dtype : dtypes) {
    for (auto batch = work.batch; batch > 0; batch /= 2) {
      if (work.batch % batch != 0) continue;
      Fit fit{.setup = asked, .work = work, .accumulate = work.batch / batch};
      fit.setup.dtype = dtype;
      fit.work.batch = batch;
      fit = detail::least_again(plan_of, fit, layers, budget);
      if (fit.plan.peak_bytes > budget) continue;
      fit.change = detail::describe_change(fit, asked);
      fit.cost = fit.plan.flops() / static_cast<double>(batch) / row;
      out.push_back(fit);
      if (fit.setup.recompute.every == 0 && fit.setup.recompute.feed_forward == asked.recompute.feed_forward)
        break;  // still smaller batches cannot be cheaper
    }
  }
  std::ranges::stable_sort(out, {}, &Fit::cost);
  return out;
}

}  // namespace morphvlm
