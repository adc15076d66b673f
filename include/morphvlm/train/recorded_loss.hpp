// The loss and its gradients from a CUDA graph, for training in shapes that repeat: with few tokens to a
// batch a step's thousands of kernels take longer to launch than to run.
#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/kernels/cuda/cuda_graph.hpp"
#include "morphvlm/train/loss.hpp"

namespace morphvlm {

namespace detail {

// What a step reads, where its graph reads it, and what the graph leaves.
struct RecordedStep {
  TextInput text = {};
  Tensor pictures = {}, positions = {}, wanted = {};
  Tensor loss = {};
  std::vector<Tensor> gradients = {};  // one for each trained parameter; undefined where none comes
  CudaGraph graph = {};
  std::int64_t replays = 0;
};

// Hands the gradients of one replay to the parameters.
struct ReplayedGradients : torch::autograd::Node {
  std::shared_ptr<RecordedStep> step = {};
  std::int64_t replay = 0;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    expect(replay == step->replays, "recorded loss: its gradients are gone, since another batch came after");
    // The graph's own memory is written again by the next batch.
    torch::autograd::variable_list out;
    for (const auto& g : step->gradients)
      out.push_back(g.defined() ? g.mul(grads[0].to(g.scalar_type())) : g);
    return out;
  }
};

inline Tensor replayed_loss(const std::vector<Tensor>& trained, const std::shared_ptr<RecordedStep>& step) {
  step->graph.replay();
  Tensor loss = step->loss.clone();
  const auto node = std::make_shared<ReplayedGradients>();
  node->step = step;
  node->replay = ++step->replays;
  torch::autograd::edge_list edges;
  for (const auto& t : trained) edges.push_back(torch::autograd::impl::gradient_edge(t));
  node->set_next_edges(std::move(edges));
  torch::autograd::set_history(loss, node);
  return loss;
}

}  // namespace detail

/// planned_loss of a model, by graph: the first batch of a shape is computed as ever, the second is recorded,
/// backward pass and all, and from then on batches of that shape are one launch. The same numbers as
/// planned_loss. Latents that want a gradient, and shapes beyond the first kMostShapes, are computed as ever.
/// Each recording keeps the memory of its step.
template <class Model>
class RecordedLoss {
 public:
  /// Shapes that are recorded.
  static constexpr std::size_t kMostShapes = 8;

  /// Of `model`, on a CUDA device, which must stay where it is, keep its tensors and what of it is trained.
  explicit RecordedLoss(const Model& model, LossPath path = LossPath::fused) : model_(model), path_(path) {
    visit(model, [&](const std::string&, const Tensor& t) {
      if (t.requires_grad()) trained_.push_back(t);
    });
    expect(!trained_.empty(), "recorded loss: no parameter of the model is trainable");
  }

  /// As planned_loss. The backward pass must come before the next call.
  Tensor operator()(const TextInput& text, const Tensor& latents, const Tensor& positions,
                    const Tensor& wanted) {
    return loss({.text = text, .pictures = latents, .positions = positions, .wanted = wanted}, false);
  }

  /// The same from pixels [batch, images, 3, side, side]: tower and resampler are in the graph too.
  Tensor from_pixels(const TextInput& text, const Tensor& pixels, const Tensor& positions,
                     const Tensor& wanted) {
    return loss({.text = text, .pictures = pixels, .positions = positions, .wanted = wanted}, true);
  }

 private:
  using Step = detail::RecordedStep;

  Tensor loss(const Step& batch, bool from_pixels) {
    const TextInput& text = batch.text;
    if (!text.ids.is_cuda() || !kHasCudaGraphs || text.ungated_hidden.defined() ||
        !at::GradMode::is_enabled() || (batch.pictures.defined() && batch.pictures.requires_grad()))
      return compute(batch, from_pixels);
    const auto key =
        shapes(batch) + (text.without_gated_blocks ? "text" : "") + (from_pixels ? "pixels" : "");
    const auto it = steps_.find(key);
    if (it == steps_.end()) {
      if (steps_.size() < kMostShapes) steps_.emplace(key, nullptr);
      return compute(batch, from_pixels);
    }
    if (it->second == nullptr) {
      it->second = record(batch, from_pixels);
    } else {
      const auto to = tensors(*it->second), from = tensors(batch);
      for (std::size_t i = 0; i < to.size(); ++i) {
        if (to[i].defined()) to[i].copy_(from[i], true);
      }
    }
    return detail::replayed_loss(trained_, it->second);
  }

  Tensor compute(const Step& batch, bool from_pixels) const {
    const Tensor latents =
        from_pixels ? model_.resample(model_.encode_vision(batch.pictures)) : batch.pictures;
    return planned_loss(model_, batch.text, latents, batch.positions, batch.wanted, path_);
  }

  // All that a step reads.
  static std::array<Tensor, 5> tensors(const Step& s) {
    return {s.text.ids, s.text.attention_mask, s.pictures, s.positions, s.wanted};
  }

  static std::string shapes(const Step& batch) {
    std::string out;
    for (const auto& t : tensors(batch)) {
      if (t.defined()) {
        for (const auto size : t.sizes()) out += std::to_string(size) + ' ';
      }
      out += ';';
    }
    return out;
  }

  std::shared_ptr<Step> record(const Step& batch, bool from_pixels) const {
    auto own = tensors(batch);
    for (auto& t : own) {
      if (t.defined()) t = t.clone();
    }
    auto step = std::make_shared<Step>();
    step->text = {
        .ids = own[0], .attention_mask = own[1], .without_gated_blocks = batch.text.without_gated_blocks};
    step->pictures = own[2];
    step->positions = own[3];
    step->wanted = own[4];
    step->graph.record([&] {
      const Tensor loss = compute(*step, from_pixels);
      step->gradients = torch::autograd::grad({loss}, trained_, {}, false, false, true);
      step->loss = loss.detach();
    });
    return step;
  }

  const Model& model_;
  LossPath path_;
  std::vector<Tensor> trained_ = {};
  std::map<std::string, std::shared_ptr<Step>> steps_ = {};  // null: seen once
};

}  // namespace morphvlm
