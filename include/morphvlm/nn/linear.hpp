// The projection that everything else is made of, with room for an adapter that costs nothing when absent.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <type_traits>
#include <utility>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/gemv_product.hpp"

namespace morphvlm {

/// y = x W^T + b, plus the adapter's term. PyTorch equivalent: `nn.Linear`, or PEFT's wrapper around it.
/// Parameters kept in another dtype than the activations (fp32 masters under bf16) are cast on use.
template <class Adapter = NoWeights>
struct Linear {
  Tensor weight = {};                          ///< [out, in]
  Tensor bias = {};                            ///< [out], or undefined
  [[no_unique_address]] Adapter adapter = {};  ///< added to the product; empty: none

  /// [..., in] -> [..., out]
  Tensor operator()(const Tensor& x) const {
    if constexpr (ProjectingAdapter<Adapter, Linear>) {
      if (!is_merged(adapter)) return adapter.project(x, *this);
    }
    const auto dtype = x.scalar_type();
    Tensor y = product(x, weight.to(dtype), bias.defined() ? bias.to(dtype) : bias);
    if constexpr (!std::is_same_v<Adapter, NoWeights> && !ProjectingAdapter<Adapter, Linear>) {
      if (!is_merged(adapter)) return add_adapter(adapter, std::move(y), x);
    }
    return y;
  }

  /// x W^T: [..., in] -> [..., out], without bias and adapter.
  Tensor base_product(const Tensor& x) const { return product(x, weight.to(x.scalar_type())); }

  /// W [out, in] in `dtype`.
  Tensor dense_weight(at::ScalarType dtype) const { return weight.to(dtype); }

  /// Uniform in +-1/sqrt(in), as PyTorch's default; the adapter starts as the identity.
  template <class AdapterConfig = NoAdapter::Config>
  static Linear init(std::int64_t in, std::int64_t out, bool with_bias, const Init& init,
                     const AdapterConfig& adapter_config = {}) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(in));
    Linear linear;
    linear.weight = at::empty({out, in}, init.options).uniform_(-bound, bound, init.generator);
    if (with_bias) linear.bias = at::empty({out}, init.options).uniform_(-bound, bound, init.generator);
    linear.adapter = make_adapter<Adapter>(in, out, adapter_config, init.masters(), init.adapter_generator());
    start_adapter(linear, "projection");
    return linear;
  }
};

namespace detail {

// Whether products of few rows read the projection's weight as it is kept.
template <class L>
concept GemvProjection = KeptWeight<decltype(L::weight)>;

// Whether the projection is no more than a product with its weight as it is, and gemv_products takes as
// many rows as x [..., any width] has.
template <class L>
bool is_unadapted(const L& linear, const Tensor& x) {
  if constexpr (!GemvProjection<L>) {
    return false;
  } else {
    return !at::GradMode::is_enabled() && is_merged(linear.adapter) && takes_gemv(x, linear.weight) &&
           (!linear.bias.defined() || linear.bias.scalar_type() == x.scalar_type());
  }
}

}  // namespace detail

/// a(x), b(x), c(x) of projections of one input: as one product where that pays (decoding).
template <class A, class B, class C>
std::array<Tensor, 3> project(const A& a, const B& b, const C& c, const Tensor& x) {
  if constexpr (detail::GemvProjection<A>) {
    if (detail::is_unadapted(a, x) && detail::is_unadapted(b, x) && detail::is_unadapted(c, x)) {
      const auto out = gemv_products(x, {a.weight, b.weight, c.weight}, {a.bias, b.bias, c.bias});
      return {out[0], out[1], out[2]};
    }
  }
  return {a(x), b(x), c(x)};
}

static_assert(sizeof(Linear<>) == 2 * sizeof(Tensor),
              "morphvlm: an unadapted Linear must be no larger than its weight and bias");

}  // namespace morphvlm
