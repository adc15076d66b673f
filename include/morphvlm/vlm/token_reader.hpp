// Reading one token after another behind a state, as decoding does.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/DeviceGuard.h>

#include <cstdint>
#include <utility>

#include "morphvlm/kernels/cuda/cuda_graph.hpp"
#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm {

/// Where a TokenReader keeps keys and values. `growing`: in memory that grows with the text. `fixed`: in
/// memory for all that is to be read, so that each step has the shapes and addresses of the one before.
/// `recorded`: so, and from the second step on a CUDA graph is replayed. All give the same but for rounding.
enum class Reading { growing, fixed, recorded };

/// The fastest one for `tokens` tokens on a device: recording takes about as long as a few steps.
inline Reading fastest_reading(c10::Device device, std::int64_t tokens) {
  constexpr std::int64_t kWorthRecording = 4;
  if (device.is_cpu()) return Reading::fixed;
  return kHasCudaGraphs && tokens >= kWorthRecording ? Reading::recorded : Reading::growing;
}

namespace detail {

// Of the last position's output.
template <class Model>
Tensor last_logits(const Model& model, const Tensor& hidden) {
  return model.logits(hidden.select(1, hidden.size(1) - 1));
}

}  // namespace detail

/// A model and what it has read.
template <class Model>
class TokenReader {
 public:
  /// Goes on behind `cache`, which is the reader's from now on, for at most `tokens` steps. `attention_mask`
  /// [batch, read] or undefined.
  TokenReader(const Model& model, VlmCache& cache, Tensor attention_mask, std::int64_t tokens,
              Reading reading)
      : model_(model), cache_(cache), mask_(std::move(attention_mask)), reading_(reading) {
    if (reading_ == Reading::growing) return;
    cache_.text = cache_.text.with_room(tokens);
    if (mask_.defined()) mask_ = with_columns(tokens);
    media_seen_ = cache_.media_seen.contiguous().clone();
    cache_.media_seen = media_seen_;
    ids_ = at::empty(media_seen_.sizes(), media_seen_.options());
  }

  /// Reads ids int64 [batch, 1]; the logits [batch, vocabulary] of what follows, which the next call may
  /// overwrite.
  const Tensor& read(const Tensor& ids) {
    at::NoGradGuard no_grad;
    if (reading_ == Reading::growing) {
      if (mask_.defined()) mask_ = with_columns(1);
      logits_ =
          detail::last_logits(model_, model_.hidden({.ids = ids, .attention_mask = mask_}, {}, &cache_));
      return logits_;
    }
    const c10::DeviceGuard guard(ids_.device());
    ids_.copy_(ids);
    if (graph_.is_recorded()) {
      graph_.replay();
    } else if (reading_ == Reading::recorded && steps_ > 0) {
      graph_.record([&] { step(); });
      graph_.replay();
    } else {
      step();
    }
    ++steps_;
    return logits_;
  }

  /// Beams change places: row i goes on from what row rows[i] (int64) has read, of which the first `same`
  /// positions were alike.
  void reorder(const Tensor& rows, std::int64_t same = 0) {
    cache_.reorder_text(rows, same);
    if (reading_ != Reading::growing) keep_media_seen();
  }

 private:
  Tensor with_columns(std::int64_t more) const {
    return at::cat({mask_, at::ones({mask_.size(0), more}, mask_.options())}, 1);
  }

  void step() {
    logits_ = detail::last_logits(model_, model_.hidden({.ids = ids_, .attention_mask = mask_}, {}, &cache_));
    keep_media_seen();
    cache_.text.place.add_(1);
  }

  // Where a graph reads it.
  void keep_media_seen() {
    media_seen_.copy_(cache_.media_seen);
    cache_.media_seen = media_seen_;
  }

  const Model& model_;
  VlmCache& cache_;
  Tensor mask_;
  Reading reading_;
  Tensor ids_ = {}, media_seen_ = {}, logits_ = {};
  CudaGraph graph_ = {};
  std::int64_t steps_ = 0;
};

}  // namespace morphvlm
