// The tanh-gated block that lets a frozen language model see (Alayrac et al. 2022).
#pragma once

#include <ATen/ops/full.h>
#include <ATen/ops/tanh.h>

#include <array>
#include <cstdint>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/recompute.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/masked_cross_attention.hpp"

namespace morphvlm {

/// What happens to the gates. `loaded`: values come from a checkpoint and stay; `trainable`: start at
/// `gate_value` and are trained; `frozen`: stay at `gate_value`. Frozen at 0 no adapter behind the gate gets
/// a gradient, which the trainer reports as an error.
enum class GatePolicy { loaded, trainable, frozen };

/// Their names in configs.
template <>
inline constexpr std::array<std::pair<GatePolicy, std::string_view>, 3> enum_names<GatePolicy>{
    {{GatePolicy::loaded, "loaded"}, {GatePolicy::trainable, "trainable"}, {GatePolicy::frozen, "frozen"}}};

/// Sizes and placement of the blocks; the defaults are OpenFlamingo's.
struct GatedCrossAttentionConfig {
  std::int64_t every = 4;                 ///< a block before decoder layer i iff (i + 1) % every == 0
  std::int64_t heads = 8;                 ///< of the cross-attention
  std::int64_t head_dim = 64;             ///< width of a head
  std::int64_t ff_mult = 4;               ///< width inside of the feed-forward, in widths of the text
  GatePolicy gates = GatePolicy::loaded;  ///< what they start from, and whether they are trained
  double gate_value = 0;                  ///< before tanh
};

namespace detail {
inline Tensor gate(const Tensor& value, const Tensor& like) { return at::tanh(value.to(like.scalar_type())); }

// Whether x -> x + tanh(gate) last(... first(norm(x))) is for products of few rows.
template <class First, class Last>
bool is_gated_step(const Tensor& x, const LayerNorm& norm, const First& first, const Last& last,
                   const Tensor& gate) {
  return is_unadapted(first, x) && is_unadapted(last, x) && can_be_a_step(norm, x) &&
         gate.scalar_type() == x.scalar_type();
}

template <class Last>
Tensor add_gated(const Tensor& x, const Last& last, const Tensor& hidden, const Tensor& gate) {
  return gemv_products(hidden.contiguous(), {last.weight}, {last.bias},
                       {.gate = gate, .onto = x, .weights_are_old = true})
      .front();
}
}  // namespace detail

/// x += tanh(attn_gate) attn(x, media); x += tanh(ff_gate) ff(x). open_flamingo equivalent:
/// `helpers.GatedCrossAttentionBlock`. The feed-forward applies to tokens without media as well.
template <AdapterPolicy P = NoAdapter>
struct GatedCrossAttention {
  MaskedCrossAttention<P> attn = {};                  ///< of text over media (attn)
  Tensor attn_gate = {};                              ///< [1]
  NormedFeedForward<AdapterAt<P, CrossMlp>> ff = {};  ///< of the text (ff)
  Tensor ff_gate = {};                                ///< [1]

  /// x [batch, time, dim] -> the same. `recompute`: the backward pass keeps the feed-forward's input alone.
  Tensor operator()(const Tensor& x, const MediaKeyValues& media, const MediaMask& mask,
                    bool recompute = false) const {
    if constexpr (detail::GemvProjection<typename MaskedCrossAttention<P>::Proj>) {
      if (detail::is_gated_step(x, attn.norm, attn.to_q, attn.to_out, attn_gate)) {
        const Tensor q = gemv_products(x, {attn.to_q.weight}, {attn.to_q.bias}, normed_by(attn.norm)).front();
        return feed_forward(detail::add_gated(x, attn.to_out, attn.attended(q, media, mask), attn_gate));
      }
    }
    return feed_forward(x.add(attn(x, media, mask).mul(detail::gate(attn_gate, x))), recompute);
  }

  /// The block for tokens that have no media: only the feed-forward acts.
  Tensor feed_forward(const Tensor& x, bool recompute = false) const {
    if constexpr (detail::GemvProjection<decltype(ff.fc_in)>) {
      if (detail::is_gated_step(x, ff.norm, ff.fc_in, ff.fc_out, ff_gate)) {
        GemvFusion steps = normed_by(ff.norm);
        steps.gelu = true;
        const Tensor hidden = gemv_products(x, {ff.fc_in.weight}, {ff.fc_in.bias}, steps).front();
        return detail::add_gated(x, ff.fc_out, hidden, ff_gate);
      }
    }
    const auto inner = [this](const Tensor& h) { return ff(h); };
    return x.add(recomputed_if(recompute, x, inner, ff).mul(detail::gate(ff_gate, x)));
  }

  /// Random parameters for text of width `dim` and media of width `media_dim`; gates as the policy says.
  static GatedCrossAttention init(std::int64_t dim, std::int64_t media_dim,
                                  const GatedCrossAttentionConfig& c, const Init& init,
                                  const typename P::Config& adapter = {}) {
    const auto gate_tensor = [&] { return at::full({1}, c.gate_value, init.options); };
    return {.attn = MaskedCrossAttention<P>::init(dim, media_dim, c.heads, c.head_dim, init, adapter),
            .attn_gate = gate_tensor(),
            .ff = NormedFeedForward<AdapterAt<P, CrossMlp>>::init(dim, c.ff_mult, init, adapter),
            .ff_gate = gate_tensor()};
  }
};

}  // namespace morphvlm
