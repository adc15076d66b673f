// A projection whose frozen weight is stored in few bits.
#pragma once

#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"
#include "morphvlm/kernels/gemv_product.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/offload/streamed.hpp"
#include "morphvlm/quant/quantized.hpp"

namespace morphvlm {

namespace detail {

// x W^T without a gradient, of a weight that was written long ago or has just been fetched.
template <WeightFormat F>
Tensor packed_product(const Tensor& x, const typename F::Packed& packed, bool is_old = true) {
  if constexpr (requires { F::fetch(packed); })
    return packed_product<typename F::Inner>(x, F::fetch(packed), false);
  if constexpr (std::is_same_v<F, Dense>) return product(x, F::unpack(packed, x.scalar_type()), {});
  if constexpr (KeptWeight<typename F::Packed>) {
    const Tensor rows = x.contiguous();
    if (takes_gemv(rows, packed))
      return gemv_products(rows, {packed}, {Tensor{}}, {.weights_are_old = is_old}).front();
  }
  return affine(x, F::unpack(packed, x.scalar_type()));
}

// The same with x's gradient: W is made when it is needed, forward and backward, and kept by neither.
template <WeightFormat F>
Tensor packed_product_with_gradient(const Tensor& x, const typename F::Packed& packed) {
  return autograd_function(
      {x}, [&](std::vector<Tensor>&) { return packed_product<F>(x, packed); },
      [packed](const BackwardCall& call) {
        return std::vector<Tensor>{times(call.grad, F::unpack(packed, call.grad.scalar_type()))};
      });
}

}  // namespace detail

/// y = x W^T + b with W in format F, plus the adapter's term. The weight gets no gradient, ever.
template <WeightFormat F, class Adapter>
struct Linear<Over<F, Adapter>> {
  typename F::Packed weight = {};              ///< W [out, in] in format F
  Tensor bias = {};                            ///< [out], or undefined
  [[no_unique_address]] Adapter adapter = {};  ///< added to the product; empty: none

  /// [..., in] -> [..., out]
  Tensor operator()(const Tensor& x) const {
    if constexpr (ProjectingAdapter<Adapter, Linear>) {
      return adapter.project(x, *this);
    } else {
      Tensor y = base_product(x);
      if (bias.defined()) y = y.add(bias.to(x.scalar_type()));
      if constexpr (!std::is_same_v<Adapter, NoWeights>) return add_adapter(adapter, std::move(y), x);
      return y;
    }
  }

  /// x W^T: [..., in] -> [..., out], without bias and adapter.
  Tensor base_product(const Tensor& x) const {
    return detail::is_recorded(x) ? detail::packed_product_with_gradient<F>(x, weight)
                                  : detail::packed_product<F>(x, weight);
  }

  /// The W [out, in] that is kept, in `dtype`.
  Tensor dense_weight(at::ScalarType dtype) const { return F::unpack(weight, dtype); }

  /// Takes a weight [out, in] in.
  void store(const Tensor& w) { weight = F::pack(w); }

  /// As Linear<>::init, then quantised.
  template <class AdapterConfig = NoAdapter::Config>
  static Linear init(std::int64_t in, std::int64_t out, bool with_bias, const Init& init,
                     const AdapterConfig& adapter_config = {}) {
    Linear linear;
    if (init.options.device().type() == at::kMeta) {
      linear.weight = F::empty(out, in, init.options);
      if (with_bias) linear.bias = at::empty({out}, init.options);
    } else {
      auto plain = Linear<>::init(in, out, with_bias, init);
      linear.store(plain.weight);
      linear.bias = std::move(plain.bias);
    }
    linear.adapter = make_adapter<Adapter>(in, out, adapter_config, init.masters(), init.adapter_generator());
    start_adapter(linear, "projection");
    return linear;
  }
};

namespace detail {
template <class N>
concept PackedProjection = requires(N& node, const Tensor& w) {
  node.store(w);
};
}  // namespace detail

/// Fills `to`, a model of a quantised type, from `from`, the same model with plain weights, tensor by tensor
/// on `device`: projections are quantised, everything else is shared where it is on that device already.
/// Error: a tensor that `from` lacks, adapters that are merged into its weights and would act twice.
template <class To, class From>
void quantize_into(To& to, const From& from, c10::Device device) {
  std::unordered_map<std::string, Tensor> source;
  visit(from, [&](const std::string& name, const Tensor& t) { source.emplace(name, t); });
  const auto take = [&](const std::string& name) {
    const auto it = source.find(name);
    expect(it != source.end(), "quantize: ", name, ": the model to be quantised has no such tensor");
    const Tensor& t = it->second;
    return t.device() == device ? t : t.detach().to(device).set_requires_grad(t.requires_grad());
  };
  std::set<std::string> residual;
  visit_modules(from, [&](const std::string& name, const auto& node) {
    if constexpr (requires { node.adapter.merged; })
      expect(!node.adapter.merged, "quantize: ", name, ": its adapter is merged; unmerge_adapters first");
    if constexpr (requires { node.adapter.base_is_residual; })
      if (node.adapter.base_is_residual) residual.insert(name);
  });
  visit_modules(to, [&](const std::string& name, auto& node) {
    if constexpr (detail::PackedProjection<std::remove_reference_t<decltype(node)>>) {
      node.store(take(detail::join_path(name, "weight")));
    }
    if constexpr (requires { node.adapter.base_is_residual = true; })
      node.adapter.base_is_residual = residual.contains(name);
  });
  visit(to, [&](const std::string& name, Tensor& t) {
    if (!is_packed_part(name)) t = take(name);
  });
}

/// The same where `from` is.
template <class To, class From>
void quantize_into(To& to, const From& from) {
  quantize_into(to, from, device_of(from));
}

}  // namespace morphvlm
