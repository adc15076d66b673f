// What the tests of training train: a tiny VLM on four questions.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/logsumexp.h>

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "morphvlm/data/collate.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/trainer.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::testing {

using TinyAdapted = TinyVlm<LoRA<Attn>>;

// Four questions of different length, answers of equal length, so that half batches weigh the same.
inline const std::vector<VqaTokens>& rows() {
  static const std::vector<VqaTokens> kRows = {{{3, 4}, {kTinyMedia, 5, 6}, {7, kTinyEnd}},
                                               {{3}, {kTinyMedia, 8, 6}, {9, kTinyEnd}},
                                               {{}, {kTinyMedia, 5, 6, 2}, {30, kTinyEnd}},
                                               {{3, 4}, {kTinyMedia, 5, 6}, {12, kTinyEnd}}};
  return kRows;
}

// The mean of -log softmax over the positions that have a label, from the logits alone: what every way to
// compute the loss is compared with. Of rows without padding.
template <class M>
double loss_by_hand(const M& model, const Batch& batch, const Tensor& latents) {
  at::NoGradGuard no_grad;
  const Tensor logits = model.logits(model.hidden(batch.text, latents)).to(at::kDouble);
  const Tensor odds = logits.sub(logits.logsumexp({-1}, true));
  double sum = 0, count = 0;
  for (std::int64_t row = 0; row < odds.size(0); ++row) {
    for (std::int64_t t = 1; t < odds.size(1); ++t) {
      const auto label = batch.labels[row][t].template item<std::int64_t>();
      if (label == kIgnoredLabel) continue;
      sum -= odds[row][t - 1][label].template item<double>();
      ++count;
    }
  }
  return sum / count;
}

// The loss of `count` rows from `first` on, each with its own picture.
template <class M>
Tensor loss_of_rows(const M& model, std::int64_t first, std::int64_t count) {
  const Batch batch =
      collate(std::span(rows()).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), 0);
  const auto dtype = model.lang_encoder.model.embed_tokens.weight.scalar_type();
  const Tensor pixels = tiny_pixels(5, 4).slice(0, first, first + count).to(dtype);
  return next_token_loss(model, model.hidden(batch.text, model.resample(model.encode_vision(pixels))),
                         batch.labels);
}

inline const auto kWholeBatch = [](const auto& model, std::int64_t) { return loss_of_rows(model, 0, 4); };
inline const TrainLog kQuiet{.title = ""};

template <class M = TinyAdapted>
M open_model(const TrainableParts& parts = {}, typename M::Config config = tiny_config<M>(),
             at::ScalarType dtype = at::kFloat) {
  M model = tiny_model<M>(7, config, dtype);
  set_trainable_parts(model, parts);
  return model;
}

// Names of the tensors that are not what they were, to the last bit.
template <class M>
std::set<std::string> changed(const M& model, const StateDict& before) {
  std::set<std::string> names;
  const StateDict now = state_dict(model);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (!now[i].second.equal(before[i].second)) names.insert(now[i].first);
  }
  return names;
}

}  // namespace morphvlm::testing
