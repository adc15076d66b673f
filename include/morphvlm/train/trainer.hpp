// The training loop: accumulation, clipping, schedule, checks, log, checkpoints, several processes.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/offload/shards.hpp"
#include "morphvlm/train/dead.hpp"
#include "morphvlm/train/gradient_sums.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/train/run_state.hpp"
#include "morphvlm/train/schedule.hpp"
#include "morphvlm/train/train_config.hpp"
#include "morphvlm/train/train_files.hpp"

namespace morphvlm {

namespace detail {

// A batch whose loss or gradient was not finite.
struct BadBatch {
  std::int64_t index = 0;
  std::string what = {};
};

// One optimizer step's loss, gradients left in the parameters, or what was wrong.
struct StepGradients {
  double loss = 0;
  double norm = 0;
  std::optional<BadBatch> bad = {};
};

// Called before each batch; leaves by an exception where the run was asked to stop.
using BeforeBatch = std::function<void()>;

// What a process does with the others' help: the batches of a step that are its own are every `every`-th from
// `first` on.
struct BatchShare {
  std::int64_t first = 0, every = 1;
  GradientSums* sums = nullptr;
};

// The loss of one optimizer step, gradients left in the parameters; of a share, its part of both.
template <class Model, class LossOf>
StepGradients accumulate_gradients(const Model& model, const TrainConfig& config, std::int64_t step,
                                   LossOf& loss_of, const BeforeBatch& before_batch = {},
                                   const BatchShare& share = {}) {
  StepGradients out;
  for (auto micro = share.first; micro < config.accumulate; micro += share.every) {
    if (before_batch) before_batch();
    const auto index = step * config.accumulate + micro;
    Tensor loss = loss_of(model, index);
    const double value = loss.template item<double>();
    out.loss += value;
    if (!std::isfinite(value)) {
      if (!out.bad) out.bad = {index, "the loss is " + std::to_string(value)};
      // Processes that hold a model together need each other in every pass.
      if (ShardGroup::current() == nullptr) break;
    }
    if (share.sums != nullptr && micro + share.every >= config.accumulate) share.sums->expect_last();
    backward(loss.div(static_cast<double>(config.accumulate)));
  }
  out.loss /= static_cast<double>(config.accumulate);
  return out;
}

// What all processes make of a step together.
inline void join_gradients(const RunState& state, TrainFiles& files, StepGradients& out,
                           std::int64_t accumulate, GradientSums& sums) {
  // A loss that is no number would hide what the others have; which batch it was is said by the lowest rank.
  const bool bad = out.bad.has_value();
  std::vector<double> numbers{bad ? 0 : out.loss, bad ? 1.0 : 0.0, static_cast<double>(files.pending()),
                              files.pending() != 0 ? 1.0 : 0.0};
  sums.finish(numbers);
  out.loss = numbers[0];
  if (numbers[1] > 0 && !bad)
    out.bad = {std::ssize(state.history) * accumulate, "the loss is not finite in another process"};
  if (numbers[1] > 0) out.loss = std::numeric_limits<double>::quiet_NaN();
  if (numbers[3] > 0) files.set_asked(static_cast<int>(numbers[2] / numbers[3]));
}

// The gradients of a step, clipped, in the parameters.
template <class Model, class LossOf>
StepGradients step_gradients(const Model& model, RunState& state, const TrainConfig& config, LossOf& loss_of,
                             TrainFiles& files, const BatchShare& share) {
  const auto step = std::ssize(state.history);
  state.optimizer.zero_grad();
  StepGradients out = accumulate_gradients(
      model, config, step, loss_of, [&] { files.leave_if_asked(state); }, share);
  if (share.sums != nullptr) join_gradients(state, files, out, config.accumulate, *share.sums);
  if (out.bad) return out;
  out.norm = clip_gradients(state.optimizer, config.clip);
  if (!std::isfinite(out.norm)) {
    out.bad = {(step + 1) * config.accumulate - 1, "the gradient's norm is " + std::to_string(out.norm)};
  } else if (state.moved < kStepsToProveLife) {
    state.life.observe(state.optimizer);
  }
  return out;
}

inline void skip_step(RunState& state, const TrainConfig& config, const TrainLog& log, const BadBatch& bad) {
  if (++state.skipped <= config.skip_at_most) return;
  fail("training: batch ", bad.index, " (step ", std::ssize(state.history), "): ", bad.what,
       state.skipped > 1 ? ", as in the " + std::to_string(state.skipped - 1) + " steps before it" : "",
       log.describe ? "; the batch: " + log.describe(bad.index) : "");
}

// A run that ends on skipped steps has come to nothing since: what it would save is not what it was to learn.
inline void expect_last_step_done(const RunState& state, const TrainConfig& config) {
  if (state.history.empty() || !state.history.back().skipped) return;
  fail("training: the run ends with ", state.skipped, " of ", config.steps,
       " steps skipped in a row, the last with loss ", state.history.back().loss, " and gradient norm ",
       state.history.back().grad_norm, "; train with a lower train.lr, or leave its last batches out");
}

}  // namespace detail

/// Trains what `model` has opened for training. `loss_of(model, index)` returns the mean loss of batch number
/// `index` = 0, 1, ...; the same index must give the same batch, and then runs are repeatable to the last bit
/// on one machine, also when they are interrupted and go on from a checkpoint. Returns all steps, those of
/// earlier processes included. Errors: a number out of its range (field_notes), nothing to train, too
/// many steps in a row whose loss or gradient is not finite, or such steps at the end, parameters that get no
/// gradient, checkpoints of another run; Interrupted (TrainCheckpoints). Several processes (each calls this
/// with the same arguments) share the batches of a step among them and add up their gradients: the losses are
/// those of one process but for rounding, whatever their number. Rank 0 alone writes files. Error: fewer
/// batches a step than processes, a process that is lost.
template <class Model, class LossOf>
std::vector<TrainStep> train(Model& model, const TrainConfig& config, LossOf&& loss_of,
                             const TrainLog& log = {}, const TrainCheckpoints& checkpoints = {},
                             Communicator* processes = nullptr) {
  expect_ranges(config, "train");
  if (!checkpoints.folder.empty()) expect_ranges(checkpoints.keep, "checkpoints.keep");
  if (processes != nullptr) {
    expect(config.accumulate >= processes->size(), "training: ", processes->size(),
           " processes share the batches of a step, of which there are ", config.accumulate,
           " (train.accumulate)");
    expect(ShardGroup::current() == nullptr || config.accumulate % processes->size() == 0,
           "training: ", processes->size(),
           " processes hold the frozen base together, so each needs as many of the ", config.accumulate,
           " batches of a step (train.accumulate)");
    expect(checkpoints.generators.empty(),
           "training: batches of several processes cannot draw from generators");
  }
  RunState state{.optimizer = AdamW::over(model,
                                          {config.lr, config.beta1, config.beta2, config.eps,
                                           config.weight_decay, config.lora_plus_ratio},
                                          config.rules)};
  expect(!state.optimizer.groups.empty(), "training: no parameter of the model is trainable");
  state.life = GradientWatch::over(state.optimizer, config.allow_dead);
  detail::TrainFiles files(state, config, log, checkpoints, processes);
  std::optional<GradientSums> sums;
  detail::BatchShare share;
  if (processes != nullptr)
    share = {processes->rank(), processes->size(), &sums.emplace(state.optimizer, *processes)};
  for (auto step = std::ssize(state.history); step < config.steps; ++step) {
    const auto [loss, norm, bad] = files.kept_if_it_fails(
        state, [&] { return detail::step_gradients(model, state, config, loss_of, files, share); });
    const double lr = config.lr * rate_factor(config.schedule, step, config.steps);
    if (bad) {
      detail::skip_step(state, config, log, *bad);
    } else {
      state.skipped = 0;
      // A warm-up's first step is at rate 0: nothing moves, so nothing behind a zero can come to life.
      if (lr > 0 && ++state.moved == kStepsToProveLife) state.life.expect_none(model);
      state.optimizer.step(lr);
    }
    state.history.push_back({step, loss, lr, norm, files.seconds(), bad.has_value()});
    files.step_done(state, step + 1 == config.steps);
  }
  state.optimizer.zero_grad();
  detail::expect_last_step_done(state, config);
  return state.history;
}

}  // namespace morphvlm
