// The loss, computed only where there is something to predict.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/train/cross_entropy.hpp"

namespace morphvlm {

/// How the loss is computed. Both give the same up to rounding.
enum class LossPath {
  fused,  ///< frozen_head_loss where the head is frozen and a gradient is wanted
  plain,  ///< logits of all supervised positions at once
};

/// Mean cross-entropy of predicting `wanted` int64 [n] from the last layer's output at n positions, inputs
/// [n, dim]. With `candidates`, `wanted` counts among them.
template <class Model>
Tensor selected_loss(const Model& model, const Tensor& inputs, const Tensor& wanted,
                     const Tensor& candidates = {}, LossPath path = LossPath::fused) {
  if constexpr (requires { model.lang_encoder.head(); }) {
    const Tensor& head = model.lang_encoder.head();
    if (path == LossPath::fused && !head.requires_grad() && inputs.requires_grad() &&
        at::GradMode::is_enabled()) {
      return frozen_head_loss(model.lang_encoder.normed(inputs),
                              candidates.defined() ? head.index_select(0, candidates) : head, wanted);
    }
  }
  const Tensor logits = model.logits(inputs, candidates);
  return at::cross_entropy_loss(logits.to(detail::loss_dtype(logits)), wanted);
}

/// selected_loss of a text where it is known what is to be predicted, which is how `plan` counts a step:
/// `wanted` int64 [n] behind the `positions` int64 [n] of the flattened text. All tensors on the model's
/// device; `latents` as in VLM::hidden.
template <class Model>
Tensor planned_loss(const Model& model, const TextInput& text, const Tensor& latents, const Tensor& positions,
                    const Tensor& wanted, LossPath path = LossPath::fused) {
  const Tensor hidden = model.hidden(text, latents);
  return selected_loss(model, hidden.flatten(0, 1).index_select(0, positions), wanted, {}, path);
}

/// Mean cross-entropy of predicting `targets` int64 [batch, time] from `hidden` [batch, time, dim], the
/// model's last layer's output at the same positions; kIgnoredLabel where nothing is supervised. The
/// vocabulary head runs at supervised positions alone: with short answers it would otherwise cost more than
/// the layers. `candidates` (distinct token ids), if defined, are the only tokens that compete; every target
/// must be one of them.
template <class Model>
Tensor target_loss(const Model& model, const Tensor& hidden, const Tensor& targets,
                   const Tensor& candidates = {}, LossPath path = LossPath::fused) {
  Tensor wanted = targets.flatten();
  const Tensor supervised = wanted.ne(kIgnoredLabel).nonzero().squeeze(-1);
  expect(supervised.numel() > 0, "loss: no position of the batch is supervised (all labels are ",
         kIgnoredLabel, ")");
  wanted = wanted.index_select(0, supervised);
  if (candidates.defined()) {
    const Tensor match = wanted.unsqueeze(1).eq(candidates);
    expect(match.any(1).all().template item<bool>(), "loss: a target is not among the candidates");
    wanted = match.to(at::kLong).argmax(1);
  }
  return selected_loss(model, hidden.flatten(0, 1).index_select(0, supervised), wanted, candidates, path);
}

/// target_loss of next-token prediction: `labels` int64 [batch, time] are the ids themselves, kIgnoredLabel
/// where not supervised; position t predicts labels[t + 1]. HF equivalent: the `loss` of a causal LM, in
/// fp32.
template <class Model>
Tensor next_token_loss(const Model& model, const Tensor& hidden, const Tensor& labels,
                       LossPath path = LossPath::fused) {
  return target_loss(model, hidden.slice(1, 0, -1), labels.slice(1, 1), {}, path);
}

/// The loss of a batch of text alone, read without gated blocks.
template <class Model>
Tensor text_loss(const Model& model, const Batch& batch) {
  TextInput text = batch.text;
  text.without_gated_blocks = true;
  return next_token_loss(model, model.hidden(text, {}), batch.labels);
}

/// The loss of one step on a batch with images and a batch of text alone (text_loss), added up. Reference:
/// Multimodal-GPT's joint instruction tuning.
template <class Model>
Tensor joint_loss(const Model& model, const Batch& with_images, const Tensor& latents,
                  const Batch& text_alone) {
  return next_token_loss(model, model.hidden(with_images.text, latents), with_images.labels)
      .add(text_loss(model, text_alone));
}

}  // namespace morphvlm
