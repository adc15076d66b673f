// The projection that everything else is made of, with room for an adapter that costs nothing when absent.
#pragma once

#include <ATen/ops/empty.h>

#include <cmath>
#include <type_traits>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/nn/few_rows_product.hpp"

namespace morphvlm {

/// y = x W^T + b, plus the adapter's term. PyTorch equivalent: `nn.Linear`, or PEFT's wrapper around it.
/// Parameters kept in another dtype than the activations (fp32 masters under bf16) are cast on use.
template <class Adapter = Plain>
struct Linear {
  Tensor weight = {};                          ///< [out, in]
  Tensor bias = {};                            ///< [out], or undefined
  [[no_unique_address]] Adapter adapter = {};  ///< added to the product; empty: none

  /// [..., in] -> [..., out]
  Tensor operator()(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    Tensor y = product(x, weight.to(dtype), bias.defined() ? bias.to(dtype) : bias);
    if constexpr (!std::is_same_v<Adapter, Plain>) {
      if (!is_merged(adapter)) y.add_(adapter(x));  // the product's own memory; no backward pass needs it
    }
    return y;
  }

  /// Uniform in +-1/sqrt(in), as PyTorch's default; the adapter starts as the identity.
  template <class AdapterConfig = NoAdapter::Config>
  static Linear init(std::int64_t in, std::int64_t out, bool with_bias, const Init& init,
                     const AdapterConfig& adapter_config = {}) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(in));
    Linear linear;
    linear.weight = at::empty({out, in}, init.options).uniform_(-bound, bound, init.generator);
    if (with_bias) linear.bias = at::empty({out}, init.options).uniform_(-bound, bound, init.generator);
    linear.adapter = make_adapter<Adapter>(in, out, adapter_config, init.masters(), init.generator);
    return linear;
  }
};

static_assert(sizeof(Linear<>) == 2 * sizeof(Tensor),
              "morphvlm: an unadapted Linear must be no larger than its weight and bias");

}  // namespace morphvlm
