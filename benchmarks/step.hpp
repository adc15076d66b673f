// One training step as the benchmarks run it, and the machine's own limit beside it.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "morphvlm/adapt.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/core/keep_freed_memory.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/plan/plan.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/train/recorded_loss.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::benchmarks {

/// Seconds since some fixed time.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Pages that this process had to be given so far.
inline std::int64_t page_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/// The most memory that this process had resident so far, in bytes.
inline std::int64_t peak_resident() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

/// Seconds that `f` takes on a device. On CUDA the mean of several in a row: one alone may be shorter than
/// its launch.
template <class F>
double seconds_of(c10::Device device, F&& f) {
  const int repeats = device.is_cuda() ? 10 : 1;
  synchronize(device);
  const double start = now();
  for (int i = 0; i < repeats; ++i) f();
  synchronize(device);
  return (now() - start) / repeats;
}

/// FLOP/s of a product [rows, in] x [in, out] in `dtype`, best of a few: the floor of what a step can take.
inline double product_speed(std::int64_t rows, std::int64_t in, std::int64_t out, at::ScalarType dtype,
                            c10::Device device = c10::kCPU) {
  const auto values = [&](std::int64_t n, std::int64_t m) {
    return at::empty({n, m}, TensorOptions(dtype).device(device)).normal_(0, 0.02, make_generator(1, device));
  };
  const Tensor x = values(rows, in), w = values(out, in);
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    const double seconds = seconds_of(device, [&] { at::linear(x, w); });
    best = std::max(best, 2.0 * static_cast<double>(rows * in * out) / seconds);
  }
  return best;
}

/// The sizes that the Python peer's numbers are known for: with SmolLM2-135M, and with OpenLLaMA-3B.
inline constexpr StepShape kSmall{.batch = 8, .seq = 32, .images = 1, .supervised = 4};
inline constexpr StepShape kLarge{.batch = 2, .seq = 64, .images = 1, .supervised = 4};

/// Seconds of reading a text and writing `tokens` more, no fewer.
template <class Model>
double seconds_of_decoding(const Model& model, const TextInput& text, const Tensor& latents,
                           std::int64_t tokens, std::int64_t beams = 1) {
  const GenerateConfig how{.max_new_tokens = tokens,
                           .eos_token_id = model.config.eoc_token_id,
                           .min_new_tokens = tokens,
                           .num_beams = beams};
  synchronize(text.ids.device());
  const double start = now();
  generate(model, text, latents, how);
  synchronize(text.ids.device());
  return now() - start;
}

/// A model in training with the data of one batch: random weights, an image first in each row, an answer
/// last.
template <class Model>
struct Training {
  StepShape work = {};
  PlanSetup setup = {};
  Model model = {};
  AdamW optimizer = {};
  Tensor pixels = {}, latents = {};
  TextInput text = {};
  Tensor positions = {}, wanted = {};
  std::unique_ptr<RecordedLoss<Model>> recorded = {};  ///< if steps are to be replayed

  static Training make(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work) {
    const c10::Device device(setup.device);
    Training t{.work = work,
               .setup = setup,
               .model = trainable_model<Model>(config, setup, device, make_generator(1, device))};
    at::NoGradGuard no_grad;
    visit(t.model, [](const std::string& name, Tensor& p) {
      if (matches(name, kGates)) p.fill_(0.5);  // shut gates would spare the backward pass half of its work
    });
    t.optimizer = AdamW::over(t.model, {});
    const auto side = config.vision.image_size;
    t.pixels =
        at::full({work.batch, work.images, 3, side, side}, 0.1, TensorOptions(setup.dtype).device(device));
    Tensor ids = at::randint(3, config.language.vocab_size - 2, {work.batch, work.seq}, make_generator(2),
                             TensorOptions(at::kLong));
    ids.slice(1, 0, work.images).fill_(config.media_token_id);
    t.text = {.ids = ids.to(device)};
    if (!work.packed) t.text.attention_mask = at::ones_like(t.text.ids);
    std::vector<std::int64_t> places;
    for (std::int64_t row = 0; row < work.batch; ++row) {
      for (auto i = work.seq - work.supervised; i < work.seq; ++i) places.push_back(row * work.seq + i - 1);
    }
    t.positions = at::tensor(places, at::kLong).to(device);
    t.wanted = t.text.ids.flatten().index_select(0, t.positions.add(1));
    if (work.cached_latents) t.latents = t.model.resample(t.model.encode_vision(t.pixels));
    return t;
  }

  /// What comes before the language model.
  Tensor see() const { return work.cached_latents ? latents : model.resample(model.encode_vision(pixels)); }

  /// The loss, ready for its backward pass.
  Tensor forward() const {
    if (recorded && !work.cached_latents) return recorded->from_pixels(text, pixels, positions, wanted);
    if (recorded) return (*recorded)(text, latents, positions, wanted);
    return planned_loss(model, text, see(), positions, wanted, setup.loss);
  }

  /// From the third step on, a step is replayed. The object must stay where it is.
  void record() { recorded = std::make_unique<RecordedLoss<Model>>(model, setup.loss); }

  /// One optimizer step.
  double step() {
    optimizer.zero_grad();
    const Tensor loss = forward();
    backward(loss);
    optimizer.step(1e-4);
    return loss.template item<double>();
  }
};

}  // namespace morphvlm::benchmarks
