// The loss and its gradients from a CUDA graph, for training in shapes that repeat: with few tokens to a
// batch a step's thousands of kernels take longer to launch than to run.
#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/cuda_graph.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/train/loss.hpp"

namespace morphvlm {

namespace detail {

// What a step reads, where its graph reads it, and what the graph leaves.
struct RecordedStep {
  TextInput text = {};
  Tensor latents = {}, positions = {}, wanted = {};
  Tensor loss = {};
  std::vector<Tensor> gradients = {};  // one for each trained parameter; undefined where none comes
  RecordedWork graph = {};
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
  const Tensor loss = step->loss.clone();
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
/// planned_loss. Batches whose latents are trained, and shapes beyond the first kMostShapes, are computed as
/// ever. Each recording keeps the memory of its step.
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
    const auto plainly = [&] { return planned_loss(model_, text, latents, positions, wanted, path_); };
    if (!text.ids.is_cuda() || !kHasCudaGraphs || text.entry.defined() || !at::GradMode::is_enabled() ||
        (latents.defined() && latents.requires_grad()))
      return plainly();
    const auto key = shapes({text.ids, text.attention_mask, latents, positions, wanted}) +
                     (text.without_gated_blocks ? "text" : "");
    const auto it = steps_.find(key);
    if (it == steps_.end()) {
      if (steps_.size() < kMostShapes) steps_.emplace(key, nullptr);
      return plainly();
    }
    if (it->second == nullptr) {
      it->second = record(text, latents, positions, wanted);
    } else {
      auto& to = *it->second;
      copy(to.text.ids, text.ids);
      copy(to.text.attention_mask, text.attention_mask);
      copy(to.latents, latents);
      copy(to.positions, positions);
      copy(to.wanted, wanted);
    }
    return detail::replayed_loss(trained_, it->second);
  }

 private:
  static std::string shapes(const std::vector<Tensor>& tensors) {
    std::string out;
    for (const auto& t : tensors) {
      if (t.defined()) {
        for (const auto size : t.sizes()) out += std::to_string(size) + ' ';
      }
      out += ';';
    }
    return out;
  }

  static void copy(const Tensor& to, const Tensor& from) {
    if (to.defined()) to.copy_(from, true);
  }

  static Tensor clone(const Tensor& t) { return t.defined() ? t.clone() : t; }

  std::shared_ptr<detail::RecordedStep> record(const TextInput& text, const Tensor& latents,
                                               const Tensor& positions, const Tensor& wanted) const {
    auto step = std::make_shared<detail::RecordedStep>();
    step->text = {.ids = clone(text.ids),
                  .attention_mask = clone(text.attention_mask),
                  .without_gated_blocks = text.without_gated_blocks};
    step->latents = clone(latents);
    step->positions = clone(positions);
    step->wanted = clone(wanted);
    step->graph.record([&] {
      const Tensor loss =
          planned_loss(model_, step->text, step->latents, step->positions, step->wanted, path_);
      step->gradients = torch::autograd::grad({loss}, trained_, {}, false, false, true);
      step->loss = loss.detach();
    });
    return step;
  }

  const Model& model_;
  LossPath path_;
  std::vector<Tensor> trained_ = {};
  std::map<std::string, std::shared_ptr<detail::RecordedStep>> steps_ = {};  // null: seen once
};

}  // namespace morphvlm
