// Choosing one next token a row: the likeliest, or a draw from what is left of the distribution.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/vlm/generate_config.hpp"

namespace morphvlm {

namespace detail {
inline constexpr double kForbidden = -std::numeric_limits<double>::infinity();
}

/// Which of `tokens` (int64 [...]) end a row: bool of the same shape.
inline Tensor ends_row(const Tensor& tokens, const GenerateConfig& c) {
  Tensor ended = at::zeros(tokens.sizes(), tokens.options().dtype(at::kBool));
  for (const auto id : c.eos_ids()) ended = ended.logical_or(tokens.eq(id));
  return ended;
}

/// scores [n, vocabulary] with what ends a row forbidden while fewer than min_new_tokens were chosen before
/// (`step`). transformers equivalent: MinNewTokensLengthLogitsProcessor.
inline Tensor hold_back_eos(const Tensor& scores, const GenerateConfig& c, std::int64_t step) {
  if (c.eos_ids().empty() || step >= c.min_new_tokens) return scores;
  Tensor allowed = scores.clone();
  // One by one: a list of them would have to be copied to a device, which waits for it.
  for (const auto id : c.eos_ids()) allowed.select(-1, id).fill_(detail::kForbidden);
  return allowed;
}

/// logits [n, vocabulary] -> those that sampling draws from, the others -inf: temperature, then top_k (ties
/// with the k-th stay), then top_p (at least one stays). transformers equivalents: TemperatureLogitsWarper,
/// TopKLogitsWarper, TopPLogitsWarper, in its order.
inline Tensor warp_logits(Tensor logits, const GenerateConfig& c) {
  if (c.temperature != 1.0) logits = logits.div(c.temperature);
  if (c.top_k > 0) {
    const auto k = std::min(c.top_k, logits.size(-1));
    const Tensor kth = std::get<0>(at::topk(logits, k)).slice(-1, k - 1);
    logits = logits.masked_fill(logits.lt(kth), detail::kForbidden);
  }
  if (c.top_p < 1.0) {
    const auto [sorted, order] = at::sort(logits, -1, false);
    Tensor cut = at::softmax(sorted, -1).cumsum(-1).le(1 - c.top_p);
    cut.slice(-1, cut.size(-1) - 1).fill_(false);
    logits = logits.masked_fill(at::empty_like(cut).scatter_(-1, order, cut), detail::kForbidden);
  }
  return logits;
}

/// Draws one token a row from logits [n, vocabulary] (-inf: never): int64 [n]. `step` is how many were drawn
/// before.
inline Tensor draw(const Tensor& logits, const GenerateConfig& c, std::int64_t step) {
  const Tensor cumulative = at::softmax(logits.to(at::kCPU, at::kDouble), -1).cumsum(-1);
  expect(cumulative.isfinite().all().item<bool>(), "generate: the logits are NaN, or forbid every token");
  expect(c.streams.empty() || std::ssize(c.streams) == logits.size(0), "generate: streams: expected ",
         logits.size(0), " numbers, found ", c.streams.size());
  Tensor point = at::empty({logits.size(0), 1}, at::kDouble);
  for (std::int64_t row = 0; row < logits.size(0); ++row) {
    const auto number = c.streams.empty() ? row : c.streams[static_cast<std::size_t>(row)];
    const auto stream =
        split_mix(static_cast<std::uint64_t>(c.seed)) ^ split_mix(static_cast<std::uint64_t>(number) + 1);
    const auto bits = CounterRng{stream, static_cast<std::uint64_t>(step)}.next() >> 11;
    point.mutable_data_ptr<double>()[row] = static_cast<double>(bits) * 0x1p-53;
  }
  // Scaled by what the sum came to, so that rounding cannot point past the last token.
  const Tensor total = cumulative.slice(-1, cumulative.size(-1) - 1);
  const Tensor token = at::searchsorted(cumulative, point.mul(total), false, /*right=*/true);
  return token.squeeze(-1).clamp_max(logits.size(-1) - 1).to(logits.device());
}

/// The next token of each row from logits [n, vocabulary]: int64 [n].
inline Tensor choose_token(const Tensor& logits, const GenerateConfig& c, std::int64_t step) {
  const Tensor scores = hold_back_eos(logits, c, step);
  return c.do_sample ? draw(warp_logits(scores.to(at::kFloat), c), c, step) : scores.argmax(-1);
}

}  // namespace morphvlm
