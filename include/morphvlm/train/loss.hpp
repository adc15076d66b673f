// The loss, computed only where there is something to predict.
#pragma once

#include <ATen/ops/cross_entropy_loss.h>

#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/data/collate.hpp"

namespace morphvlm {

/// Mean cross-entropy of next-token prediction. `hidden` [batch, time, dim] is the model's last layer's
/// output, `labels` int64 [batch, time] the ids themselves, kIgnoredLabel where not supervised; position t
/// predicts labels[t + 1]. The vocabulary head runs at supervised positions alone: with short answers it
/// would otherwise cost more than the layers. HF equivalent: the `loss` of a causal LM, in fp32.
template <class Model>
Tensor next_token_loss(const Model& model, const Tensor& hidden, const Tensor& labels) {
  const Tensor targets = labels.slice(1, 1).flatten();
  const Tensor supervised = targets.ne(kIgnoredLabel).nonzero().squeeze(-1);
  expect(supervised.numel() > 0, "loss: no position of the batch is supervised (all labels are ",
         kIgnoredLabel, ")");
  const Tensor inputs = hidden.slice(1, 0, -1).flatten(0, 1).index_select(0, supervised);
  const Tensor logits = model.logits(inputs);
  return at::cross_entropy_loss(logits.to(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat),
                                targets.index_select(0, supervised));
}

}  // namespace morphvlm
