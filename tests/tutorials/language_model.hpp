// A made-up decoder language model of docs/tutorials/language_model.md: learned positions, one attention and
// one feed-forward a layer, a head tied to the embedding.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/model/roles.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/norm.hpp"

namespace tutorial {

using namespace morphvlm;

/// Sizes.
struct PocketConfig {
  std::int64_t vocab_size = 0, hidden_size = 0, layers = 0, heads = 0, positions = 0;

  SelfAttentionConfig attention() const {
    return {.dim = hidden_size, .heads = heads, .kv_heads = heads, .head_dim = hidden_size / heads};
  }
};

/// Attention with learned positions: no rotary table, so q and k go in as they are.
template <AdapterPolicy P>
struct PocketAttention {
  using Proj = Linear<AdapterAt<P, SelfAttn>>;
  Proj q = {}, k = {}, v = {}, out = {};
  std::int64_t heads = 0;

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    return out(attend_causal(split_heads(q(x), heads), split_heads(k(x), heads), split_heads(v(x), heads),
                             context, cache));
  }

  static PocketAttention init(const SelfAttentionConfig& c, const Init& init,
                              const typename P::Config& adapter) {
    const auto proj = [&] { return Proj::init(c.dim, c.dim, false, init, adapter); };
    return {.q = proj(), .k = proj(), .v = proj(), .out = proj(), .heads = c.heads};
  }
};

template <AdapterPolicy P>
struct PocketLayer {
  LayerNorm attn_norm = {}, mlp_norm = {};
  PocketAttention<P> attn = {};
  SwiGlu<P> mlp = {};

  /// x [batch, time, dim] -> the same
  Tensor operator()(const Tensor& x, const DecoderContext& context, LayerCache* cache) const {
    const Tensor y = x.add(attn(attn_norm(x), context, cache));
    return y.add(mlp(mlp_norm(y)));
  }
};

template <AdapterPolicy P>
struct PocketModule {
  Embedding tokens = {}, places = {};
  std::vector<PocketLayer<P>> blocks = {};
  LayerNorm norm = {};
  PocketConfig config = {};

  /// What the layers of one forward pass share. `mask` covers the cache and the new tokens.
  DecoderContext context(const Tensor& ids, const Tensor& mask, const KvCache* cache) const {
    const auto past = cache ? cache->length() : 0, time = ids.size(1);
    return {.mask = score_bias(causal_mask(past, time, mask, ids.device()), tokens.weight),
            .positions = token_positions(past, time, mask, ids.device())};
  }

  /// ids int64 [batch, time] -> [batch, time, dim]
  Tensor embed(const Tensor& ids, const DecoderContext& context) const {
    return tokens(ids).add(places(context.positions));
  }

  /// Runs layers [first, last) on x; before each, x = before_layer(i, x).
  template <class Hook>
  Tensor layers(Tensor x, const DecoderContext& context, KvCache* cache, Hook&& before_layer,
                std::int64_t first, std::int64_t last) const {
    return run_layers(blocks, std::move(x), context, cache, before_layer, first, last);
  }

  Tensor normed(const Tensor& x) const { return norm(x); }
  const Tensor& head() const { return tokens.weight; }
  Tensor logits(const Tensor& x, const Tensor& some = {}) const {
    return head_logits(normed(x), head(), some);
  }
  /// The tables that grow when tokens are added.
  std::vector<Tensor*> token_tables() { return {&tokens.weight}; }

  static PocketModule init(const PocketConfig& c, const Init& init, const typename P::Config& adapter = {}) {
    PocketModule m{.tokens = Embedding::init(c.vocab_size, c.hidden_size, init),
                   .places = Embedding::init(c.positions, c.hidden_size, init),
                   .norm = LayerNorm::init(c.hidden_size, init),
                   .config = c};
    for (std::int64_t i = 0; i < c.layers; ++i)
      m.blocks.push_back({.attn_norm = LayerNorm::init(c.hidden_size, init),
                          .mlp_norm = LayerNorm::init(c.hidden_size, init),
                          .attn = PocketAttention<P>::init(c.attention(), init, adapter),
                          .mlp = SwiGlu<P>::init(c.hidden_size, 2 * c.hidden_size, init, adapter)});
    return m;
  }
};

/// The tag that stands in a VLM's type.
struct PocketLM {
  using Config = PocketConfig;
  template <AdapterPolicy P>
  using Module = PocketModule<P>;
  static constexpr std::string_view layers_path = "blocks";  // the field that holds the layers
  static std::int64_t hidden_dim(const Config& c) { return c.hidden_size; }
  static std::int64_t layer_count(const Config& c) { return c.layers; }
};

/// A preset is a config with a name.
inline constexpr PocketConfig pocket_tiny{
    .vocab_size = 40, .hidden_size = 32, .layers = 2, .heads = 4, .positions = 64};

}  // namespace tutorial
