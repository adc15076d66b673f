// Folding adapters into the weights they adapt.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/core/module.hpp"

namespace morphvlm {

namespace detail {

template <class N>
concept AdaptedProjection = requires(N& n) {
  { n.adapter.lora_A } -> std::convertible_to<Tensor>;
  { n.weight } -> std::convertible_to<Tensor>;
};

template <class M>
std::int64_t add_adapters_to_weights(M& module) {
  at::NoGradGuard no_grad;
  std::int64_t merged = 0;
  visit_modules(module, [&](const std::string&, auto& node) {
    if constexpr (AdaptedProjection<std::remove_reference_t<decltype(node)>>) {
      const auto& [a, b, scale] = node.adapter;
      const Tensor delta = at::matmul(b, a).mul_(scale);
      node.weight = node.weight.detach().add(delta.to(node.weight.scalar_type()));
      ++merged;
    }
  });
  return merged;
}

}  // namespace detail

/// W += scale * B A for every adapted projection, then B = 0 so that the adapter adds nothing more: logits
/// stay the same up to rounding. The weights are copied first (they may be mapped from a file, or shared).
/// Returns how many projections were merged. Save the adapter before: it is spent by this.
template <class M>
std::int64_t merge_adapters(M& module) {
  const std::int64_t merged = detail::add_adapters_to_weights(module);
  at::NoGradGuard no_grad;
  visit_modules(module, [&](const std::string&, auto& node) {
    if constexpr (detail::AdaptedProjection<std::remove_reference_t<decltype(node)>>)
      node.adapter.lora_B.zero_();
  });
  return merged;
}

}  // namespace morphvlm
