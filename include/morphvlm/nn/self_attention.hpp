// Causal self-attention with rotary positions and grouped queries, and what other decoders share with it.
#pragma once

#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/rope.hpp"

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
  Tensor mask = {};       ///< bool, see causal_mask, or floating, added to the scores (ALiBi)
  RopeTable rope = {};    ///< of models with rotary positions
  Tensor positions = {};  ///< int64 [batch or 1, time], see token_positions
};

/// Attention of new queries q [batch, heads, time, d] over what the cache holds and the new keys and values,
/// by which the cache is extended; heads joined: [batch, time, heads * d].
inline Tensor attend_causal(const Tensor& q, Tensor k, Tensor v, const DecoderContext& context,
                            LayerCache* cache) {
  if (cache) {
    cache->append(k, v);
    k = cache->k;
    v = cache->v;
  }
  return join_heads(attend(q, k, v, context.mask));
}

/// HF equivalent: `LlamaAttention`. Field names are its checkpoint keys.
template <AdapterPolicy P = NoAdapter>
struct SelfAttention {
  /// A projection that may be adapted.
  using Proj = Linear<On<P, SelfAttn>>;
  Proj q_proj = {};           ///< [heads * head_dim, dim]
  Proj k_proj = {};           ///< [kv_heads * head_dim, dim]
  Proj v_proj = {};           ///< [kv_heads * head_dim, dim]
  Proj o_proj = {};           ///< [dim, heads * head_dim]
  std::int64_t heads = 0;     ///< of the queries
  std::int64_t kv_heads = 0;  ///< of keys and values

  /// x [batch, time, dim] -> [batch, time, dim]. With a cache, attends to what it holds and extends it.
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache = nullptr) const {
    const Tensor q = apply_rope(split_heads(q_proj(x), heads), context.rope);
    const Tensor k = apply_rope(split_heads(k_proj(x), kv_heads), context.rope);
    return o_proj(attend_causal(q, k, split_heads(v_proj(x), kv_heads), context, cache));
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
};

}  // namespace morphvlm
