// BioGPT decoders (Luo et al. 2022): learned positions, scaled embeddings, biased projections. Field names
// are the keys of HF checkpoints; the tied `output_projection.weight` is not stored twice. Dropout is not
// applied.
#pragma once

#include <ATen/ops/gelu.h>

#include <cmath>
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

/// Sizes of a BioGPT, by HF's names. Defaults: BioGPT-Large. Its config.json says layer_norm_eps 1e-12, which
/// HF's model ignores; so does this one (1e-5).
struct BioGPTConfig {
  std::int64_t vocab_size = 57717;              ///< rows of the embedding
  std::int64_t hidden_size = 1600;              ///< width of a token
  std::int64_t num_hidden_layers = 48;          ///< decoder layers
  std::int64_t num_attention_heads = 25;        ///< divides hidden_size
  std::int64_t intermediate_size = 6400;        ///< width inside of the feed-forward
  std::int64_t max_position_embeddings = 2048;  ///< longest text; positions are learned
  bool scale_embedding = true;                  ///< by sqrt(hidden_size)
};

/// HF equivalent: `BioGptAttention`.
template <AdapterPolicy P>
struct BioGPTAttention {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, SelfAttn>>;
  Proj k_proj = {};        ///< [dim, dim], with bias
  Proj v_proj = {};        ///< [dim, dim], with bias
  Proj q_proj = {};        ///< [dim, dim], with bias
  Proj out_proj = {};      ///< [dim, dim], with bias
  std::int64_t heads = 0;  ///< that the width is split into

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const auto head = [&](const Proj& proj) { return split_heads(proj(x), heads); };
    return out_proj(attend_causal(head(q_proj), head(k_proj), head(v_proj), context, cache));
  }
};

/// HF equivalent: `BioGptDecoderLayer`; exact GELU.
template <AdapterPolicy P>
struct BioGPTLayer {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, Mlp>>;
  BioGPTAttention<P> self_attn = {};    ///< over the text so far
  LayerNorm self_attn_layer_norm = {};  ///< before the attention
  Proj fc1 = {};                        ///< [intermediate_size, dim], with bias
  Proj fc2 = {};                        ///< [dim, intermediate_size], with bias
  LayerNorm final_layer_norm = {};      ///< before the feed-forward

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const Tensor y = x.add(self_attn(self_attn_layer_norm(x), context, cache));
    const auto feed_forward = [this](const Tensor& h) { return fc2(at::gelu(fc1(final_layer_norm(h)))); };
    return y.add(recomputed_if(context.recompute_feed_forward, y, feed_forward, final_layer_norm, fc1, fc2));
  }

  /// Random parameters of these sizes.
  static BioGPTLayer init(const BioGPTConfig& c, const Init& init, const typename P::Config& adapter) {
    const auto d = c.hidden_size;
    const auto attention = [&] { return BioGPTAttention<P>::Proj::init(d, d, true, init, adapter); };
    return {.self_attn = {.k_proj = attention(),
                          .v_proj = attention(),
                          .q_proj = attention(),
                          .out_proj = attention(),
                          .heads = c.num_attention_heads},
            .self_attn_layer_norm = LayerNorm::init(d, init),
            .fc1 = Proj::init(d, c.intermediate_size, true, init, adapter),
            .fc2 = Proj::init(c.intermediate_size, d, true, init, adapter),
            .final_layer_norm = LayerNorm::init(d, init)};
  }
};

/// Everything there is: the head is tied to the embedding.
template <AdapterPolicy P>
struct BioGPTTrunk {
  Embedding embed_tokens = {};              ///< [vocab_size, dim]; the head too
  Embedding embed_positions = {};           ///< [2 + max_position_embeddings, dim]: position p is row p + 2
  std::vector<BioGPTLayer<P>> layers = {};  ///< in order
  LayerNorm layer_norm = {};                ///< after the last layer
};

/// HF equivalent: `BioGptForCausalLM`.
template <AdapterPolicy P>
struct BioGPTModel {
  /// Rows of the position table that HF leaves unused at its beginning.
  static constexpr std::int64_t position_offset = 2;
  BioGPTTrunk<P> biogpt = {};  ///< all but the head
  BioGPTConfig config = {};    ///< its sizes

  /// Mask and positions for new tokens ids [batch, time] behind what `cache` holds. `attention_mask` covers
  /// cache and new tokens and may be undefined. Padding stands at -1, as in HF's model. Error: more positions
  /// than the model has.
  DecoderContext context(const Tensor& ids, const Tensor& attention_mask, const KvCache* cache) const {
    DecoderContext context = decoder_context(ids, attention_mask, cache);
    const auto past = cache ? cache->length() : 0, end = context.place.defined() ? past : past + ids.size(1);
    expect(end <= config.max_position_embeddings, "BioGPT: expected at most ", config.max_position_embeddings,
           " positions, found ", end);
    context.mask = score_bias(context.mask, biogpt.embed_tokens.weight);
    // What goes into a cache of fixed length is no padding.
    if (attention_mask.defined() && !context.place.defined())
      context.positions = context.positions.masked_fill(attention_mask.slice(1, past).eq(0), -1);
    return context;
  }

  /// ids int64 [batch, time] -> [batch, time, dim], positions included
  Tensor embed(const Tensor& ids, const DecoderContext& context) const {
    const Tensor words = biogpt.embed_tokens(ids);
    const double scale = config.scale_embedding ? std::sqrt(static_cast<double>(config.hidden_size)) : 1.0;
    return words.mul(scale).add(biogpt.embed_positions(context.positions.add(position_offset)));
  }

  /// Runs layers [first, last) on x; before each, x = before_layer(i, x). The cache, if any, is extended.
  template <class Hook>
  Tensor layers(Tensor x, const DecoderContext& context, KvCache* cache, Hook&& before_layer,
                std::int64_t first, std::int64_t last) const {
    return run_layers(biogpt.layers, std::move(x), context, cache, before_layer, first, last);
  }

  /// What the head reads: the last layer's output, normed. [..., dim] -> the same
  Tensor normed(const Tensor& x) const { return biogpt.layer_norm(x); }

  /// The vocabulary head [vocabulary, dim].
  const Tensor& head() const { return biogpt.embed_tokens.weight; }

  /// The last layer's output [..., dim] -> next-token logits [..., vocabulary], or [..., n] for the n tokens
  /// of `tokens` (int64) alone.
  Tensor logits(const Tensor& x, const Tensor& tokens = {}) const {
    return head_logits(normed(x), head(), tokens);
  }

  /// The tables with a row for each token.
  std::vector<Tensor*> token_tables() { return {&biogpt.embed_tokens.weight}; }

  /// Random parameters of these sizes.
  static BioGPTModel init(const BioGPTConfig& c, const Init& init, const typename P::Config& adapter = {}) {
    expect(c.num_attention_heads > 0 && c.hidden_size % c.num_attention_heads == 0,
           "BioGPT: ", c.num_attention_heads, " heads do not divide width ", c.hidden_size);
    BioGPTModel m{.biogpt = {.embed_tokens = Embedding::init(c.vocab_size, c.hidden_size, init),
                             .embed_positions = Embedding::init(c.max_position_embeddings + position_offset,
                                                                c.hidden_size, init),
                             .layer_norm = LayerNorm::init(c.hidden_size, init)},
                  .config = c};
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      m.biogpt.layers.push_back(BioGPTLayer<P>::init(c, init, adapter));
    return m;
  }
};

/// BioGPT as a language model.
struct BioGPT {
  /// The sizes.
  using Config = BioGPTConfig;
  /// The parameters, adapted as P says.
  template <AdapterPolicy P>
  using Module = BioGPTModel<P>;
  /// Where OpenFlamingo hangs its gated blocks: the path of the list of layers.
  static constexpr std::string_view layers_path = "biogpt.layers";
  /// Width of a token.
  static std::int64_t hidden_dim(const Config& c) { return c.hidden_size; }
  /// Decoder layers.
  static std::int64_t layer_count(const Config& c) { return c.num_hidden_layers; }
};

}  // namespace morphvlm
