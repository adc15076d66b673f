// Who may attend to whom in a decoder, and at which position each token stands.
#pragma once

#include <ATen/ops/arange.h>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Positions of the last `time` tokens, int64 [batch or 1, time]. `attention_mask` (1 = token, 0 = padding)
/// is undefined or [batch, past + time]; with it, positions count real tokens only, so that left padding does
/// not move a text (HF's generate).
inline Tensor token_positions(std::int64_t past, std::int64_t time, const Tensor& attention_mask,
                              const at::Device& device) {
  if (!attention_mask.defined()) {
    return at::arange(past, past + time, TensorOptions(at::kLong).device(device)).unsqueeze(0);
  }
  expect(attention_mask.size(-1) == past + time, "attention mask: expected ", past + time,
         " columns (cache and new tokens), found ", attention_mask.size(-1));
  return attention_mask.to(at::kLong).cumsum(-1).sub(1).clamp_min(0).slice(1, past);
}

/// The position of a token that goes to `place` (int64 [1]) of a cache of fixed length, int64 [batch or 1,
/// 1]. `attention_mask` is undefined or covers the cache's whole length.
inline Tensor token_positions(const Tensor& place, const Tensor& attention_mask) {
  if (!attention_mask.defined()) return place.unsqueeze(0);
  return attention_mask.to(at::kLong).cumsum(-1).sub(1).index_select(1, place);
}

/// Whom such a token attends to: bool [batch or 1, 1, 1, length], true up to itself but for padding.
inline Tensor causal_mask(const Tensor& place, std::int64_t length, const Tensor& attention_mask) {
  Tensor seen = at::arange(length, place.options()).le(place).view({1, 1, 1, length});
  if (!attention_mask.defined()) return seen;
  return seen.logical_and(attention_mask.to(at::kBool).unsqueeze(1).unsqueeze(1));
}

/// bool [batch or 1, 1, time, past + time], true where the query may attend: keys not after it and not
/// padding. A padding query attends to itself, so that no row is empty. Undefined when one token sees all.
inline Tensor causal_mask(std::int64_t past, std::int64_t time, const Tensor& attention_mask,
                          const at::Device& device) {
  if (time == 1 && !attention_mask.defined()) return {};
  const auto options = TensorOptions(at::kLong).device(device);
  const Tensor query = at::arange(past, past + time, options).unsqueeze(-1);
  const Tensor key = at::arange(past + time, options).unsqueeze(0);
  Tensor mask = key.le(query).unsqueeze(0).unsqueeze(0);
  if (!attention_mask.defined()) return mask;
  const Tensor real = attention_mask.to(at::kBool).unsqueeze(1).unsqueeze(1);
  return mask.logical_and(real).logical_or(key.eq(query));
}

}  // namespace morphvlm
