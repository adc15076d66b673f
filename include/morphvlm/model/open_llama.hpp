// LLaMA-architecture decoders (Touvron et al. 2023): OpenLLaMA, LLaMA, SmolLM2, ... Field names are the keys
// of HF checkpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/recompute.hpp"
#include "morphvlm/model/llama_decode.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm {

/// Sizes of a LLaMA-architecture model, by HF's names. Defaults: OpenLLaMA-3B.
struct LlamaConfig {
  std::int64_t vocab_size = 32000;                       ///< rows of the embedding
  std::int64_t hidden_size = 3200;                       ///< width of a token
  std::int64_t intermediate_size = 8640;                 ///< width inside of the feed-forward
  std::int64_t num_hidden_layers = 26;                   ///< decoder layers
  std::int64_t num_attention_heads = 32;                 ///< of the queries
  std::optional<std::int64_t> num_key_value_heads = {};  ///< default: as many as query heads
  std::optional<std::int64_t> head_dim = {};             ///< default: hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 2048;           ///< longest text it was trained for
  double rms_norm_eps = 1e-6;                            ///< of every RMSNorm
  double rope_theta = 10000;                             ///< of the rotary positions' wavelengths
  bool tie_word_embeddings = false;                      ///< the embedding is the head too

  /// The attention's sizes with the defaults filled in.
  SelfAttentionConfig attention() const {
    return {.dim = hidden_size,
            .heads = num_attention_heads,
            .kv_heads = num_key_value_heads.value_or(num_attention_heads),
            .head_dim = head_dim.value_or(hidden_size / num_attention_heads)};
  }
};

/// HF equivalent: `LlamaDecoderLayer`.
template <AdapterPolicy P>
struct LlamaLayer {
  SelfAttention<P> self_attn = {};        ///< over the text so far
  SwiGlu<P> mlp = {};                     ///< dim -> intermediate_size -> dim
  RMSNorm input_layernorm = {};           ///< before the attention
  RMSNorm post_attention_layernorm = {};  ///< before the feed-forward

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    if constexpr (detail::GemvProjection<typename SelfAttention<P>::Proj> &&
                  detail::GemvProjection<typename SwiGlu<P>::Proj>) {
      if (detail::has_decode_layer(*this, x, context, cache))
        return detail::decode_layer(*this, x, context, *cache);
    }
    const Tensor y = x.add(self_attn(input_layernorm(x), context, cache));
    const auto feed_forward = [this](const Tensor& h) { return mlp(post_attention_layernorm(h)); };
    return y.add(
        recomputed_if(context.recompute_feed_forward, y, feed_forward, post_attention_layernorm, mlp));
  }

  /// Random parameters of these sizes.
  static LlamaLayer init(const LlamaConfig& c, const Init& init, const typename P::Config& adapter) {
    return {.self_attn = SelfAttention<P>::init(c.attention(), init, adapter),
            .mlp = SwiGlu<P>::init(c.hidden_size, c.intermediate_size, init, adapter),
            .input_layernorm = RMSNorm::init(c.hidden_size, init, c.rms_norm_eps),
            .post_attention_layernorm = RMSNorm::init(c.hidden_size, init, c.rms_norm_eps)};
  }
};

/// Everything below the head, a level of its own because the checkpoint's keys have it.
template <AdapterPolicy P>
struct LlamaTrunk {
  Embedding embed_tokens = {};             ///< [vocab_size, dim]
  std::vector<LlamaLayer<P>> layers = {};  ///< in order
  RMSNorm norm = {};                       ///< after the last layer
};

/// HF equivalent: `LlamaForCausalLM`.
template <AdapterPolicy P>
struct Llama {
  LlamaTrunk<P> model = {};  ///< all but the head
  Linear<> lm_head = {};     ///< no weight where the head is tied to the embedding
  LlamaConfig config = {};   ///< its sizes

  /// Mask, positions and rotary table for new tokens ids [batch, time] behind what `cache` holds.
  /// `attention_mask` covers cache and new tokens and may be undefined.
  DecoderContext context(const Tensor& ids, const Tensor& attention_mask, const KvCache* cache) const {
    DecoderContext context = decoder_context(ids, attention_mask, cache);
    context.mask = score_bias(context.mask, model.embed_tokens.weight);
    context.rope = rope_table(context.positions, config.attention().head_dim, config.rope_theta,
                              model.embed_tokens.weight.scalar_type());
    return context;
  }

  /// ids int64 [batch, time] -> [batch, time, dim]
  Tensor embed(const Tensor& ids, const DecoderContext&) const { return model.embed_tokens(ids); }

  /// Runs layers [first, last) on x; before each, x = before_layer(i, x). The cache, if any, is extended.
  template <class Hook>
  Tensor layers(Tensor x, const DecoderContext& context, KvCache* cache, Hook&& before_layer,
                std::int64_t first, std::int64_t last) const {
    return run_layers(model.layers, std::move(x), context, cache, before_layer, first, last);
  }

  /// What the head reads: the last layer's output, normed. [..., dim] -> the same
  Tensor normed(const Tensor& x) const { return model.norm(x); }

  /// The vocabulary head [vocabulary, dim].
  const Tensor& head() const { return lm_head.weight.defined() ? lm_head.weight : model.embed_tokens.weight; }

  /// The last layer's output [..., dim] -> next-token logits [..., vocabulary], or [..., n] for the n tokens
  /// of `tokens` (int64) alone.
  Tensor logits(const Tensor& x, const Tensor& tokens = {}) const {
    return head_logits(normed(x), head(), tokens);
  }

  /// The tables with a row for each token: embedding, and the head if it is untied.
  std::vector<Tensor*> token_tables() {
    if (!lm_head.weight.defined()) return {&model.embed_tokens.weight};
    return {&model.embed_tokens.weight, &lm_head.weight};
  }

  /// Random parameters of these sizes.
  static Llama init(const LlamaConfig& c, const Init& init, const typename P::Config& adapter = {}) {
    Llama m{.model = {.embed_tokens = Embedding::init(c.vocab_size, c.hidden_size, init),
                      .norm = RMSNorm::init(c.hidden_size, init, c.rms_norm_eps)},
            .config = c};
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      m.model.layers.push_back(LlamaLayer<P>::init(c, init, adapter));
    if (!c.tie_word_embeddings) m.lm_head = Linear<>::init(c.hidden_size, c.vocab_size, false, init);
    return m;
  }
};

/// LLaMA-architecture models as a language model.
struct OpenLLaMA {
  /// The sizes.
  using Config = LlamaConfig;
  /// The parameters, adapted as P says.
  template <AdapterPolicy P>
  using Module = Llama<P>;
  /// Where OpenFlamingo hangs its gated blocks: the path of the list of layers.
  static constexpr std::string_view layers_path = "model.layers";
  /// Width of a token.
  static std::int64_t hidden_dim(const Config& c) { return c.hidden_size; }
  /// Decoder layers.
  static std::int64_t layer_count(const Config& c) { return c.num_hidden_layers; }
};

}  // namespace morphvlm
