// silu(gate) * up and its gradients on CUDA, each in one pass over memory.
#pragma once

#include <ATen/ops/empty_like.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"

namespace morphvlm::detail {

// Eight numbers to a thread. Backwards, the two gradients in one pass; one that nobody asks for has no place.
inline constexpr std::string_view kSiluTimesCuda = R"(
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float product(float g, float u) { return widened(rounded(g * sigmoid(g))) * u; }
__device__ __forceinline__ float of_gate(float g, float u, float d) {
  const float s = sigmoid(g);
  return d * u * s * fmaf(g, 1.0f - s, 1.0f);
}
__device__ __forceinline__ unsigned products(unsigned g, unsigned u) {
  return pair_of(product(first_of(g), first_of(u)), product(second_of(g), second_of(u)));
}
__device__ __forceinline__ unsigned of_gates(unsigned g, unsigned u, unsigned d) {
  return pair_of(of_gate(first_of(g), first_of(u), first_of(d)), of_gate(second_of(g), second_of(u), second_of(d)));
}
extern "C" __global__ void __launch_bounds__(256) silu_times(const uint4* gate, const uint4* up, uint4* out,
                                                             long long vectors) {
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= vectors) return;
  const uint4 g = gate[i], u = up[i];
  out[i] = make_uint4(products(g.x, u.x), products(g.y, u.y), products(g.z, u.z), products(g.w, u.w));
}
extern "C" __global__ void __launch_bounds__(256) silu_times_backward(const uint4* gate, const uint4* up,
                                                                      const uint4* grad, uint4* to_gate, uint4* to_up,
                                                                      long long vectors) {
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= vectors) return;
  const uint4 g = gate[i], u = up[i], d = grad[i];
  if (to_gate)
    to_gate[i] = make_uint4(of_gates(g.x, u.x, d.x), of_gates(g.y, u.y, d.y), of_gates(g.z, u.z, d.z),
                            of_gates(g.w, u.w, d.w));
  if (to_up) to_up[i] = make_uint4(products(g.x, d.x), products(g.y, d.y), products(g.z, d.z), products(g.w, d.w));
}
)";

inline const CudaKernel& silu_times_kernel(bool backwards) {
  static const CudaKernel kForward("silu_times", cuda_source("", kSiluTimesCuda)),
      kBackward("silu_times_backward", cuda_source("", kSiluTimesCuda));
  return backwards ? kBackward : kForward;
}

inline constexpr std::int64_t kSiluVector = 8;

// Whether tensors like x go through the kernels; on the meta device, whether a plan takes it that they do.
inline bool has_silu_times(const Tensor& x) {
  return computes_like(x, c10::kCUDA) && x.scalar_type() == at::kBFloat16 && x.is_contiguous() &&
         x.numel() % kSiluVector == 0 && (x.is_meta() || has_cuda_kernels());
}

inline Tensor silu_times_on_cuda(const Tensor& gate, const Tensor& up) {
  Tensor out = at::empty_like(gate);
  const long long vectors = gate.numel() / kSiluVector;
  if (!gate.is_meta() && vectors > 0) {
    silu_times_kernel(false).launch(gate.device(), grid_of_threads(vectors), gate.const_data_ptr(),
                                    up.const_data_ptr(), out.mutable_data_ptr(), vectors);
  }
  return out;
}

// The gradients of gate and up, undefined where they are not wanted.
inline std::vector<Tensor> silu_times_backward_on_cuda(const Tensor& gate, const Tensor& up,
                                                       const Tensor& grad, bool of_gate, bool of_up) {
  const Tensor to_gate = of_gate ? at::empty_like(gate) : Tensor{},
               to_up = of_up ? at::empty_like(up) : Tensor{};
  const long long vectors = gate.numel() / kSiluVector;
  if (!gate.is_meta() && vectors > 0) {
    silu_times_kernel(true).launch(gate.device(), grid_of_threads(vectors), gate.const_data_ptr(),
                                   up.const_data_ptr(), grad.const_data_ptr(),
                                   of_gate ? to_gate.mutable_data_ptr() : nullptr,
                                   of_up ? to_up.mutable_data_ptr() : nullptr, vectors);
  }
  return {to_gate, to_up};
}

}  // namespace morphvlm::detail
