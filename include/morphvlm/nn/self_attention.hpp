// Causal self-attention with rotary positions and grouped queries, and what other decoders share with it.
#pragma once

#include <cstdint>
#include <optional>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/decode_attention.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/rope.hpp"
#include "morphvlm/nn/rotated_heads.hpp"

namespace morphvlm {

/// Sizes of a SelfAttention.
struct SelfAttentionConfig {
  std::int64_t dim = 0;       ///< width of a token
  std::int64_t heads = 0;     ///< of the queries
  std::int64_t kv_heads = 0;  ///< divides heads; fewer than heads is grouped-query attention
  std::int64_t head_dim = 0;  ///< width of a head
  bool bias = false;          ///< on all four projections
};

/// What the layers of one forward pass share.
struct DecoderContext {
  Tensor mask = {};        ///< bool, see causal_mask, or floating, added to the scores (ALiBi)
  RopeTable rope = {};     ///< of models with rotary positions
  Tensor positions = {};   ///< int64 [batch or 1, time], see token_positions
  bool is_causal = false;  ///< stands for a mask by which each token attends to those up to itself
  Tensor place = {};       ///< as KvCache's
  bool recompute_feed_forward = false;  ///< layers keep the input of their feed-forward alone, see Recompute
};

namespace detail {

// By hand, not by `expect`: decoding comes here for each token, and the message's text takes time.
inline void expect_text(const Tensor& ids, const Tensor& attention_mask, std::int64_t columns) {
  if (attention_mask.defined() && (attention_mask.dim() != 2 || attention_mask.size(0) != ids.size(0) ||
                                   attention_mask.size(1) != columns))
    fail("attention mask: expected [", ids.size(0), ", ", columns,
         "], a column for each token, those in the cache included, found ",
         to_string(attention_mask.sizes()));
}

}  // namespace detail

/// Mask and positions for new tokens ids [batch, time] behind what `cache` holds. `attention_mask` covers
/// cache and new tokens, of a cache of fixed length all there is room for, and may be undefined. The mask is
/// undefined where none is needed. Error: ids or a mask of another shape.
inline DecoderContext decoder_context(const Tensor& ids, const Tensor& attention_mask, const KvCache* cache) {
  if (ids.dim() != 2) fail("text: expected ids [batch, time], found ", to_string(ids.sizes()));
  const auto past = cache ? cache->length() : 0, time = ids.size(1);
  const bool is_fixed = cache && cache->place.defined();
  detail::expect_text(ids, attention_mask, is_fixed ? past : past + time);
  if (is_fixed) {
    return {.mask = causal_mask(cache->place, past, attention_mask),
            .positions = token_positions(cache->place, attention_mask),
            .place = cache->place};
  }
  // CUDA's kernels for this case skip what a mask would forbid, and need no memory for one.
  const bool is_causal =
      past == 0 && time > 1 && !attention_mask.defined() && detail::computes_like(ids, c10::kCUDA);
  return {.mask = is_causal ? Tensor{} : causal_mask(past, time, attention_mask, ids.device()),
          .positions = token_positions(past, time, attention_mask, ids.device()),
          .is_causal = is_causal};
}

/// Attention of new queries q [batch, heads, time, d] over what the cache holds and the new keys and values,
/// by which the cache is extended; heads joined: [batch, time, heads * d].
inline Tensor attend_causal(const Tensor& q, Tensor k, Tensor v, const DecoderContext& context,
                            LayerCache* cache) {
  const auto tokens = [](const Tensor& x) { return join_heads(x); };
  if (q.size(2) == 1 && q.is_cpu() &&
      has_decode_attention_on_cpu(tokens(q), context.place, context.mask, cache))
    return decode_attention_on_cpu(tokens(q), tokens(k), tokens(v), {}, context.place, context.mask, *cache);
  if (cache) {
    cache->append(k, v, context.place);
    k = cache->k;
    v = cache->v;
  }
  return join_heads(attend(q, k, v, context.mask, context.is_causal));
}

/// HF equivalent: `LlamaAttention`. Field names are its checkpoint keys.
template <AdapterPolicy P = NoAdapter>
struct SelfAttention {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, SelfAttn>>;
  Proj q_proj = {};           ///< [heads * head_dim, dim]
  Proj k_proj = {};           ///< [kv_heads * head_dim, dim]
  Proj v_proj = {};           ///< [kv_heads * head_dim, dim]
  Proj o_proj = {};           ///< [dim, heads * head_dim]
  std::int64_t heads = 0;     ///< of the queries
  std::int64_t kv_heads = 0;  ///< of keys and values

  /// x [batch, time, dim] -> [batch, time, dim]. With a cache, attends to what it holds and extends it.
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache = nullptr) const {
    const auto [q, k, v] = project(q_proj, k_proj, v_proj, x);
    if (has_decode_attention(q, context.rope, context.place, context.mask, cache))
      return o_proj(decode_attention(q, k, v, context.rope, context.place, context.mask, *cache));
    if (cache == nullptr && has_turned_heads(q, context.rope, q.size(-1) / heads))
      return o_proj(attend_turned(q, k, v, context));
    const Tensor turned_q = apply_rope(split_heads(q, heads), context.rope);
    const Tensor turned_k = apply_rope(split_heads(k, kv_heads), context.rope);
    return o_proj(attend_causal(turned_q, turned_k, split_heads(v, kv_heads), context, cache));
  }

  /// Random parameters of these sizes.
  static SelfAttention init(const SelfAttentionConfig& c, const Init& init,
                            const typename P::Config& adapter = {}) {
    expect(c.kv_heads > 0 && c.heads % c.kv_heads == 0, "self-attention: ", c.heads,
           " query heads cannot share ", c.kv_heads, " key/value heads evenly");
    const auto q_dim = c.heads * c.head_dim, kv_dim = c.kv_heads * c.head_dim;
    return {.q_proj = Proj::init(c.dim, q_dim, c.bias, init, adapter),
            .k_proj = Proj::init(c.dim, kv_dim, c.bias, init, adapter),
            .v_proj = Proj::init(c.dim, kv_dim, c.bias, init, adapter),
            .o_proj = Proj::init(q_dim, c.dim, c.bias, init, adapter),
            .heads = c.heads,
            .kv_heads = c.kv_heads};
  }

 private:
  Tensor attend_turned(const Tensor& q, const Tensor& k, const Tensor& v,
                       const DecoderContext& context) const {
    const auto dim = q.size(-1) / heads;
    const Tensor keys = detail::repeat_heads(split_turned(k, kv_heads, context.rope), heads),
                 values = detail::repeat_heads(split_turned(v, kv_heads, {}), heads);
    std::optional<Tensor> mask;
    if (context.mask.defined()) mask = context.mask;
    return join_turned(detail::attend_on_cuda(split_turned(q, heads, context.rope), keys, values, mask,
                                              context.is_causal, dim),
                       dim);
  }
};

}  // namespace morphvlm
