// The training loop: accumulation, clipping, schedule, checks, log.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json_lines.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/train/dead.hpp"
#include "morphvlm/train/optim.hpp"
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
};

/// One optimizer step as it is logged.
struct TrainStep {
  std::int64_t step = 0;
  double loss = 0;  ///< mean over the step's batches
  double lr = 0;
  double grad_norm = 0;
  double seconds = 0;  ///< since the start of the run
};

/// What training tells its caller besides the changed parameters.
struct TrainLog {
  std::filesystem::path file = {};  ///< JSON lines, one a step; empty: none
  std::string title = "training";   ///< of the progress bar; empty: none
};

namespace detail {

// The loss of one optimizer step, gradients left in the parameters.
template <class Model, class LossOf>
double accumulate_gradients(const Model& model, const TrainConfig& config, std::int64_t step,
                            LossOf& loss_of) {
  double total = 0;
  for (std::int64_t micro = 0; micro < config.accumulate; ++micro) {
    const auto index = step * config.accumulate + micro;
    Tensor loss = loss_of(model, index);
    const double value = loss.template item<double>();
    expect(std::isfinite(value), "training: the loss of batch ", index, " (step ", step, ") is ", value);
    total += value;
    backward(loss.div(static_cast<double>(config.accumulate)));
  }
  return total / static_cast<double>(config.accumulate);
}

}  // namespace detail

/// Trains what `model` has opened for training. `loss_of(model, index)` returns the mean loss of batch number
/// `index` = 0, 1, ...; the same index must give the same batch, and then runs are repeatable to the last bit
/// on one machine. Errors: nothing to train, a loss that is not finite, parameters that get no gradient.
template <class Model, class LossOf>
std::vector<TrainStep> train(Model& model, const TrainConfig& config, LossOf&& loss_of,
                             const TrainLog& log = {}) {
  AdamW optimizer = AdamW::over(
      model, {config.lr, config.beta1, config.beta2, config.eps, config.weight_decay}, config.rules);
  expect(!optimizer.groups.empty(), "training: no parameter of the model is trainable");
  LifeWatch life = LifeWatch::over(optimizer, config.allow_dead);
  JsonLines lines(log.file);
  Progress progress(log.title, config.steps);
  std::vector<TrainStep> history;
  std::int64_t moved = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t step = 0; step < config.steps; ++step) {
    optimizer.zero_grad();
    const double loss = detail::accumulate_gradients(model, config, step, loss_of);
    if (moved < kStepsToProveLife) life.observe(optimizer);
    const double norm = clip_gradients(optimizer, config.clip);
    expect(std::isfinite(norm), "training: the gradient's norm at step ", step, " is ", norm);
    const double lr = config.lr * rate_factor(config.schedule, step, config.steps);
    // A warm-up's first step is at rate 0: nothing moves, so nothing behind a zero can come to life.
    if (lr > 0 && ++moved == kStepsToProveLife) life.expect_none(model);
    optimizer.step(lr);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    history.push_back({step, loss, lr, norm, elapsed.count()});
    lines.write(history.back());
    progress.advance(1, "loss " + std::to_string(loss).substr(0, 6));
  }
  progress.finish();
  optimizer.zero_grad();
  return history;
}

}  // namespace morphvlm
