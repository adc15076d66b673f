// The inner loops of products of few rows with a large weight on a CPU, as in decoding: the weight is read
// once, at the speed of memory. What is behind at::linear reads 16-bit weights at little more than half of
// that when x has few rows.
#pragma once

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/unpack_kernels.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"

namespace morphvlm {

/// The most rows of x that gemv_products takes on a CPU where each is a token of its own text, as in
/// decoding; more are the libraries' to multiply.
inline constexpr std::int64_t kMaxGemvRows = 16;

namespace detail {

// Rows that share a reading of the weights into registers, and the most of a text that is read at once: what
// is trained on it has gradients, so is multiplied by the libraries, and should be the same to the last bit.
inline constexpr std::int64_t kRowsAtOnce = 4;

// `Lanes` numbers side by side, in the compilers' own vectors. GCC drops the attribute from a `using` that
// depends on a template's argument.
template <int Lanes>
struct Vectors {
  typedef float F __attribute__((vector_size(4 * Lanes)));
  typedef std::uint32_t U __attribute__((vector_size(4 * Lanes)));
  typedef std::uint16_t H __attribute__((vector_size(2 * Lanes)));
  typedef std::int16_t I __attribute__((vector_size(2 * Lanes)));
  typedef std::int32_t S __attribute__((vector_size(4 * Lanes)));
  typedef std::int8_t B __attribute__((vector_size(Lanes)));
};

// What a weight's row looks like to the kernels below.
template <class T>
struct GemvWeight {
  const T* values = nullptr;  // [out, in]
  std::int64_t in = 0;
};

// y[row, o] for outputs [first, last) from x [rows, in]; y is [rows, out].
template <class T>
using GemvKernel = void (*)(const GemvWeight<T>&, const float* x, std::int64_t rows, std::int64_t out,
                            std::int64_t first, std::int64_t last, float* y);

template <class V>
[[gnu::always_inline]] inline void load(V& v, const void* from) {
  std::memcpy(&v, from, sizeof v);
}

template <int Lanes>
[[gnu::always_inline]] inline void widen(typename Vectors<Lanes>::F& to, const float* from) {
  load(to, from);
}

template <int Lanes>
[[gnu::always_inline]] inline void widen(typename Vectors<Lanes>::F& to, const c10::BFloat16* from) {
  typename Vectors<Lanes>::H half;
  load(half, from);
  const auto bits = __builtin_convertvector(half, typename Vectors<Lanes>::U) << 16;
  load(to, &bits);
}

#if MORPHVLM_HAS_X86_KERNELS
// GCC makes a dozen instructions of these conversions where they are written as vectors'.
__attribute__((target("avx512f"))) inline void widen_bytes(Vectors<16>::F& to, const std::int8_t* from) {
  to = (Vectors<16>::F)widened_bytes(from);
}
__attribute__((target("avx2"))) inline void widen_bytes(Vectors<8>::F& to, const std::int8_t* from) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  to = (Vectors<8>::F)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}
#endif

template <int Lanes>
[[gnu::always_inline]] inline void widen(typename Vectors<Lanes>::F& to, const std::int8_t* from) {
  if constexpr (requires { widen_bytes(to, from); }) return widen_bytes(to, from);
  typename Vectors<Lanes>::B bytes;
  load(bytes, from);
  const auto shorts = __builtin_convertvector(bytes, typename Vectors<Lanes>::I);
  const auto ints = __builtin_convertvector(shorts, typename Vectors<Lanes>::S);
  to = __builtin_convertvector(ints, typename Vectors<Lanes>::F);
}

// Adds `Lanes` weights of each row of a block, times x, to the sums.
template <int Lanes, int Rows, int Outputs, class T>
[[gnu::always_inline]] inline void gemv_fusion_step(const T* block, std::int64_t in, const float* x,
                                                    typename Vectors<Lanes>::F (&sums)[Outputs][Rows]) {
  typename Vectors<Lanes>::F values[Rows], w;
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) load(values[r], x + r * in);
#pragma GCC unroll 4
  for (int k = 0; k < Outputs; ++k) {
    widen<Lanes>(w, block + k * in);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) sums[k][r] += w * values[r];
  }
}

// A block of outputs at a time: their rows are as many streams, each number of x is loaded once for all of
// them, and the next block's rows are asked for ahead of their turn, a cache line at a time.
template <int Lanes, int Rows, int Outputs, class T>
[[gnu::always_inline]] inline void gemv_block(const GemvWeight<T>& weight, const float* x, std::int64_t out,
                                              std::int64_t o, float* y) {
  constexpr int kLine = 64 / sizeof(T);
  const auto in = weight.in;
  const T* const block = weight.values + o * in;
  typename Vectors<Lanes>::F sums[Outputs][Rows] = {};
  std::int64_t i = 0;
  for (; i + kLine <= in; i += kLine) {
#pragma GCC unroll 4
    for (int k = 0; k < Outputs; ++k) __builtin_prefetch(block + (Outputs + k) * in + i);
#pragma GCC unroll 4
    for (int part = 0; part < kLine; part += Lanes)
      gemv_fusion_step<Lanes, Rows, Outputs>(block + i + part, in, x + i + part, sums);
  }
  for (; i + Lanes <= in; i += Lanes) gemv_fusion_step<Lanes, Rows, Outputs>(block + i, in, x + i, sums);
  for (int k = 0; k < Outputs; ++k) {
    for (int r = 0; r < Rows; ++r) {
      float sum = 0;
      for (int lane = 0; lane < Lanes; ++lane) sum += sums[k][r][lane];
      for (auto rest = i; rest < in; ++rest)
        sum += static_cast<float>(block[k * in + rest]) * x[r * in + rest];
      y[r * out + o + k] = sum;
    }
  }
}

template <int Lanes, int Rows, class T>
[[gnu::always_inline]] inline void gemv_outputs(const GemvWeight<T>& w, const float* x, std::int64_t out,
                                                std::int64_t first, std::int64_t last, float* y) {
  // Sixteen registers hold the sums of so many outputs, three or four numbers of x, and a weight.
  constexpr int kOutputs = Lanes < 16 && Rows > 2 ? 2 : 4;
  auto o = first;
  for (; o + kOutputs <= last; o += kOutputs) gemv_block<Lanes, Rows, kOutputs>(w, x, out, o, y);
  for (; o < last; ++o) gemv_block<Lanes, Rows, 1>(w, x, out, o, y);
}

template <int Lanes, class T>
[[gnu::always_inline]] inline void gemv_by_rows(const GemvWeight<T>& w, const float* x, std::int64_t rows,
                                                std::int64_t out, std::int64_t first, std::int64_t last,
                                                float* y) {
  switch (rows) {
    case 1:
      return gemv_outputs<Lanes, 1>(w, x, out, first, last, y);
    case 2:
      return gemv_outputs<Lanes, 2>(w, x, out, first, last, y);
    case 3:
      return gemv_outputs<Lanes, 3>(w, x, out, first, last, y);
    default:
      return gemv_outputs<Lanes, 4>(w, x, out, first, last, y);
  }
}

// One body, compiled for each kind of processor.
template <class T>
void gemv_portable(const GemvWeight<T>& w, const float* x, std::int64_t rows, std::int64_t out,
                   std::int64_t first, std::int64_t last, float* y) {
  gemv_by_rows<4>(w, x, rows, out, first, last, y);
}

#if MORPHVLM_HAS_X86_KERNELS
template <class T>
__attribute__((target("avx2,fma"))) void gemv_avx2(const GemvWeight<T>& w, const float* x, std::int64_t rows,
                                                   std::int64_t out, std::int64_t first, std::int64_t last,
                                                   float* y) {
  gemv_by_rows<8>(w, x, rows, out, first, last, y);
}

template <class T>
__attribute__((target("avx512f,avx512bw,avx512vl,fma"))) void gemv_avx512(const GemvWeight<T>& w,
                                                                          const float* x, std::int64_t rows,
                                                                          std::int64_t out,
                                                                          std::int64_t first,
                                                                          std::int64_t last, float* y) {
  gemv_by_rows<16>(w, x, rows, out, first, last, y);
}
#endif

inline bool is_float_or_bf16(const Tensor& t) {
  return t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16;
}

// The numbers of a float or BFloat16 tensor in order; none if it is undefined. A loop, since for so few an
// operator of the library takes longer to call than to run.
inline std::vector<float> floats_of(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor flat = t.contiguous();
  std::vector<float> values(static_cast<std::size_t>(flat.numel()));
  if (flat.scalar_type() == at::kBFloat16) {
    std::copy_n(flat.const_data_ptr<c10::BFloat16>(), values.size(), values.begin());
  } else {
    std::copy_n(flat.const_data_ptr<float>(), values.size(), values.begin());
  }
  return values;
}

// The reverse, rounding to the dtype of `options`, float or BFloat16.
inline Tensor tensor_of(const std::vector<float>& values, at::IntArrayRef shape,
                        const TensorOptions& options) {
  Tensor t = at::empty(shape, options.requires_grad(false));
  if (t.scalar_type() == at::kBFloat16) {
    std::copy(values.begin(), values.end(), t.mutable_data_ptr<c10::BFloat16>());
  } else {
    std::copy(values.begin(), values.end(), t.mutable_data_ptr<float>());
  }
  return t;
}

// The fastest kernel that this processor runs.
template <class T>
GemvKernel<T> gemv_kernel() {
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kAvx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx512()) return &gemv_avx512<T>;
  if (kAvx2) return &gemv_avx2<T>;
#endif
  return &gemv_portable<T>;
}

}  // namespace detail

/// Whether x [..., in] is few rows of float or BFloat16 on a CPU, so that reading the weight is all that its
/// product costs.
inline bool is_gemv(const Tensor& x, std::int64_t in) {
  const bool are_texts = x.dim() > 2 && x.size(-2) == 1;
  return x.is_cpu() && detail::is_float_or_bf16(x) && x.numel() > 0 &&
         x.numel() <= (are_texts ? kMaxGemvRows : detail::kRowsAtOnce) * in;
}

}  // namespace morphvlm
