// Products of few rows with large weights, as in decoding, on whatever device they are, and the one place
// that chooses how a projection is multiplied.
#pragma once

#include <initializer_list>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"
#include "morphvlm/kernels/cpu/gemv_cpu.hpp"
#include "morphvlm/kernels/cuda/gemv_cuda.hpp"

namespace morphvlm {

/// A weight in a form that products of few rows read as it is kept: a tensor, NF4::Packed, Int8::Packed.
template <class W>
concept KeptWeight = requires(const Tensor& x, const W& weight) {
  detail::has_rows(x, weight);
};

/// One that CUDA's kernels read too.
template <class W>
concept KeptWeightOnCuda = KeptWeight<W> && requires(const Tensor& x, const W& weight) {
  is_gemv_on_cuda(x, weight);
};

/// Whether gemv_products takes as many rows as x [..., any width] has, with weights like `weight`: a
/// tensor in x's dtype, on its device, laid out as the kernels there read it, or one in few bits (on CUDA NF4
/// alone).
template <KeptWeight W>
bool takes_gemv(const Tensor& x, const W& weight) {
  if constexpr (KeptWeightOnCuda<W>) {
    if (x.is_cuda()) return is_gemv_on_cuda(x, weight);
  }
  return is_gemv(x, x.size(-1)) && detail::has_rows(x, weight);
}

/// x W^T + b for one to three weights [out, in] (see takes_gemv) and as many biases [out], undefined
/// where there is none; sums in fp32. Steps behind the product are for one weight alone. No gradient.
template <KeptWeight W>
std::vector<Tensor> gemv_products(const Tensor& x, const std::vector<W>& weights,
                                  const std::vector<Tensor>& biases, const GemvFusion& steps = {}) {
  if constexpr (KeptWeightOnCuda<W>) {
    if (x.is_cuda()) return gemv_products_on_cuda(x, weights, biases, steps);
  }
  return gemv_products_on_cpu(x, weights, biases, steps);
}
/// The same.
template <KeptWeight W>
std::vector<Tensor> gemv_products(const Tensor& x, std::initializer_list<W> weights,
                                  const std::vector<Tensor>& biases, const GemvFusion& steps = {}) {
  return gemv_products(x, std::vector<W>(weights), biases, steps);
}

/// silu(x G^T) * (x U^T) for G, U [hidden, in] (see takes_gemv); of the steps those before the product.
/// No gradient.
template <KeptWeight W>
Tensor gemv_swiglu(const Tensor& x, const W& gate, const W& up, const GemvFusion& steps = {}) {
  if constexpr (KeptWeightOnCuda<W>) {
    if (x.is_cuda()) return gemv_swiglu_on_cuda(x, gate, up, steps);
  }
  return gemv_swiglu_on_cpu(x, gate, up, steps);
}

/// x W^T + b by the fastest path there is: the one place that chooses it. x [..., in], weight [out, in] and
/// bias [out] (or undefined) in one dtype; [..., out].
inline Tensor product(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  const bool plain = !detail::is_recorded(x) && !detail::is_recorded(weight) && !detail::is_recorded(bias);
  if (plain && takes_gemv(x, weight)) return gemv_products(x, {weight}, {bias}).front();
  return affine(x, weight, bias);
}

}  // namespace morphvlm
