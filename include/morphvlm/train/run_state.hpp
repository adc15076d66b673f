// All that decides a training run's next step, and how it gets into a checkpoint and back.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/io/run_checkpoint.hpp"
#include "morphvlm/train/dead.hpp"
#include "morphvlm/train/optim.hpp"

namespace morphvlm {

/// One optimizer step as it is logged.
struct TrainStep {
  std::int64_t step = 0;  ///< from 0
  double loss = 0;        ///< mean over the step's batches
  double lr = 0;          ///< rate of this step, before ParameterRule::lr_scale
  double grad_norm = 0;   ///< of all gradients together, before clipping
  double seconds = 0;     ///< of training up to here, in this and earlier processes
  bool skipped = false;   ///< the loss or the gradient was not finite, and nothing was changed
};

/// A training run between two steps.
struct RunState {
  AdamW optimizer = {};                        ///< with handles of the trained parameters
  GradientWatch life = {};                     ///< trained tensors that have had no gradient yet
  std::int64_t moved = 0;                      ///< steps at a rate above 0
  std::int64_t skipped = 0;                    ///< the last so many steps were skipped
  std::vector<TrainStep> history = {};         ///< all steps, those of earlier processes included
  std::vector<at::Generator> generators = {};  ///< of the caller
  std::vector<Tensor> drawn = {};              ///< their states after the last whole step

  /// To be called between steps: batches of a step that is not finished draw too.
  void note_generators() {
    drawn.clear();
    for (const auto& g : generators) drawn.push_back(g.get_state());
  }
};

namespace detail {

inline constexpr std::int64_t kHistoryColumns = 6;

inline Tensor history_tensor(const std::vector<TrainStep>& history) {
  Tensor t = at::empty({std::ssize(history), kHistoryColumns}, at::kDouble);
  auto* out = t.mutable_data_ptr<double>();
  for (const auto& s : history) {
    for (const double value :
         {static_cast<double>(s.step), s.loss, s.lr, s.grad_norm, s.seconds, s.skipped ? 1.0 : 0.0})
      *out++ = value;
  }
  return t;
}

inline std::vector<TrainStep> history_of(const Tensor& t) {
  expect(t.dim() == 2 && t.size(1) == kHistoryColumns && t.scalar_type() == at::kDouble,
         "history: expected float64 [steps, ", kHistoryColumns, "]");
  std::vector<TrainStep> history;
  const Tensor rows = t.contiguous();
  const auto* row = rows.const_data_ptr<double>();
  for (std::int64_t i = 0; i < t.size(0); ++i, row += kHistoryColumns) {
    // Steps are counted from 0, so nothing has to be made of another number.
    expect(row[0] == static_cast<double>(i), "history: row ", i, ": expected step ", i, ", found ", row[0]);
    history.push_back({i, row[1], row[2], row[3], row[4], row[5] != 0});
  }
  return history;
}

// Calls f(key, tensor) for all tensors of the state but the history and the generators.
template <class F>
void visit_optimizer(AdamW& optimizer, F&& f) {
  for (auto& g : optimizer.groups) {
    for (std::size_t i = 0; i < g.names.size(); ++i) {
      f("parameter." + g.names[i], g.parameters[i]);
      f("exp_avg." + g.names[i], g.exp_avg[i]);
      f("exp_avg_sq." + g.names[i], g.exp_avg_sq[i]);
      f("step." + g.names[i], g.steps[i]);
    }
  }
}

inline std::string generator_key(std::size_t i) { return "generator." + std::to_string(i); }

inline void set_generator(at::Generator& generator, const Tensor& state, const std::string& where) {
  try {
    generator.set_state(state);
  } catch (const c10::Error&) {
    fail(where, ": expected a state of ", describe(generator.get_state()), ", found ", describe(state),
         " that is none");
  }
}

// "\n  /train/steps: 24 there, 30 here" for every value that two configs do not share.
inline std::string config_differences(const Json& there, const Json& here) {
  const Json a = there.flatten(), b = here.flatten();
  const auto text = [](const Json& flat, const std::string& key) {
    return flat.contains(key) ? flat.at(key).dump() : std::string("nothing");
  };
  std::set<std::string> keys;
  for (const auto* flat : {&a, &b})
    for (const auto& [key, value] : flat->items()) keys.insert(key);
  std::string out;
  for (const auto& key : keys) {
    const std::string left = text(a, key), right = text(b, key);
    if (left != right) out += "\n  " + key + ": " + left + " there, " + right + " here";
  }
  return out;
}

}  // namespace detail

/// The state as a checkpoint. `config` is what the run was started with: a run of another one cannot go on
/// from here. Tensors are handles, so the checkpoint is to be written before the next step.
inline RunCheckpoint capture(RunState& s, const Json& config, double score) {
  RunCheckpoint c{.step = std::ssize(s.history)};
  c.score = std::isfinite(score) ? score : std::numeric_limits<double>::max();
  c.state = {{"config", config}, {"moved", s.moved}, {"skipped", s.skipped}, {"silent", s.life.silent}};
  detail::visit_optimizer(
      s.optimizer, [&](const std::string& key, const Tensor& t) { c.tensors.emplace_back(key, t.detach()); });
  c.tensors.emplace_back("history", detail::history_tensor(s.history));
  for (std::size_t i = 0; i < s.drawn.size(); ++i)
    c.tensors.emplace_back(detail::generator_key(i), s.drawn[i]);
  return c;
}

/// Puts a checkpoint back into the state of a run that has just been set up. Errors: another config, other
/// trained parameters.
inline void restore(RunState& s, const RunCheckpoint& c, const Json& config, const std::string& where) {
  const auto stored = json_get<Json>(c.state, "config", where);
  expect(stored == config, where,
         ": the checkpoint is of a run with another config:", detail::config_differences(stored, config));
  std::unordered_map<std::string, Tensor> tensors(c.tensors.begin(), c.tensors.end());
  const auto take = [&](const std::string& key) {
    const auto it = tensors.find(key);
    expect(it != tensors.end(), where, ": the checkpoint has no ", key);
    Tensor t = it->second;
    tensors.erase(it);
    return t;
  };
  at::NoGradGuard no_grad;
  detail::visit_optimizer(s.optimizer, [&](const std::string& key, Tensor& t) {
    const Tensor from = take(key);
    expect(from.sizes() == t.sizes() && from.scalar_type() == t.scalar_type(), where, ": ", key,
           ": expected ", describe(t), ", found ", describe(from));
    t.copy_(from);
  });
  s.history = detail::history_of(take("history"));
  for (std::size_t i = 0; i < s.generators.size(); ++i)
    detail::set_generator(s.generators[i], take(detail::generator_key(i)),
                          where + ": " + detail::generator_key(i));
  expect(tensors.empty(), where, ": the checkpoint has ", tensors.empty() ? "" : tensors.begin()->first,
         ", which this run does not train");
  s.moved = json_get<std::int64_t>(c.state, "moved", where);
  s.skipped = json_get<std::int64_t>(c.state, "skipped", where);
  s.life.silent = json_get<std::vector<std::string>>(c.state, "silent", where);
}

}  // namespace morphvlm
