// Cross-attention from text to media: each token sees only the latest image before it.
#pragma once

#include <ATen/ops/arange.h>

#include <cstdint>

#include "morphvlm/kernels/cpu/decode_attention_kernels.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/norm.hpp"

namespace morphvlm {

/// Which media tokens each text token attends to.
struct MediaMask {
  Tensor attend = {};  ///< bool, or as score_bias makes it, [batch, 1, time, media * tokens]; rows of tokens
                       ///< without media attend to all
  Tensor seen = {};    ///< bool [batch, time, 1]: whether the token has media to attend to
};

/// OpenFlamingo's mask. text_time [batch, time] counts the media placeholders up to and including each token;
/// a token attends to the tokens of medium number text_time (from 1) and to nothing while it is 0.
inline MediaMask media_mask(const Tensor& text_time, std::int64_t media, std::int64_t tokens_per_medium) {
  const Tensor index = at::arange(1, media + 1, text_time.options());
  const Tensor equal = text_time.unsqueeze(-1).eq(index).repeat_interleave(tokens_per_medium, -1);
  const Tensor seen = equal.any(-1, true);
  // An empty row would make softmax divide by zero: it attends to everything, and `seen` zeroes the result.
  return {.attend = equal.logical_or(seen.logical_not()).unsqueeze(1), .seen = seen};
}

/// Keys and values of the media, which every decoding step of one block shares: [batch, heads, tokens, d].
struct MediaKeyValues {
  Tensor k = {};  ///< [batch, heads, media tokens, head_dim]
  Tensor v = {};  ///< the same
};

/// open_flamingo equivalent: `helpers.MaskedCrossAttention`. No biases but the norm's.
template <AdapterPolicy P = NoAdapter>
struct MaskedCrossAttention {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, CrossAttn>>;
  LayerNorm norm = {};     ///< of the text
  Proj to_q = {};          ///< [heads * head_dim, dim]
  Proj to_kv = {};         ///< [2 * heads * head_dim, media dim]: keys, then values
  Proj to_out = {};        ///< [dim, heads * head_dim]
  std::int64_t heads = 0;  ///< that projections are split into

  /// media [batch, tokens of all media, media dim] -> keys (first half of to_kv) and values.
  MediaKeyValues key_values(const Tensor& media) const {
    const auto kv = to_kv(media).chunk(2, -1);
    MediaKeyValues split{.k = split_heads(kv[0], heads), .v = split_heads(kv[1], heads)};
    // Many tokens will read them one after another.
    if (!at::GradMode::is_enabled()) return {.k = split.k.contiguous(), .v = split.v.contiguous()};
    return split;
  }

  /// x [batch, time, dim] -> [batch, time, dim]; zero for tokens that have seen no media.
  Tensor operator()(const Tensor& x, const MediaKeyValues& media, const MediaMask& mask) const {
    return to_out(attended(to_q(norm(x)), media, mask));
  }

  /// Queries [batch, time, heads * d] -> what they attend to, of the same shape, before to_out.
  Tensor attended(const Tensor& q, const MediaKeyValues& media, const MediaMask& mask) const {
    const bool is_one = has_decode_attention_kernel(q, media.k, media.v, mask.attend);
    const Tensor out = is_one ? decode_attention_over(q, media.k, media.v, media.k.size(2), mask.attend)
                              : join_heads(attend(split_heads(q, heads), media.k, media.v, mask.attend));
    return out.masked_fill(mask.seen.logical_not(), 0);
  }

  /// Random parameters for text of width `dim` and media of width `media_dim`.
  static MaskedCrossAttention init(std::int64_t dim, std::int64_t media_dim, std::int64_t heads,
                                   std::int64_t head_dim, const Init& init,
                                   const typename P::Config& adapter = {}) {
    const auto inner = heads * head_dim;
    return {.norm = LayerNorm::init(dim, init),
            .to_q = Proj::init(dim, inner, false, init, adapter),
            .to_kv = Proj::init(media_dim, inner * 2, false, init, adapter),
            .to_out = Proj::init(inner, dim, false, init, adapter),
            .heads = heads};
  }
};

}  // namespace morphvlm
