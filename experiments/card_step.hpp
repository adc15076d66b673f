// Training steps under a limit of memory, as on a smaller card.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/device.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/train/plan.hpp"

namespace morphvlm::experiments {

/// What became of training in one setting.
struct CardStep {
  std::string setting = {};
  std::int64_t planned = 0;         ///< bytes, by `plan`
  bool fits = false;                ///< all steps were done
  std::int64_t peak = 0;            ///< the most bytes that tensors took during the steps
  double seconds = 0;               ///< of a step: the median of all but the first
  std::vector<double> losses = {};  ///< of each step, on the same rows
};

namespace detail {

template <class Model>
void train_steps(const typename Model::Config& config, const PlanSetup& setup, const PlanWork& work,
                 c10::Device device, std::int64_t steps, CardStep& out) {
  MemoryMeter memory(setup.device);
  auto generator = make_generator(1, device);
  Model model = trainable_model<Model>(config, setup, device, generator);
  AdamW optimizer = AdamW::over(model, {});
  const WeightStream stream;  // of no consequence where the base is on the card
  memory.restart_peak();
  const auto ids_there = at::TensorOptions(at::kLong).device(device);
  const auto side = config.vision.image_size;
  const Tensor pixels = at::empty({work.batch, work.images, 3, side, side}, ids_there.dtype(setup.dtype))
                            .normal_(0, 1, generator);
  Tensor ids = at::randint(3, config.media_token_id, {work.batch, work.seq}, generator, ids_there);
  ids.slice(1, 0, work.images).fill_(config.media_token_id);
  const Tensor last = at::arange(work.seq - work.supervised, work.seq, ids_there);
  const Tensor rows = at::arange(work.batch, ids_there).mul(work.seq).unsqueeze(1);
  const Tensor wanted_at = rows.add(last).flatten(), positions = wanted_at.sub(1);
  const Tensor wanted = ids.flatten().index_select(0, wanted_at);
  std::vector<double> seconds;
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    const Tensor latents = model.resample(model.encode_vision(pixels));
    const Tensor loss = planned_loss(model, {.ids = ids}, latents, positions, wanted, setup.loss);
    backward(loss);
    optimizer.step(1e-3);
    out.losses.push_back(loss.template item<double>());
    synchronize(device);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  out.peak = memory.use().peak;
  if (steps > 1) seconds.erase(seconds.begin());
  std::ranges::nth_element(seconds, seconds.begin() + std::ssize(seconds) / 2);
  out.seconds = seconds[seconds.size() / 2];
}

}  // namespace detail

/// Trains random weights on random rows for some steps, gates half open. Memory that runs out is a result,
/// not an Error. Rows are full of tokens (work.packed).
template <class Model>
CardStep try_steps(std::string setting, typename Model::Config config, const PlanSetup& setup,
                   const PlanWork& work, c10::Device device, std::int64_t steps) {
  config.cross_attention.gates = GatePolicy::frozen;
  config.cross_attention.gate_value = 0.5;
  CardStep out{.setting = std::move(setting), .planned = plan<Model>(config, setup, work).peak_bytes};
  try {
    detail::train_steps<Model>(config, setup, work, device, steps, out);
    out.fits = true;
  } catch (const c10::OutOfMemoryError&) {
    out.losses.clear();
  }
  return out;
}

}  // namespace morphvlm::experiments
