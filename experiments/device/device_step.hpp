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

#include "experiments/resident_bytes.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/plan/plan.hpp"

namespace morphvlm::experiments {

/// What became of training in one setting.
struct DeviceStep {
  std::string setting = {};
  std::int64_t rows = 0, tokens = 0;  ///< of a step; tokens of a row
  std::int64_t trained = 0;           ///< parameters
  std::int64_t planned = 0;           ///< bytes, by `plan`
  std::int64_t room = 0;              ///< bytes that the device has; 0: as many as are asked for
  bool fits = false;                  ///< all steps were done
  std::int64_t peak = 0;              ///< the most bytes that tensors took during the steps
  double seconds = 0;                 ///< of a step: the median of all but the first
  std::vector<double> losses = {};    ///< of each step, on the same rows
  std::vector<double> bytes = {};     ///< of tensors that are left after each step
  std::vector<double> peaks = {};     ///< the most during each step
  std::vector<double> host = {};      ///< resident memory of the process after each step
};

/// Ids [rows, tokens] of random words, those of <image> and of <|endofchunk|> not among them.
template <class Config>
Tensor random_words(const Config& config, std::int64_t rows, std::int64_t tokens, c10::Device device,
                    const at::Generator& generator) {
  constexpr std::int64_t kSpecial = 3;  // padding, beginning and end come first in a vocabulary
  const auto [low, high] = std::minmax(config.media_token_id, config.eoc_token_id);
  const bool last = low > kSpecial;
  return at::randint(last ? kSpecial : high + 1, last ? low : config.language.vocab_size, {rows, tokens},
                     generator, at::TensorOptions(at::kLong).device(device));
}

/// The median of all but the first, which warms up; that one where it is alone.
inline double warm_seconds(std::vector<double> seconds) {
  if (seconds.size() > 1) seconds.erase(seconds.begin());
  const auto middle = seconds.begin() + std::ssize(seconds) / 2;
  std::ranges::nth_element(seconds, middle);
  return *middle;
}

namespace detail {

/// Random rows, pictures before their text.
struct CardRows {
  Tensor pixels = {}, ids = {}, positions = {}, wanted = {};
};

template <class Config>
CardRows card_rows(const Config& config, at::ScalarType dtype, const StepShape& work, c10::Device device,
                   const at::Generator& generator) {
  CardRows rows;
  const auto ids_there = at::TensorOptions(at::kLong).device(device);
  if (work.images > 0) {
    const auto side = config.vision.image_size;
    rows.pixels =
        at::empty({work.batch, work.images, 3, side, side}, ids_there.dtype(dtype)).normal_(0, 1, generator);
  }
  rows.ids = random_words(config, work.batch, work.seq, device, generator);
  if (work.images > 0) rows.ids.slice(1, 0, work.images).fill_(config.media_token_id);
  const Tensor last = at::arange(work.seq - work.supervised, work.seq, ids_there);
  const Tensor begins = at::arange(work.batch, ids_there).mul(work.seq).unsqueeze(1);
  const Tensor wanted_at = begins.add(last).flatten();
  rows.positions = wanted_at.sub(1);
  rows.wanted = rows.ids.flatten().index_select(0, wanted_at);
  return rows;
}

template <class Model>
void train_steps(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work,
                 c10::Device device, std::int64_t steps, DeviceStep& out) {
  MemoryMeter memory(setup.device);
  // Wherever adapters sit, all else is the same, and so are the rows.
  Model model =
      trainable_model<Model>(config, setup, device, make_generator(1, device), make_generator(2, device));
  AdamW optimizer = AdamW::over(model, {});
  const WeightStream stream;  // of no consequence where the base is on the card
  const CardRows rows = card_rows(config, setup.dtype, work, device, make_generator(3, device));
  std::vector<double> seconds;
  for (std::int64_t step = 0; step < steps; ++step) {
    memory.restart_peak();
    const auto start = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    Tensor latents;
    if (work.images > 0) latents = model.resample(model.encode_vision(rows.pixels));
    const Tensor loss =
        planned_loss(model, {.ids = rows.ids}, latents, rows.positions, rows.wanted, setup.loss);
    backward(loss);
    optimizer.step(1e-3);
    out.losses.push_back(loss.template item<double>());
    synchronize(device);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    out.peak = std::max(out.peak, memory.use().peak);
    out.peaks.push_back(static_cast<double>(memory.use().peak));
    out.bytes.push_back(static_cast<double>(memory.use().live));
    out.host.push_back(static_cast<double>(resident_bytes()));
  }
  out.seconds = warm_seconds(std::move(seconds));
}

}  // namespace detail

/// Trains random weights on random rows for some steps, gates half open unless `gate` says otherwise. Memory
/// that runs out is a result, not an Error. Rows are full of tokens (work.packed).
template <class Model>
DeviceStep try_steps(std::string setting, typename Model::Config config, const PlanSetup& setup,
                     const StepShape& work, c10::Device device, std::int64_t steps, double gate = 0.5) {
  config.cross_attention.gates = GatePolicy::frozen;
  config.cross_attention.gate_value = gate;
  const Plan planned = plan<Model>(config, setup, work);
  DeviceStep out{.setting = std::move(setting),
                 .rows = work.batch,
                 .tokens = work.seq,
                 .trained = planned.trainable,
                 .planned = planned.peak_bytes};
#ifdef MORPHVLM_CUDA
  if (device.is_cuda()) out.room = cuda_memory(device);
#endif
  try {
    detail::train_steps<Model>(config, setup, work, device, steps, out);
    out.fits = true;
  } catch (const c10::OutOfMemoryError&) {
    for (auto* curve : {&out.losses, &out.bytes, &out.peaks, &out.host}) curve->clear();
  }
  return out;
}

}  // namespace morphvlm::experiments
