// What a training run reads and writes between its steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json_lines.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/core/stop_signals.hpp"
#include "morphvlm/io/event_file.hpp"
#include "morphvlm/io/run_checkpoint.hpp"
#include "morphvlm/train/run_state.hpp"
#include "morphvlm/train/share_state.hpp"
#include "morphvlm/train/train_config.hpp"

namespace morphvlm::detail {

// A run's files: its log, its checkpoints, its progress.
class TrainFiles {
 public:
  TrainFiles(RunState& state, const TrainConfig& config, const TrainLog& log, const TrainCheckpoints& c,
             Communicator* processes)
      : log_(log),
        checkpoints_(c),
        config_{{"train", to_json(config)}, {"identity", c.identity}},
        processes_(processes),
        first_(is_first(processes)),
        progress_(first_ ? log.title : "", config.steps) {
    if (!c.folder.empty()) {
      expect(c.every > 0, "checkpoints: every: expected 1 or more, found ", c.every);
      state.generators = c.generators;
      if (first_) {
        lock_.emplace(c.folder);
        begin(state);
      }
      signals_.emplace();
    }
    if (processes != nullptr) share_state(state, *processes);
    state.note_generators();
    lines_.emplace(first_ ? log.file : "", std::ssize(state.history));
    if (first_) events_ = EventFile(log.events, std::ssize(state.history));
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
    if (!last) leave(state, asked_);
  }

  /// The signal that has asked this process to stop, or 0.
  int pending() const { return signals_ ? signals_->pending() : 0; }

  /// The signal that has asked any of several processes: they leave together, after the step.
  void set_asked(int signal) { asked_ = signal; }

  /// Leaves, with a checkpoint of the last whole step, if a signal has asked this process for it and no other
  /// waits for it.
  void leave_if_asked(RunState& state) {
    if (processes_ == nullptr) leave(state, pending());
  }

  /// What `step` returns. When it fails (a picture that cannot be read, memory that is not there), what the
  /// steps before it came to is in a checkpoint.
  template <class Step>
  auto kept_if_it_fails(RunState& state, Step&& step) {
    try {
      return step();
    } catch (const Interrupted&) {
      throw;
    } catch (...) {
      keep(state);
      throw;
    }
  }

 private:
  // Several processes score together, and one that has failed cannot ask the others for it. A disk that is
  // full as well must not hide what came first.
  void keep(RunState& state) {
    if (checkpoints_.folder.empty() || processes_ != nullptr || saved_ == std::ssize(state.history)) return;
    try {
      save(state);
      progress_.note("the steps so far are kept in " + checkpoints_.folder.string());
    } catch (const std::exception& e) {
      progress_.note(std::string("the steps so far could not be kept: ") + e.what());
    }
  }

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

  void leave(RunState& state, int signal) {
    if (signal == 0) return;
    if (saved_ != std::ssize(state.history)) save(state);
    throw Interrupted(signal, "training: stopped by signal " + std::to_string(signal) + " after step " +
                                  std::to_string(std::ssize(state.history)) + "; the checkpoint in " +
                                  checkpoints_.folder.string() + " goes on from there");
  }

  void save(RunState& state) {
    const double reached = score(state);
    if (log_.show) log_.show(events_, std::ssize(state.history) - 1);
    saved_ = std::ssize(state.history);
    if (!first_) return;
    save_checkpoint(checkpoints_.folder, capture(state, config_, reached));
    if (checkpoints_.score) events_.scalar("validation/score", reached, std::ssize(state.history) - 1);
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

  const TrainLog& log_;
  const TrainCheckpoints& checkpoints_;
  Json config_;
  Communicator* processes_;
  bool first_;
  int asked_ = 0;
  Progress progress_;
  std::optional<CheckpointLock> lock_ = {};
  std::optional<StopSignals> signals_ = {};
  std::optional<JsonLines> lines_ = {};
  EventFile events_ = {};
  std::int64_t saved_ = 0;
  double earlier_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace morphvlm::detail
