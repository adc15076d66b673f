// Products of few rows with large weights on CUDA, as in decoding: each weight is read once, products of one
// input share a launch, and so do the normalisation before and the residual sum behind.
#pragma once

#include <ATen/ops/empty.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/nf4_levels.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"
#include "morphvlm/kernels/cuda/gemv_cuda_weights.hpp"
#include "morphvlm/kernels/cuda/nf4_cuda.hpp"
#include "morphvlm/kernels/gemv_fusion.hpp"

namespace morphvlm {

/// The widest input that a few-rows product on CUDA normalises by itself: a block keeps the normed rows.
inline constexpr std::int64_t kMaxNormedWidth = 4096;

namespace detail {

// GemvFusion as the kernels take them.
struct GemvNorm {
  const void* weight = nullptr;
  const void* bias = nullptr;
  float eps = 0;
  int is_centred = 0;
};
struct GemvFinish {
  const void* gate = nullptr;
  const void* onto = nullptr;
  int gelu = 0;
};

// What stands before and behind the products, whatever their weights are kept in.
inline constexpr std::string_view kGemvCuda = R"(
struct Norm { const uint4* weight; const uint4* bias; float eps; int is_centred; };
struct Finish { const Bf16* gate; const Bf16* onto; int gelu; };
struct Sums { float of[ROWS]; };

__device__ __forceinline__ float block_sum(float x, float* shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < 8; ++w) sum += shared[w];
  return sum;
}

__device__ __forceinline__ float sum_of(const uint4& v) {
  return first_of(v.x) + second_of(v.x) + first_of(v.y) + second_of(v.y) + first_of(v.z) + second_of(v.z) +
         first_of(v.w) + second_of(v.w);
}
__device__ __forceinline__ float squares_of(unsigned pair, float mean) {
  const float a = first_of(pair) - mean, b = second_of(pair) - mean;
  return fmaf(a, a, b * b);
}
__device__ __forceinline__ unsigned normed(unsigned x, unsigned w, unsigned b, float mean, float scale) {
  const float first = fmaf((first_of(x) - mean) * scale, first_of(w), first_of(b));
  const float second = fmaf((second_of(x) - mean) * scale, second_of(w), second_of(b));
  return pair_of(first, second);
}

// x itself, or its normed rows in the block's own memory.
__device__ __forceinline__ const uint4* normed_rows(const uint4* x, int vectors, const Norm& norm, uint4* staged) {
  if (norm.weight == 0) return x;
  __shared__ float shared[8];
  for (int r = 0; r < ROWS; ++r) {
    const uint4* const from = x + r * vectors;
    float mean = 0, squares = 0;
    if (norm.is_centred) {
      for (int i = threadIdx.x; i < vectors; i += 256) mean += sum_of(from[i]);
      mean = block_sum(mean, shared) / (8 * vectors);
    }
    for (int i = threadIdx.x; i < vectors; i += 256) {
      const uint4 v = from[i];
      squares += squares_of(v.x, mean) + squares_of(v.y, mean) + squares_of(v.z, mean) + squares_of(v.w, mean);
    }
    const float scale = rsqrtf(block_sum(squares, shared) / (8 * vectors) + norm.eps);
    for (int i = threadIdx.x; i < vectors; i += 256) {
      const uint4 v = from[i], w = norm.weight[i], b = norm.bias ? norm.bias[i] : make_uint4(0, 0, 0, 0);
      staged[r * vectors + i] = make_uint4(normed(v.x, w.x, b.x, mean, scale), normed(v.y, w.y, b.y, mean, scale),
                                           normed(v.z, w.z, b.z, mean, scale), normed(v.w, w.w, b.w, mean, scale));
    }
  }
  __syncthreads();
  return staged;
}

__device__ __forceinline__ Bf16 finished(float sum, const Finish& finish, long long place) {
  float x = widened(rounded(sum));
  if (finish.gelu) x = widened(rounded(0.5f * x * (1.0f + erff(x * 0.70710678118654752f))));
  if (finish.gate) x = widened(rounded(x * widened(rounded(tanhf(widened(*finish.gate))))));
  if (finish.onto) x += widened(finish.onto[place]);
  return rounded(x);
}
)";

// y1, y2, y3 = x W1^T + b1, ...; [ROWS, out] each. A weight that is not there has 0 outputs.
inline constexpr std::string_view kGemvProductsCuda = R"(
extern "C" __global__ void __launch_bounds__(256) gemv_products(
    const uint4* x, Weight w1, Weight w2, Weight w3, const Bf16* b1, const Bf16* b2, const Bf16* b3, Bf16* y1, Bf16* y2,
    Bf16* y3, int out1, int out2, int out3, int vectors, Norm norm, Finish finish) {
  __shared__ uint4 staged[ROWS * NORMED_VECTORS];
  __shared__ Tables tables;
  int o = blockIdx.x * 8 + threadIdx.x / 32;
  Weight w = w1;
  const Bf16* b = b1;
  Bf16* y = y1;
  int out = out1;
  if (o >= out1) { o -= out1; w = w2; b = b2; y = y2; out = out2; }
  if (y == y2 && o >= out2) { o -= out2; w = w3; b = b3; y = y3; out = out3; }
  const bool is_there = o < out;
  const Ahead ahead = ask_ahead(w, is_there ? o : 0, is_there ? vectors : 0);
  let_next_start();
  prepare(tables, w1);
  wait_for_earlier();
  const uint4* const rows = normed_rows(x, vectors, norm, staged);
  if (!is_there) return;
  const Sums sums = products(tables, w, o, ahead, rows, vectors);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const long long place = (long long)r * out + o;
    y[place] = finished(sums.of[r] + (b ? widened(b[o]) : 0.0f), finish, place);
  }
}
)";

// y = silu(x G^T) * (x U^T), each product rounded as if it had been stored.
inline constexpr std::string_view kSwiGluCuda = R"(
extern "C" __global__ void __launch_bounds__(256) gemv_swiglu(const uint4* x, Weight gate, Weight up, Bf16* y,
                                                                  int out, int vectors, Norm norm) {
  __shared__ uint4 staged[ROWS * NORMED_VECTORS];
  __shared__ Tables tables;
  const int o = blockIdx.x * 8 + threadIdx.x / 32;
  const bool is_there = o < out;
  const Ahead of_gate = ask_ahead(gate, is_there ? o : 0, is_there ? vectors : 0),
              of_up = ask_ahead(up, is_there ? o : 0, is_there ? vectors : 0);
  let_next_start();
  prepare(tables, gate);
  wait_for_earlier();
  const uint4* const rows = normed_rows(x, vectors, norm, staged);
  if (!is_there) return;
  const Sums g = products(tables, gate, o, of_gate, rows, vectors);
  const Sums u = products(tables, up, o, of_up, rows, vectors);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const float z = widened(rounded(g.of[r]));
    const float silu = widened(rounded(z / (1.0f + expf(-z))));
    y[(long long)r * out + o] = rounded(silu * widened(rounded(u.of[r])));
  }
}
)";

// The kernels over one kind of weight.
class GemvCudaKernels {
 public:
  explicit GemvCudaKernels(std::string_view weight)
      : products_("gemv_products", text(weight, kGemvProductsCuda)),
        swiglu_("gemv_swiglu", text(weight, kSwiGluCuda)) {}
  const CudaKernel& products(std::int64_t rows) const { return products_[rows]; }
  const CudaKernel& swiglu(std::int64_t rows) const { return swiglu_[rows]; }

 private:
  static std::string text(std::string_view weight, std::string_view body) {
    return "#define NORMED_VECTORS " + std::to_string(kMaxNormedWidth / 8) + std::string(kGemvCuda) +
           std::string(weight) + std::string(body);
  }
  CudaKernelsByRows products_, swiglu_;
};

inline const GemvCudaKernels& gemv_cuda_kernels(const CudaPlainRows&) {
  static const GemvCudaKernels kKernels(kPlainRowsCuda);
  return kKernels;
}
inline const GemvCudaKernels& gemv_cuda_kernels(const CudaNf4Rows&) {
  static const GemvCudaKernels kKernels(nf4_cuda() + std::string(kNf4RowsCuda));
  return kKernels;
}

inline GemvNorm norm_of(const GemvFusion& steps) {
  return {.weight = address(steps.norm),
          .bias = address(steps.norm_bias),
          .eps = static_cast<float>(steps.eps),
          .is_centred = steps.is_centred ? 1 : 0};
}

inline CudaGrid gemv_grid(std::int64_t outputs, const GemvFusion& steps) {
  return {.blocks = blocks_of_eight(outputs), .threads = 256, .starts_early = steps.weights_are_old};
}

inline bool is_whole_vectors(const Tensor& t) {
  return t.scalar_type() == at::kBFloat16 && t.is_contiguous() && t.size(-1) % 8 == 0 &&
         reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

// Few rows of BFloat16 on CUDA, in whole vectors of eight.
inline bool are_gemv_on_cuda(const Tensor& x) {
  return x.is_cuda() && has_cuda_kernels() && x.numel() > 0 && x.numel() <= kMaxCudaRows * x.size(-1) &&
         is_whole_vectors(x);
}

}  // namespace detail

/// Whether the kernels here can multiply as many rows as x [..., any width] has by weights like `weight`
/// [out, in]: BFloat16 on CUDA, few rows, whole vectors of eight.
inline bool is_gemv_on_cuda(const Tensor& x, const Tensor& weight) {
  return detail::are_gemv_on_cuda(x) && weight.is_cuda() && detail::is_whole_vectors(weight);
}
/// The same for weights in 4 bits, of which a row must be whole blocks.
inline bool is_gemv_on_cuda(const Tensor& x, const Nf4Packed& weight) {
  return detail::are_gemv_on_cuda(x) && weight.codes.is_cuda() && weight.in % detail::kNf4Block == 0;
}

/// x W^T + b for one to three weights [out, in] (see is_gemv_on_cuda) and as many biases [out], undefined
/// where there is none; sums in fp32. Steps behind the product are for one weight alone. No gradient.
template <class W>
std::vector<Tensor> gemv_products_on_cuda(const Tensor& x, const std::vector<W>& weights,
                                          const std::vector<Tensor>& biases, const GemvFusion& steps = {}) {
  const auto in = detail::inputs_of(weights.front()), rows = x.numel() / in;
  auto shape = x.sizes().vec();
  std::vector<Tensor> out;
  std::array<decltype(detail::cuda_rows(weights.front())), 3> w{};
  std::array<const void*, 3> b{};
  std::array<void*, 3> y{};
  std::array<int, 3> outputs{};
  std::int64_t all = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    shape.back() = detail::outputs_of(weights[i]);
    out.push_back(at::empty(shape, x.options().requires_grad(false)));
    w[i] = detail::cuda_rows(weights[i]);
    b[i] = detail::address(biases[i]);
    y[i] = out[i].mutable_data_ptr();
    outputs[i] = static_cast<int>(shape.back());
    all += shape.back();
  }
  FlopMeter::add(2.0 * static_cast<double>(rows * in * all));
  const detail::GemvFinish finish{
      .gate = detail::address(steps.gate), .onto = detail::address(steps.onto), .gelu = steps.gelu ? 1 : 0};
  detail::gemv_cuda_kernels(w[0]).products(rows).launch(
      x.device(), detail::gemv_grid(all, steps), x.const_data_ptr(), w[0], w[1], w[2], b[0], b[1], b[2], y[0],
      y[1], y[2], outputs[0], outputs[1], outputs[2], static_cast<int>(in / 8), detail::norm_of(steps),
      finish);
  return out;
}

/// silu(x G^T) * (x U^T) for G, U [hidden, in] (see is_gemv_on_cuda); of the steps those before the
/// product. No gradient.
template <class W>
Tensor gemv_swiglu_on_cuda(const Tensor& x, const W& gate, const W& up, const GemvFusion& steps = {}) {
  const auto in = detail::inputs_of(gate), hidden = detail::outputs_of(gate), rows = x.numel() / in;
  auto shape = x.sizes().vec();
  shape.back() = hidden;
  Tensor out = at::empty(shape, x.options().requires_grad(false));
  FlopMeter::add(4.0 * static_cast<double>(rows * in * hidden));
  const auto of_gate = detail::cuda_rows(gate), of_up = detail::cuda_rows(up);
  detail::gemv_cuda_kernels(of_gate).swiglu(rows).launch(
      x.device(), detail::gemv_grid(hidden, steps), x.const_data_ptr(), of_gate, of_up,
      out.mutable_data_ptr(), static_cast<int>(hidden), static_cast<int>(in / 8), detail::norm_of(steps));
  return out;
}

}  // namespace morphvlm
