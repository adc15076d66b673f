// GPT-NeoX decoders (Black et al. 2022): GPT-NeoX-20B, Pythia, RedPajama-INCITE. Field names are the keys of
// HF checkpoints.
#pragma once

#include <ATen/ops/gelu.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/recompute.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm {

/// Sizes of a GPT-NeoX, by HF's names. Defaults: RedPajama-INCITE-3B.
struct GPTNeoXConfig {
  std::int64_t vocab_size = 50432;              ///< rows of the embedding
  std::int64_t hidden_size = 2560;              ///< width of a token
  std::int64_t num_hidden_layers = 32;          ///< decoder layers
  std::int64_t num_attention_heads = 32;        ///< divides hidden_size
  std::int64_t intermediate_size = 10240;       ///< width inside of the feed-forward
  std::int64_t max_position_embeddings = 2048;  ///< longest text it was trained for
  double rotary_pct = 1.0;                      ///< share of a head's dimensions that is rotated
  double rotary_emb_base = 10000;               ///< of the rotary positions' wavelengths
  double layer_norm_eps = 1e-5;                 ///< of every LayerNorm
  bool use_parallel_residual = false;           ///< attention and feed-forward read the same x
  bool tie_word_embeddings = false;             ///< the embedding is the head too

  /// Rotated dimensions of a head.
  std::int64_t rotary_dim() const {
    const auto head_dim = hidden_size / num_attention_heads;
    return static_cast<std::int64_t>(static_cast<double>(head_dim) * rotary_pct);
  }
};

/// HF equivalent: `GPTNeoXAttention`; q, k, v of one head lie together in the fused projection.
template <AdapterPolicy P>
struct GPTNeoXAttention {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, SelfAttn>>;
  Proj query_key_value = {};  ///< [3 dim, dim], with bias; head by head
  Proj dense = {};            ///< [dim, dim], with bias
  std::int64_t heads = 0;     ///< that the width is split into

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const auto qkv = split_heads(query_key_value(x), heads).chunk(3, -1);
    return dense(attend_causal(apply_rope(qkv[0], context.rope), apply_rope(qkv[1], context.rope), qkv[2],
                               context, cache));
  }
};

/// HF equivalent: `GPTNeoXMLP`, exact GELU.
template <AdapterPolicy P>
struct GPTNeoXMlp {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, Mlp>>;
  Proj dense_h_to_4h = {};  ///< [intermediate_size, dim], with bias
  Proj dense_4h_to_h = {};  ///< [dim, intermediate_size], with bias

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const { return dense_4h_to_h(at::gelu(dense_h_to_4h(x))); }
};

/// HF equivalent: `GPTNeoXLayer`.
template <AdapterPolicy P>
struct GPTNeoXLayer {
  LayerNorm input_layernorm = {};           ///< before the attention
  LayerNorm post_attention_layernorm = {};  ///< before the feed-forward
  GPTNeoXAttention<P> attention = {};       ///< over the text so far
  GPTNeoXMlp<P> mlp = {};                   ///< dim -> intermediate_size -> dim
  bool parallel = false;                    ///< use_parallel_residual

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const Tensor y = x.add(attention(input_layernorm(x), context, cache));
    const auto feed_forward = [this](const Tensor& h) { return mlp(post_attention_layernorm(h)); };
    return y.add(recomputed_if(context.recompute_feed_forward, parallel ? x : y, feed_forward,
                               post_attention_layernorm, mlp));
  }

  /// Random parameters of these sizes.
  static GPTNeoXLayer init(const GPTNeoXConfig& c, const Init& init, const typename P::Config& adapter) {
    const auto d = c.hidden_size;
    using Attention = typename GPTNeoXAttention<P>::Proj;
    using Up = typename GPTNeoXMlp<P>::Proj;
    return {.input_layernorm = LayerNorm::init(d, init, c.layer_norm_eps),
            .post_attention_layernorm = LayerNorm::init(d, init, c.layer_norm_eps),
            .attention = {.query_key_value = Attention::init(d, 3 * d, true, init, adapter),
                          .dense = Attention::init(d, d, true, init, adapter),
                          .heads = c.num_attention_heads},
            .mlp = {.dense_h_to_4h = Up::init(d, c.intermediate_size, true, init, adapter),
                    .dense_4h_to_h = Up::init(c.intermediate_size, d, true, init, adapter)},
            .parallel = c.use_parallel_residual};
  }
};

/// Everything below the head, a level of its own because the checkpoint's keys have it.
template <AdapterPolicy P>
struct GPTNeoXTrunk {
  Embedding embed_in = {};                   ///< [vocab_size, dim]
  std::vector<GPTNeoXLayer<P>> layers = {};  ///< in order
  LayerNorm final_layer_norm = {};           ///< after the last layer
};

/// HF equivalent: `GPTNeoXForCausalLM`.
template <AdapterPolicy P>
struct GPTNeoXModel {
  GPTNeoXTrunk<P> gpt_neox = {};  ///< all but the head
  Linear<> embed_out = {};        ///< no weight where the head is tied to the embedding
  GPTNeoXConfig config = {};      ///< its sizes

  /// Mask, positions and rotary table for new tokens ids [batch, time] behind what `cache` holds.
  /// `attention_mask` covers cache and new tokens and may be undefined.
  DecoderContext context(const Tensor& ids, const Tensor& attention_mask, const KvCache* cache) const {
    DecoderContext context = decoder_context(ids, attention_mask, cache);
    context.mask = score_bias(context.mask, gpt_neox.embed_in.weight);
    context.rope = rope_table(context.positions, config.rotary_dim(), config.rotary_emb_base,
                              gpt_neox.embed_in.weight.scalar_type());
    return context;
  }

  /// ids int64 [batch, time] -> [batch, time, dim]
  Tensor embed(const Tensor& ids, const DecoderContext&) const { return gpt_neox.embed_in(ids); }

  /// Runs layers [first, last) on x; before each, x = before_layer(i, x). The cache, if any, is extended.
  template <class Hook>
  Tensor layers(Tensor x, const DecoderContext& context, KvCache* cache, Hook&& before_layer,
                std::int64_t first, std::int64_t last) const {
    return run_layers(gpt_neox.layers, std::move(x), context, cache, before_layer, first, last);
  }

  /// What the head reads: the last layer's output, normed. [..., dim] -> the same
  Tensor normed(const Tensor& x) const { return gpt_neox.final_layer_norm(x); }

  /// The vocabulary head [vocabulary, dim].
  const Tensor& head() const {
    return embed_out.weight.defined() ? embed_out.weight : gpt_neox.embed_in.weight;
  }

  /// The last layer's output [..., dim] -> next-token logits [..., vocabulary], or [..., n] for the n tokens
  /// of `tokens` (int64) alone.
  Tensor logits(const Tensor& x, const Tensor& tokens = {}) const {
    return head_logits(normed(x), head(), tokens);
  }

  /// The tables with a row for each token: embedding, and the head if it is untied.
  std::vector<Tensor*> token_tables() {
    if (!embed_out.weight.defined()) return {&gpt_neox.embed_in.weight};
    return {&gpt_neox.embed_in.weight, &embed_out.weight};
  }

  /// Random parameters of these sizes.
  static GPTNeoXModel init(const GPTNeoXConfig& c, const Init& init, const typename P::Config& adapter = {}) {
    expect(c.num_attention_heads > 0 && c.hidden_size % c.num_attention_heads == 0 && c.rotary_dim() % 2 == 0,
           "GPT-NeoX: ", c.num_attention_heads, " heads over width ", c.hidden_size, ", ", c.rotary_dim(),
           " dimensions rotated: heads must divide the width, and an even number be rotated");
    GPTNeoXModel m{.gpt_neox = {.embed_in = Embedding::init(c.vocab_size, c.hidden_size, init),
                                .final_layer_norm = LayerNorm::init(c.hidden_size, init, c.layer_norm_eps)},
                   .config = c};
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      m.gpt_neox.layers.push_back(GPTNeoXLayer<P>::init(c, init, adapter));
    if (!c.tie_word_embeddings) m.embed_out = Linear<>::init(c.hidden_size, c.vocab_size, false, init);
    return m;
  }
};

/// GPT-NeoX as a language model.
struct GPTNeoX {
  /// The sizes.
  using Config = GPTNeoXConfig;
  /// The parameters, adapted as P says.
  template <AdapterPolicy P>
  using Module = GPTNeoXModel<P>;
  /// Where OpenFlamingo hangs its gated blocks: the path of the list of layers.
  static constexpr std::string_view layers_path = "gpt_neox.layers";
  /// Width of a token.
  static std::int64_t hidden_dim(const Config& c) { return c.hidden_size; }
  /// Decoder layers.
  static std::int64_t layer_count(const Config& c) { return c.num_hidden_layers; }
};

}  // namespace morphvlm
