// One token through a LLaMA layer: five kernels, where the modules one by one take some forty operators.
#pragma once

#include <utility>

#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm::detail {

/// Whether decode_layer takes this: one token behind a cache of fixed length, plain weights with no adapter
/// or a merged one.
template <class Layer>
bool has_decode_layer(const Layer& layer, const Tensor& x, const DecoderContext& context,
                      const LayerCache* cache) {
  const auto& a = layer.self_attn;
  const auto& f = layer.mlp;
  return has_decode_attention(x, context.rope, context.place, context.mask, cache) &&
         is_unadapted(a.q_proj, x) && is_unadapted(a.k_proj, x) && is_unadapted(a.v_proj, x) &&
         is_unadapted(a.o_proj, x) && is_unadapted(f.gate_proj, x) && is_unadapted(f.up_proj, x) &&
         is_unadapted(f.down_proj, x) && can_be_a_step(layer.input_layernorm, x) &&
         can_be_a_step(layer.post_attention_layernorm, x);
}

/// What the layer makes of x [batch, 1, dim]; see has_decode_layer.
template <class Layer>
Tensor decode_layer(const Layer& layer, const Tensor& x, const DecoderContext& context, LayerCache& cache) {
  const auto& a = layer.self_attn;
  const auto& f = layer.mlp;
  const auto one = [](const auto& linear, const Tensor& input, const Tensor& onto) {
    return gemv_products(input, {linear.weight}, {linear.bias}, {.onto = onto, .weights_are_old = true})
        .front();
  };
  const auto qkv =
      gemv_products(x, {a.q_proj.weight, a.k_proj.weight, a.v_proj.weight},
                    {a.q_proj.bias, a.k_proj.bias, a.v_proj.bias}, normed_by(layer.input_layernorm));
  const Tensor seen =
      decode_attention(qkv[0], qkv[1], qkv[2], context.rope, context.place, context.mask, cache);
  const Tensor y = one(a.o_proj, seen, x);
  const Tensor hidden =
      gemv_swiglu(y, f.gate_proj.weight, f.up_proj.weight, normed_by(layer.post_attention_layernorm));
  return one(f.down_proj, hidden, y);
}

}  // namespace morphvlm::detail
