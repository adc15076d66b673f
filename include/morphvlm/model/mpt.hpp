// MPT decoders (MosaicML 2023): ALiBi positions, no biases. Field names are the keys of MPT-1B-RedPajama's
// checkpoint; other MPT checkpoints name the same parts otherwise (io/keys.hpp).
#pragma once

#include <ATen/ops/gelu.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/recompute.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/nn/alibi.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm {

/// Sizes of an MPT, by MosaicML's names. Defaults: MPT-1B-RedPajama-200b.
struct MPTConfig {
  std::int64_t vocab_size = 50432;   ///< rows of the embedding
  std::int64_t d_model = 2048;       ///< width of a token
  std::int64_t n_layers = 24;        ///< blocks
  std::int64_t n_heads = 16;         ///< divides d_model
  std::int64_t mlp_ratio = 4;        ///< width inside of the feed-forward, in d_model
  std::int64_t max_seq_len = 2048;   ///< longest text it was trained for
  bool attn_qk_ln = true;            ///< LayerNorm over all of q and of k, before the heads are split
  double alibi_bias_max = 8;         ///< head i's slope is 2^(-alibi_bias_max * i / n_heads)
  double layer_norm_epsilon = 1e-5;  ///< of every LayerNorm
};

/// Self-attention with one fused projection: q, k, v.
template <AdapterPolicy P>
struct MPTAttention {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, SelfAttn>>;
  Proj Wqkv = {};          ///< [3 d_model, d_model], no bias
  Proj out_proj = {};      ///< [d_model, d_model], no bias
  LayerNorm q_ln = {};     ///< without weight: no normalisation
  LayerNorm k_ln = {};     ///< the same, of the keys
  std::int64_t heads = 0;  ///< that the width is split into

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const auto qkv = Wqkv(x).chunk(3, -1);
    const auto normed = [&](const LayerNorm& norm, const Tensor& t) {
      return split_heads(norm.weight.defined() ? norm(t) : t, heads);
    };
    return out_proj(attend_causal(normed(q_ln, qkv[0]), normed(k_ln, qkv[1]), split_heads(qkv[2], heads),
                                  context, cache));
  }

  /// Random parameters of these sizes.
  static MPTAttention init(const MPTConfig& c, const Init& init, const typename P::Config& adapter) {
    const auto norm = [&] {
      return c.attn_qk_ln ? LayerNorm::init(c.d_model, init, c.layer_norm_epsilon, false) : LayerNorm{};
    };
    return {.Wqkv = Proj::init(c.d_model, 3 * c.d_model, false, init, adapter),
            .out_proj = Proj::init(c.d_model, c.d_model, false, init, adapter),
            .q_ln = norm(),
            .k_ln = norm(),
            .heads = c.n_heads};
  }
};

/// mlp_down(gelu(mlp_up(x))).
template <AdapterPolicy P>
struct MPTMlp {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, Mlp>>;
  Proj mlp_up = {};    ///< [mlp_ratio * d_model, d_model], no bias
  Proj mlp_down = {};  ///< [d_model, mlp_ratio * d_model], no bias

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const { return mlp_down(at::gelu(mlp_up(x))); }

  /// Random parameters of these sizes.
  static MPTMlp init(std::int64_t dim, std::int64_t ratio, const Init& init,
                     const typename P::Config& adapter) {
    return {.mlp_up = Proj::init(dim, ratio * dim, false, init, adapter),
            .mlp_down = Proj::init(ratio * dim, dim, false, init, adapter)};
  }
};

/// HF equivalent: `MptBlock`.
template <AdapterPolicy P>
struct MPTBlock {
  LayerNorm ln_1 = {};        ///< before the attention; no bias
  MPTAttention<P> attn = {};  ///< over the text so far
  LayerNorm ln_2 = {};        ///< before the feed-forward; no bias
  MPTMlp<P> mlp = {};         ///< d_model -> mlp_ratio * d_model -> d_model

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const Tensor y = x.add(attn(ln_1(x), context, cache));
    const auto feed_forward = [this](const Tensor& h) { return mlp(ln_2(h)); };
    return y.add(recomputed_if(context.recompute_feed_forward, y, feed_forward, ln_2, mlp));
  }

  /// Random parameters of these sizes.
  static MPTBlock init(const MPTConfig& c, const Init& init, const typename P::Config& adapter) {
    return {.ln_1 = LayerNorm::init(c.d_model, init, c.layer_norm_epsilon, false),
            .attn = MPTAttention<P>::init(c, init, adapter),
            .ln_2 = LayerNorm::init(c.d_model, init, c.layer_norm_epsilon, false),
            .mlp = MPTMlp<P>::init(c.d_model, c.mlp_ratio, init, adapter)};
  }
};

/// Everything there is: the head is tied to the embedding.
template <AdapterPolicy P>
struct MPTTransformer {
  Embedding wte = {};                    ///< [vocab_size, d_model]; the head too
  std::vector<MPTBlock<P>> blocks = {};  ///< in order
  LayerNorm ln_f = {};                   ///< after the last block; no bias
};

/// HF equivalent: `MptForCausalLM`, plus the normalisation of q and k that it lacks.
template <AdapterPolicy P>
struct MPTModel {
  MPTTransformer<P> transformer = {};  ///< all there is
  MPTConfig config = {};               ///< its sizes

  /// The biased mask for new tokens ids [batch, time] behind what `cache` holds. `attention_mask` covers
  /// cache and new tokens and may be undefined.
  DecoderContext context(const Tensor& ids, const Tensor& attention_mask, const KvCache* cache) const {
    DecoderContext context = decoder_context(ids, attention_mask, cache);
    const auto past = cache ? cache->length() : 0, time = ids.size(1);
    const Tensor slopes = alibi_slopes(config.n_heads, config.alibi_bias_max, ids.device());
    if (context.place.defined()) {
      context.mask = alibi_mask(context.mask, context.place, past, slopes);
      return context;
    }
    const Tensor mask =
        context.is_causal ? causal_mask(past, time, attention_mask, ids.device()) : context.mask;
    context.mask = alibi_mask(mask, time, past + time, slopes);
    context.is_causal = false;
    return context;
  }

  /// ids int64 [batch, time] -> [batch, time, dim]
  Tensor embed(const Tensor& ids, const DecoderContext&) const { return transformer.wte(ids); }

  /// Runs layers [first, last) on x; before each, x = before_layer(i, x). The cache, if any, is extended.
  template <class Hook>
  Tensor layers(Tensor x, const DecoderContext& context, KvCache* cache, Hook&& before_layer,
                std::int64_t first, std::int64_t last) const {
    return run_layers(transformer.blocks, std::move(x), context, cache, before_layer, first, last);
  }

  /// What the head reads: the last layer's output, normed. [..., dim] -> the same
  Tensor normed(const Tensor& x) const { return transformer.ln_f(x); }

  /// The vocabulary head [vocabulary, dim].
  const Tensor& head() const { return transformer.wte.weight; }

  /// The last layer's output [..., dim] -> next-token logits [..., vocabulary], or [..., n] for the n tokens
  /// of `tokens` (int64) alone.
  Tensor logits(const Tensor& x, const Tensor& tokens = {}) const {
    return head_logits(normed(x), head(), tokens);
  }

  /// The tables with a row for each token.
  std::vector<Tensor*> token_tables() { return {&transformer.wte.weight}; }

  /// Random parameters of these sizes.
  static MPTModel init(const MPTConfig& c, const Init& init, const typename P::Config& adapter = {}) {
    expect(c.n_heads > 0 && c.d_model % c.n_heads == 0, "MPT: ", c.n_heads, " heads do not divide width ",
           c.d_model);
    MPTModel m{.transformer = {.wte = Embedding::init(c.vocab_size, c.d_model, init),
                               .ln_f = LayerNorm::init(c.d_model, init, c.layer_norm_epsilon, false)},
               .config = c};
    for (std::int64_t i = 0; i < c.n_layers; ++i)
      m.transformer.blocks.push_back(MPTBlock<P>::init(c, init, adapter));
    return m;
  }
};

/// MPT as a language model.
struct MPT {
  /// The sizes.
  using Config = MPTConfig;
  /// The parameters, adapted as P says.
  template <AdapterPolicy P>
  using Module = MPTModel<P>;
  /// Where OpenFlamingo hangs its gated blocks: the path of the list of layers.
  static constexpr std::string_view layers_path = "transformer.blocks";
  /// Width of a token.
  static std::int64_t hidden_dim(const Config& c) { return c.d_model; }
  /// Blocks.
  static std::int64_t layer_count(const Config& c) { return c.n_layers; }
};

}  // namespace morphvlm
