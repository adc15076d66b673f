// What a training step will cost, known before anything is bought: the model's own code runs on the meta
// device, where tensors have shapes and no memory, while what it would allocate and compute is counted.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/plan/meta_kernels.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

/// What one step reads.
struct StepShape {
  std::int64_t batch = 1;       ///< rows
  std::int64_t seq = 512;       ///< tokens of a row, padding included
  std::int64_t images = 1;      ///< of a row; 0: text alone, so tower, resampler and gated blocks do not run
  std::int64_t supervised = 8;  ///< tokens of a row that the loss predicts
  std::int64_t image_size = 224;  ///< pixels along a side; towers with fixed positions have their own
  bool packed = false;            ///< rows are full of tokens: no padding, so no mask
  bool cached_latents = false;  ///< the resampler's output comes from a file: tower and resampler do not run
};

/// How it is trained.
struct PlanSetup {
  at::ScalarType dtype = at::kFloat;   ///< of frozen weights and of activations
  c10::DeviceType device = c10::kCPU;  ///< decides which kernels run, so what they keep
  Recompute recompute = {};            ///< decoder layers that run again instead of keeping activations
  TrainableParts parts = {};           ///< what is trained; an Error where that is nothing
  LossPath loss = LossPath::fused;     ///< whether all logits are alive at once
};

/// The cost of one optimizer step over one batch. Bytes of tensors; a process adds LibTorch itself (about
/// 0.3 GiB on a CPU), and CUDA's context.
struct Plan {
  std::int64_t parameters = 0;       ///< of the model; quantised weights count as those they stand for
  std::int64_t trainable = 0;        ///< of these, those that are trained
  std::int64_t frozen_bytes = 0;     ///< weights that are not trained, those on the host aside
  std::int64_t trained_bytes = 0;    ///< weights that are
  std::int64_t optimizer_bytes = 0;  ///< AdamW's two moments
  std::int64_t gradient_bytes = 0;   ///< of trained weights
  std::int64_t kept_bytes = 0;       ///< activations alive between forward and backward pass
  std::int64_t peak_bytes = 0;    ///< the most that lives at once, all of the above and temporaries included
  std::int64_t host_bytes = 0;    ///< weights that stay on the host (Streamed); on a CPU a part of the peak
  std::int64_t copied_bytes = 0;  ///< of these, what a step copies to the device, with a WeightStream
  double vision_flops = 0;        ///< tower and resampler
  double forward_flops = 0;       ///< language model, gated blocks and loss
  double backward_flops = 0;      ///< recomputed activations included

  /// Operations of the whole step.
  double flops() const { return vision_flops + forward_flops + backward_flops; }
};

namespace detail {

// How many more parameters there are than elements that quantised weights are stored in.
template <class Model>
std::int64_t packed_away(const Model& model) {
  std::int64_t count = 0;
  visit_modules(model, [&](const std::string&, const auto& node) {
    if constexpr (PackedProjection<std::remove_cvref_t<decltype(node)>>) {
      count += node.weight.out * node.weight.in - parameter_count(node.weight);
    }
  });
  return count;
}

}  // namespace detail

/// Keeps all parameters that are not trained in `dtype`, as `convert` would; those that are stay as they are.
template <class Model>
void keep_frozen_in(Model& model, at::ScalarType dtype) {
  visit(model, [&](const std::string& name, Tensor& t) {
    if (!t.requires_grad() && !detail::keeps_dtype(name, t)) t = t.to(dtype);
  });
}

namespace detail {

// While it lives, tensors on the meta device stand for those of `device`.
class StandFor {
 public:
  explicit StandFor(c10::DeviceType device) : before_(std::exchange(meta_stands_for(), device)) {
    register_meta_kernels();
  }
  ~StandFor() { meta_stands_for() = before_; }
  StandFor(const StandFor&) = delete;
  StandFor& operator=(const StandFor&) = delete;

 private:
  std::optional<c10::DeviceType> before_;
};

}  // namespace detail

/// A model as `setup` would train it, on `device`, with random or (on the meta device) no values; `adapters`
/// as in Init.
template <class Model>
Model trainable_model(const typename Model::Config& config, const PlanSetup& setup, c10::Device device,
                      const at::Generator& generator = {}, const at::Generator& adapters = {}) {
  const bool adapters_alone = !setup.parts.perceiver && !setup.parts.gated_cross_attention &&
                              config.cross_attention.gates != GatePolicy::trainable;
  Model model = Model::init(config, {.options = TensorOptions(setup.dtype).device(device),
                                     .generator = generator,
                                     .adapters_alone = adapters_alone,
                                     .adapters = adapters});
  set_trainable_parts(model, setup.parts);
  keep_frozen_in(model, setup.dtype);
  model.recompute = setup.recompute;
  return model;
}

namespace detail {

template <class Model>
std::int64_t drop_gradients(Model& model) {
  std::int64_t bytes = 0;
  visit(model, [&](const std::string&, Tensor& t) {
    if (!t.grad().defined()) return;
    bytes += static_cast<std::int64_t>(t.grad().nbytes());
    t.mutable_grad().reset();
  });
  return bytes;
}

// One step on the meta device. What it allocates and computes is added to `out`.
template <class Model>
void plan_step(Model& model, const PlanSetup& setup, const StepShape& work, MemoryMeter& memory, Plan& out) {
  const FlopMeter operations;
  memory.restart_peak();
  const auto floats = TensorOptions(setup.dtype).device(c10::kMeta), ids = floats.dtype(at::kLong);
  const auto dim = Model::Vision::feature_dim(model.config.vision);
  const auto side = [&] {
    if constexpr (requires { model.config.vision.image_size; }) return model.config.vision.image_size;
    return work.image_size;
  }();
  Tensor latents;
  if (work.images > 0 && work.cached_latents) {
    latents = at::empty({work.batch, work.images, model.config.perceiver.latents, dim}, floats);
  } else if (work.images > 0) {
    latents =
        model.resample(model.encode_vision(at::empty({work.batch, work.images, 3, side, side}, floats)));
  }
  out.vision_flops = operations.flops();
  TextInput text{.ids = at::empty({work.batch, work.seq}, ids)};
  if (!work.packed) text.attention_mask = at::empty({work.batch, work.seq}, ids);
  const Tensor positions = at::empty({work.batch * work.supervised}, ids);
  const auto before = memory.use().live;
  const Tensor loss = planned_loss(model, text, latents, positions, positions, setup.loss);
  out.kept_bytes = memory.use().live - before;
  out.forward_flops = operations.flops() - out.vision_flops;
  backward(loss);
  out.backward_flops = operations.flops() - out.forward_flops - out.vision_flops;
  out.peak_bytes = memory.use().peak;
  out.gradient_bytes = drop_gradients(model);
}

// The same where weights come from the host. Which of them is on its way when is settled after two steps.
template <class Model>
void plan_streamed_step(Model& model, const PlanSetup& setup, const StepShape& work, MemoryMeter& memory,
                        Plan& out) {
  WeightStream stream;
  for (int i = 0; i < 2; ++i) plan_step(model, setup, work, memory, out);
  const auto before = stream.copied();
  plan_step(model, setup, work, memory, out);
  out.copied_bytes = stream.copied() - before;
  if (setup.device == c10::kCPU) out.peak_bytes += out.host_bytes;
}

}  // namespace detail

/// Predicts the cost of a step. Takes milliseconds, whatever the model's size.
template <class Model>
Plan plan(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work) {
  expect(work.batch > 0 && work.seq > 0, "plan: batch and seq must be positive");
  expect(work.images >= 0, "plan: images: expected 0 or more, found ", work.images);
  expect(work.supervised > 0 && work.supervised <= work.seq, "plan: ", work.supervised,
         " supervised tokens do not fit a row of ", work.seq);
  const detail::StandFor scope(setup.device);
  MemoryMeter memory(c10::kMeta);
  Plan out;
  Model model = trainable_model<Model>(config, setup, c10::Device(c10::kMeta));
  out.parameters = parameter_count(model) + detail::packed_away(model);
  out.trainable = trainable_count(model);
  expect(out.trainable > 0, "plan: no parameter of the model is trainable");
  visit(model, [&](const std::string&, const Tensor& t) {
    (t.requires_grad() ? out.trained_bytes : out.frozen_bytes) += static_cast<std::int64_t>(t.nbytes());
  });
  const AdamW optimizer = AdamW::over(model, {});
  out.optimizer_bytes = memory.use().live - out.trained_bytes - out.frozen_bytes;
  out.host_bytes = host_bytes(model);
  if (out.host_bytes > 0)
    detail::plan_streamed_step(model, setup, work, memory, out);
  else
    detail::plan_step(model, setup, work, memory, out);
  return out;
}

}  // namespace morphvlm
