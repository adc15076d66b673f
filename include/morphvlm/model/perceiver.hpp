// The perceiver resampler (Alayrac et al. 2022): learned latents gather what an image's tokens say.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/feed_forward.hpp"

namespace morphvlm {

/// Sizes of a Perceiver; the defaults are OpenFlamingo's. The width is the vision tower's.
struct PerceiverConfig {
  std::int64_t depth = 6;      ///< layers
  std::int64_t heads = 8;      ///< of the attention
  std::int64_t head_dim = 64;  ///< width of a head
  std::int64_t latents = 64;   ///< that a picture becomes
  std::int64_t ff_mult = 4;    ///< width inside of the feed-forward, in widths of a token
};

/// open_flamingo equivalent: `helpers.PerceiverAttention`.
struct PerceiverAttention {
  LayerNorm norm_media = {};    ///< of the tokens
  LayerNorm norm_latents = {};  ///< of the latents
  Linear<> to_q = {};           ///< [heads * head_dim, dim]
  Linear<> to_kv = {};          ///< [2 * heads * head_dim, dim]: keys, then values
  Linear<> to_out = {};         ///< [dim, heads * head_dim]
  std::int64_t heads = 0;       ///< that projections are split into

  /// x [n, tokens, d], latents [n, l, d] -> [n, l, d]; latents attend to the tokens and to themselves.
  Tensor operator()(const Tensor& x, const Tensor& latents) const {
    const Tensor queries = norm_latents(latents);
    const auto kv = to_kv(at::cat({norm_media(x), queries}, 1)).chunk(2, -1);
    const Tensor out =
        attend(split_heads(to_q(queries), heads), split_heads(kv[0], heads), split_heads(kv[1], heads), {});
    return to_out(join_heads(out));
  }
};

/// Attention, then feed-forward, each with a residual.
struct PerceiverLayer {
  PerceiverAttention attn = {};  ///< of latents over tokens and latents
  NormedFeedForward<> ff = {};   ///< of the latents

  /// Random parameters for tokens of width `dim`.
  static PerceiverLayer init(std::int64_t dim, const PerceiverConfig& c, const Init& init) {
    const auto inner = c.heads * c.head_dim;
    return {.attn = {.norm_media = LayerNorm::init(dim, init),
                     .norm_latents = LayerNorm::init(dim, init),
                     .to_q = Linear<>::init(dim, inner, false, init),
                     .to_kv = Linear<>::init(dim, inner * 2, false, init),
                     .to_out = Linear<>::init(inner, dim, false, init),
                     .heads = c.heads},
            .ff = NormedFeedForward<>::init(dim, c.ff_mult, init)};
  }
};

/// open_flamingo equivalent: `helpers.PerceiverResampler` without frame and media time embeddings, which
/// OpenFlamingo leaves out too.
struct PerceiverModule {
  Tensor latents = {};                      ///< [l, d]
  std::vector<PerceiverLayer> layers = {};  ///< in order
  LayerNorm norm = {};                      ///< of the latents after the last layer

  /// x [batch, media, tokens, d] -> [batch, media, l, d]
  Tensor operator()(const Tensor& x) const {
    expect(x.dim() == 4 && x.size(-1) == latents.size(-1),
           "Perceiver: expected features [batch, media, tokens, ", latents.size(-1), "], found ",
           to_string(x.sizes()));
    const Tensor tokens = x.flatten(0, 1);
    Tensor y = latents.to(x.scalar_type()).expand({tokens.size(0), -1, -1});
    for (const auto& layer : layers) {
      y = y.add(layer.attn(tokens, y));
      y = y.add(layer.ff(y));
    }
    return norm(y).unflatten(0, {x.size(0), x.size(1)});
  }

  /// Random parameters for tokens of width `dim`.
  static PerceiverModule init(std::int64_t dim, const PerceiverConfig& c, const Init& init) {
    PerceiverModule m{.latents = at::empty({c.latents, dim}, init.options).normal_(0, 1, init.generator),
                      .norm = LayerNorm::init(dim, init)};
    for (std::int64_t i = 0; i < c.depth; ++i) m.layers.push_back(PerceiverLayer::init(dim, c, init));
    return m;
  }
};

/// The perceiver as a resampler.
struct Perceiver {
  /// The sizes.
  using Config = PerceiverConfig;
  /// The parameters.
  using Module = PerceiverModule;
};

}  // namespace morphvlm
