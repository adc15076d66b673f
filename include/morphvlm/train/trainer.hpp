// The training loop: accumulation, clipping, schedule, checks, log, checkpoints.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json_lines.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/core/stop_signals.hpp"
#include "morphvlm/io/event_file.hpp"
#include "morphvlm/io/run_checkpoint.hpp"
#include "morphvlm/train/dead.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/train/run_state.hpp"
#include "morphvlm/train/schedule.hpp"

namespace morphvlm {

/// How to train.
struct TrainConfig {
  std::int64_t steps = 600;     ///< optimizer steps
  std::int64_t accumulate = 1;  ///< batches a step
  double lr = 1e-4;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double clip = 1.0;  ///< largest norm of all gradients together; 0: no limit
  Schedule schedule = Constant{};
  std::vector<ParameterRule> rules = {};     ///< other rates and decays for some parameters
  std::vector<std::string> allow_dead = {};  ///< patterns of parameters that may have no gradient
  /// So many steps in a row may be skipped because their loss or gradient is not finite; one more ends the
  /// run.
  std::int64_t skip_at_most = 2;
};

/// What training tells its caller besides the changed parameters.
struct TrainLog {
  std::filesystem::path file = {};  ///< JSON lines, one a step; empty: none
  std::string title = "training";   ///< of the progress bar; empty: none
  /// For TensorBoard: loss, rate and gradient norm a step, the norms of the trained tensors now and then;
  /// empty: none.
  std::filesystem::path events = {};
  /// What batch `index` holds, for messages about it; empty: its number is all that is said.
  std::function<std::string(std::int64_t index)> describe = {};
};

/// Where a run keeps what decides its next step, so that it can be killed at any time and go on. While it is
/// set, SIGTERM and SIGINT make a checkpoint and raise Interrupted; a second one ends the process at once.
struct TrainCheckpoints {
  std::filesystem::path folder = {};  ///< empty: none are kept
  std::int64_t every = 100;           ///< steps from one to the next
  KeepCheckpoints keep = {};
  bool resume = false;  ///< go on from the newest whole one, or begin where there is none
  /// How good the model is now, the lower the better; empty: the mean loss since the last checkpoint.
  std::function<double()> score = {};
  std::vector<at::Generator> generators = {};  ///< that batches draw from, if they do: kept and put back
  Json identity = {};  ///< what decides the batches; a run with another one does not go on from here
};

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

// The loss of one optimizer step, gradients left in the parameters.
template <class Model, class LossOf>
StepGradients accumulate_gradients(const Model& model, const TrainConfig& config, std::int64_t step,
                                   LossOf& loss_of, const BeforeBatch& before_batch = {}) {
  StepGradients out;
  for (std::int64_t micro = 0; micro < config.accumulate; ++micro) {
    if (before_batch) before_batch();
    const auto index = step * config.accumulate + micro;
    Tensor loss = loss_of(model, index);
    const double value = loss.template item<double>();
    out.loss += value;
    if (!std::isfinite(value)) {
      out.bad = {index, "the loss is " + std::to_string(value)};
      return out;
    }
    backward(loss.div(static_cast<double>(config.accumulate)));
  }
  out.loss /= static_cast<double>(config.accumulate);
  return out;
}

// A run's files: its log, its checkpoints, its progress.
class TrainFiles {
 public:
  TrainFiles(RunState& state, const TrainConfig& config, const TrainLog& log, const TrainCheckpoints& c)
      : checkpoints_(c),
        config_{{"train", to_json(config)}, {"identity", c.identity}},
        progress_(log.title, config.steps) {
    if (!c.folder.empty()) {
      expect(c.every > 0, "checkpoints: every: expected 1 or more, found ", c.every);
      state.generators = c.generators;
      lock_.emplace(c.folder);
      begin(state);
      signals_.emplace();
    }
    state.note_generators();
    lines_.emplace(log.file, std::ssize(state.history));
    events_ = EventFile(log.events, std::ssize(state.history));
    progress_.begin_at(std::ssize(state.history));
    saved_ = std::ssize(state.history);
    earlier_ = state.history.empty() ? 0 : state.history.back().seconds;
  }

  /// Seconds of training so far, in this process and those before it.
  double seconds() const {
    return earlier_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  /// Notes a step; a checkpoint follows when it is due.
  void step_done(RunState& state, bool last) {
    const TrainStep& step = state.history.back();
    lines_->write(step);
    write_events(state, last);
    progress_.advance(1, "loss " + std::to_string(step.loss).substr(0, 6));
    state.note_generators();
    const auto done = std::ssize(state.history);
    if (!checkpoints_.folder.empty() && (last || done % checkpoints_.every == 0)) save(state);
  }

  /// Leaves, with a checkpoint of the last whole step, if a signal has asked for it.
  void leave_if_asked(RunState& state) {
    if (!signals_ || signals_->pending() == 0) return;
    if (saved_ != std::ssize(state.history)) save(state);
    throw Interrupted(signals_->pending(),
                      "training: stopped by signal " + std::to_string(signals_->pending()) + " after step " +
                          std::to_string(std::ssize(state.history)) + "; the checkpoint in " +
                          checkpoints_.folder.string() + " goes on from there");
  }

 private:
  void begin(RunState& state) {
    const FoundCheckpoint found = find_checkpoint(checkpoints_.folder);
    if (!found.newest) return;
    expect(checkpoints_.resume, checkpoints_.folder.string(),
           ": holds checkpoints of a run, the newest after step ", found.newest->step,
           "; go on from it (resume) or choose another folder");
    for (const auto& d : found.damaged) progress_.note("passed over: " + d.reason);
    restore(state, *found.newest, config_, checkpoints_.folder.string());
    set_damaged_aside(checkpoints_.folder, found);
  }

  void write_events(const RunState& state, bool last) {
    const TrainStep& step = state.history.back();
    events_.scalar("train/loss", step.loss, step.step);
    events_.scalar("train/lr", step.lr, step.step);
    events_.scalar("train/grad_norm", step.grad_norm, step.step);
    constexpr std::int64_t kNormsEvery = 50;
    if (events_.path().empty() || (step.step % kNormsEvery != 0 && !last)) return;
    std::vector<double> norms;
    for (const auto& g : state.optimizer.groups)
      for (const auto& p : g.parameters) norms.push_back(p.detach().norm().item<double>());
    events_.histogram("trained/norms", norms, step.step);
  }

  void save(RunState& state) {
    const double reached = score(state);
    save_checkpoint(checkpoints_.folder, capture(state, config_, reached));
    if (checkpoints_.score) events_.scalar("validation/score", reached, std::ssize(state.history) - 1);
    saved_ = std::ssize(state.history);
    prune_checkpoints(checkpoints_.folder, checkpoints_.keep);
  }

  double score(const RunState& state) const {
    if (checkpoints_.score) return checkpoints_.score();
    double sum = 0;
    std::int64_t count = 0;
    for (auto i = static_cast<std::size_t>(saved_); i < state.history.size(); ++i) {
      if (state.history[i].skipped) continue;
      sum += state.history[i].loss;
      ++count;
    }
    return count == 0 ? std::numeric_limits<double>::infinity() : sum / static_cast<double>(count);
  }

  const TrainCheckpoints& checkpoints_;
  Json config_;
  Progress progress_;
  std::optional<CheckpointLock> lock_ = {};
  std::optional<StopSignals> signals_ = {};
  std::optional<JsonLines> lines_ = {};
  EventFile events_ = {};
  std::int64_t saved_ = 0;
  double earlier_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The gradients of a step, clipped, in the parameters.
template <class Model, class LossOf>
StepGradients step_gradients(const Model& model, RunState& state, const TrainConfig& config, LossOf& loss_of,
                             const BeforeBatch& before_batch) {
  const auto step = std::ssize(state.history);
  state.optimizer.zero_grad();
  StepGradients out = accumulate_gradients(model, config, step, loss_of, before_batch);
  if (out.bad) return out;
  if (state.moved < kStepsToProveLife) state.life.observe(state.optimizer);
  out.norm = clip_gradients(state.optimizer, config.clip);
  if (!std::isfinite(out.norm))
    out.bad = {(step + 1) * config.accumulate - 1, "the gradient's norm is " + std::to_string(out.norm)};
  return out;
}

inline void skip_step(RunState& state, const TrainConfig& config, const TrainLog& log, const BadBatch& bad) {
  if (++state.skipped <= config.skip_at_most) return;
  fail("training: batch ", bad.index, " (step ", std::ssize(state.history), "): ", bad.what,
       state.skipped > 1 ? ", as in the " + std::to_string(state.skipped - 1) + " steps before it" : "",
       log.describe ? "; the batch: " + log.describe(bad.index) : "");
}

}  // namespace detail

/// Trains what `model` has opened for training. `loss_of(model, index)` returns the mean loss of batch number
/// `index` = 0, 1, ...; the same index must give the same batch, and then runs are repeatable to the last bit
/// on one machine, also when they are interrupted and go on from a checkpoint. Returns all steps, those of
/// earlier processes included. Errors: nothing to train, too many steps in a row whose loss or gradient is
/// not finite, parameters that get no gradient, checkpoints of another run; Interrupted (TrainCheckpoints).
template <class Model, class LossOf>
std::vector<TrainStep> train(Model& model, const TrainConfig& config, LossOf&& loss_of,
                             const TrainLog& log = {}, const TrainCheckpoints& checkpoints = {}) {
  RunState state{
      .optimizer = AdamW::over(
          model, {config.lr, config.beta1, config.beta2, config.eps, config.weight_decay}, config.rules)};
  expect(!state.optimizer.groups.empty(), "training: no parameter of the model is trainable");
  state.life = LifeWatch::over(state.optimizer, config.allow_dead);
  detail::TrainFiles files(state, config, log, checkpoints);
  const detail::BeforeBatch before_batch = [&] { files.leave_if_asked(state); };
  for (auto step = std::ssize(state.history); step < config.steps; ++step) {
    const auto [loss, norm, bad] = detail::step_gradients(model, state, config, loss_of, before_batch);
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
  return state.history;
}

}  // namespace morphvlm
