// The feed-forward blocks of the paper's models.
#pragma once

#include <ATen/ops/gelu.h>

#include "morphvlm/nn/activation.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/silu_times.hpp"

namespace morphvlm {

/// down(silu(gate(x)) * up(x)), no biases (LLaMA). HF equivalent: `LlamaMLP`.
template <AdapterPolicy P = NoAdapter>
struct SwiGlu {
  /// A projection that may be adapted.
  using Proj = Linear<AdapterAt<P, Mlp>>;
  Proj gate_proj = {};  ///< [hidden, dim]
  Proj up_proj = {};    ///< [hidden, dim]
  Proj down_proj = {};  ///< [dim, hidden]

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const {
    if constexpr (detail::GemvProjection<Proj>) {
      if (detail::is_unadapted(gate_proj, x) && detail::is_unadapted(up_proj, x))
        return down_proj(gemv_swiglu(x, gate_proj.weight, up_proj.weight));
    }
    return down_proj(silu_times(gate_proj(x), up_proj(x)));
  }

  /// Random parameters of these sizes.
  static SwiGlu init(std::int64_t dim, std::int64_t hidden, const Init& init,
                     const typename P::Config& adapter = {}) {
    return {.gate_proj = Proj::init(dim, hidden, false, init, adapter),
            .up_proj = Proj::init(dim, hidden, false, init, adapter),
            .down_proj = Proj::init(hidden, dim, false, init, adapter)};
  }
};

/// c_proj(act(c_fc(x))), with biases (CLIP). open_clip equivalent: `ResidualAttentionBlock.mlp`.
struct GeluMlp {
  Linear<> c_fc = {};                              ///< [hidden, dim], with bias
  Linear<> c_proj = {};                            ///< [dim, hidden], with bias
  Activation activation = Activation::quick_gelu;  ///< between the two

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const { return c_proj(activate(c_fc(x), activation)); }

  /// Random parameters of these sizes.
  static GeluMlp init(std::int64_t dim, std::int64_t hidden, Activation activation, const Init& init) {
    return {.c_fc = Linear<>::init(dim, hidden, true, init),
            .c_proj = Linear<>::init(hidden, dim, true, init),
            .activation = activation};
  }
};

/// fc_out(gelu(fc_in(norm(x)))), no biases but the norm's. open_flamingo equivalent: `helpers.FeedForward`,
/// whose ff.0, ff.1 and ff.3 are norm, fc_in and fc_out here.
template <class Adapter = NoWeights>
struct NormedFeedForward {
  LayerNorm norm = {};          ///< of the input
  Linear<Adapter> fc_in = {};   ///< [mult * dim, dim]
  Linear<Adapter> fc_out = {};  ///< [dim, mult * dim]

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const { return fc_out(at::gelu(fc_in(norm(x)))); }

  /// Random parameters of these sizes.
  template <class AdapterConfig = NoAdapter::Config>
  static NormedFeedForward init(std::int64_t dim, std::int64_t mult, const Init& init,
                                const AdapterConfig& adapter = {}) {
    return {.norm = LayerNorm::init(dim, init),
            .fc_in = Linear<Adapter>::init(dim, dim * mult, false, init, adapter),
            .fc_out = Linear<Adapter>::init(dim * mult, dim, false, init, adapter)};
  }
};

}  // namespace morphvlm
