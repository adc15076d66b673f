// Products of few rows with a 4-bit weight, straight from its codes: decoding reads half a byte a weight
// instead of writing and reading the whole weight first.
#pragma once

#include <ATen/Parallel.h>

#include <array>
#include <cstdint>
#include <vector>

#include "morphvlm/adapt/quantized.hpp"
#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/x86_kernels.hpp"
#include "morphvlm/nn/few_rows_product.hpp"

namespace morphvlm {

namespace detail {

// A packed weight as a kernel sees it.
struct Nf4View {
  const std::uint8_t* codes = nullptr;
  const std::uint8_t* absmax = nullptr;
  const float* nested_absmax = nullptr;
  const float* dynamic = nullptr;
  float offset = 0;
  std::int64_t in = 0;

  float scale(std::int64_t block) const {
    return dynamic[absmax[block]] * nested_absmax[static_cast<std::uint64_t>(block) / NF4::nested_block] +
           offset;
  }
};

// y[row, o] for outputs [first, last) from x [rows, in]; y is [rows, out].
using Nf4Kernel = void (*)(const Nf4View&, const float* x, std::int64_t rows, std::int64_t out,
                           std::int64_t first, std::int64_t last, float* y);

inline void nf4_outputs_portable(const Nf4View& w, const float* x, std::int64_t rows, std::int64_t out,
                                 std::int64_t first, std::int64_t last, float* y) {
  constexpr std::int64_t kHalf = NF4::block / 2;
  const auto blocks = w.in / NF4::block;
  for (auto o = first; o < last; ++o) {
    std::array<float, kMaxFewRows> sums{};
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto block = o * blocks + b;
      const auto* const codes = w.codes + block * kHalf;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto* const values = x + r * w.in + b * NF4::block;
        float sum = 0;
        for (std::int64_t i = 0; i < kHalf; ++i)
          sum += kNf4Levels[codes[i] >> 4] * values[2 * i] + kNf4Levels[codes[i] & 15] * values[2 * i + 1];
        sums[static_cast<std::size_t>(r)] += sum * w.scale(block);
      }
    }
    for (std::int64_t r = 0; r < rows; ++r) y[r * out + o] = sums[static_cast<std::size_t>(r)];
  }
}

#if MORPHVLM_HAS_X86_KERNELS
// Additions that do not wait for each other.
template <std::size_t N>
float sum_by_halves(std::array<float, N>& lanes) {
  for (auto half = N / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// x in the order in which codes, as `Lanes` numbers of 32 bits side by side, give them up from the lowest
// four bits of each on: [rows, chunks, 8 shifts, Lanes], filled up with zeros.
template <int Lanes>
std::vector<float> in_lane_order(const float* x, std::int64_t rows, std::int64_t in) {
  constexpr std::int64_t kChunk = 8 * Lanes;
  const auto chunks = (in + kChunk - 1) / kChunk;
  std::vector<float> out(static_cast<std::size_t>(rows * chunks * kChunk));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < in; ++i) {
      const auto byte = i % kChunk / 2, lane = byte / 4, shift = 2 * (byte % 4) + (i % 2 == 0 ? 1 : 0);
      out[static_cast<std::size_t>((r * chunks + i / kChunk) * kChunk + shift * Lanes + lane)] =
          x[r * in + i];
    }
  }
  return out;
}

// Levels by the lowest four bits of eight lanes: each half of the sixteen by three of the bits, and the
// fourth says which half.
template <int Rows>
__attribute__((target("avx2,fma"))) inline void nf4_outputs_avx2(const Nf4View& w, const float* x,
                                                                 std::int64_t out, std::int64_t first,
                                                                 std::int64_t last, float* y) {
  static_assert(NF4::block == 64, "a block is eight lanes of codes");
  const auto blocks = w.in / NF4::block;
  const std::vector<float> ordered = in_lane_order<8>(x, Rows, w.in);
  const __m256 low = _mm256_loadu_ps(kNf4Levels.data()), high = _mm256_loadu_ps(kNf4Levels.data() + 8);
  for (auto o = first; o < last; ++o) {
    __m256 sums[Rows];
    for (auto& s : sums) s = _mm256_setzero_ps();
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto block = o * blocks + b;
      const __m256i codes =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w.codes + block * (NF4::block / 2)));
      __m256 products[Rows];
      for (auto& p : products) p = _mm256_setzero_ps();
#pragma GCC unroll 8
      for (int shift = 0; shift < 8; ++shift) {
        const __m256i code = _mm256_srli_epi32(codes, 4 * shift);
        const __m256 which = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28 - 4 * shift));
        const __m256 level = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                              _mm256_permutevar8x32_ps(high, code), which);
        for (int r = 0; r < Rows; ++r) {
          const float* const values = ordered.data() + (r * blocks + b) * NF4::block + 8 * shift;
          products[r] = _mm256_fmadd_ps(level, _mm256_loadu_ps(values), products[r]);
        }
      }
      const __m256 scale = _mm256_set1_ps(w.scale(block));
      for (int r = 0; r < Rows; ++r) sums[r] = _mm256_fmadd_ps(products[r], scale, sums[r]);
    }
    for (int r = 0; r < Rows; ++r) {
      alignas(32) std::array<float, 8> lanes;
      _mm256_store_ps(lanes.data(), sums[r]);
      y[r * out + o] = sum_by_halves(lanes);
    }
  }
}

// Outputs [o, o + Outputs) from x as in_lane_order leaves it. A lookup by the lowest four bits of each lane
// gives sixteen levels at once; several outputs, since the sums of one alone wait for each other. Forms of
// the intrinsics that name all their inputs: GCC takes the others to read what is not set (PR 105593).
template <int Rows, int Outputs>
__attribute__((target("avx512f"))) inline void nf4_some_outputs_avx512(const Nf4View& w, const float* ordered,
                                                                       std::int64_t out, std::int64_t o,
                                                                       float* y) {
  constexpr std::int64_t kHalf = NF4::block / 2, kChunk = 2 * NF4::block;
  constexpr __mmask16 kAll = 0xFFFF, kFirstBlock = 0x00FF;
  const auto blocks = w.in / NF4::block, chunks = (blocks + 1) / 2;
  const __m512 levels = _mm512_loadu_ps(kNf4Levels.data());
  __m512 sums[Outputs][Rows];
#pragma GCC unroll 16
  for (int i = 0; i < Outputs * Rows; ++i) sums[i / Rows][i % Rows] = _mm512_setzero_ps();
  for (std::int64_t c = 0; c < chunks; ++c) {
    const bool both = 2 * c + 1 < blocks;
    __m512i codes[Outputs];
    __m512 products[Outputs][Rows];
#pragma GCC unroll 4
    for (int i = 0; i < Outputs; ++i) {
      const auto* const from = w.codes + ((o + i) * blocks + 2 * c) * kHalf;
      _mm_prefetch(reinterpret_cast<const char*>(from + Outputs * blocks * kHalf), _MM_HINT_T0);
      codes[i] = _mm512_maskz_loadu_epi32(both ? kAll : kFirstBlock, from);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) products[i][r] = _mm512_setzero_ps();
    }
#pragma GCC unroll 8
    for (int shift = 0; shift < 8; ++shift) {
#pragma GCC unroll 4
      for (int i = 0; i < Outputs; ++i) {
        const __m512i code = _mm512_maskz_srlv_epi32(kAll, codes[i], _mm512_set1_epi32(4 * shift));
        const __m512 level = _mm512_maskz_permutexvar_ps(kAll, code, levels);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          const float* const values = ordered + (r * chunks + c) * kChunk + 16 * shift;
          products[i][r] = _mm512_fmadd_ps(level, _mm512_loadu_ps(values), products[i][r]);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < Outputs; ++i) {
      const auto block = (o + i) * blocks + 2 * c;
      const __m512 scale = _mm512_mask_mov_ps(_mm512_set1_ps(both ? w.scale(block + 1) : 0.0F), kFirstBlock,
                                              _mm512_set1_ps(w.scale(block)));
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sums[i][r] = _mm512_fmadd_ps(products[i][r], scale, sums[i][r]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Outputs; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      alignas(64) std::array<float, 16> lanes;
      _mm512_store_ps(lanes.data(), sums[i][r]);
      y[r * out + o + i] = sum_by_halves(lanes);
    }
  }
}

template <int Rows>
__attribute__((target("avx512f"))) inline void nf4_outputs_avx512(const Nf4View& w, const float* x,
                                                                  std::int64_t out, std::int64_t first,
                                                                  std::int64_t last, float* y) {
  constexpr int kAtOnce = Rows <= 2 ? 4 : 2;
  const std::vector<float> ordered = in_lane_order<16>(x, Rows, w.in);
  auto o = first;
  for (; o + kAtOnce <= last; o += kAtOnce)
    nf4_some_outputs_avx512<Rows, kAtOnce>(w, ordered.data(), out, o, y);
  for (; o < last; ++o) nf4_some_outputs_avx512<Rows, 1>(w, ordered.data(), out, o, y);
}

// The kernel for as many rows as there are.
inline void nf4_outputs_avx2_rows(const Nf4View& w, const float* x, std::int64_t rows, std::int64_t out,
                                  std::int64_t first, std::int64_t last, float* y) {
  constexpr std::array kByRows{&nf4_outputs_avx2<1>, &nf4_outputs_avx2<2>, &nf4_outputs_avx2<3>,
                               &nf4_outputs_avx2<4>};
  kByRows[static_cast<std::size_t>(rows - 1)](w, x, out, first, last, y);
}

inline void nf4_outputs_avx512_rows(const Nf4View& w, const float* x, std::int64_t rows, std::int64_t out,
                                    std::int64_t first, std::int64_t last, float* y) {
  constexpr std::array kByRows{&nf4_outputs_avx512<1>, &nf4_outputs_avx512<2>, &nf4_outputs_avx512<3>,
                               &nf4_outputs_avx512<4>};
  kByRows[static_cast<std::size_t>(rows - 1)](w, x, out, first, last, y);
}
#endif

// The fastest kernel that this processor runs.
inline Nf4Kernel nf4_kernel() {
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kAvx512 = __builtin_cpu_supports("avx512f") != 0;
  static const bool kAvx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (kAvx512) return &nf4_outputs_avx512_rows;
  if (kAvx2) return &nf4_outputs_avx2_rows;
#endif
  return &nf4_outputs_portable;
}

}  // namespace detail

/// Whether nf4_product can multiply x [..., in] by `p`: on a CPU, few rows, whole blocks to a row of the
/// weight.
inline bool has_nf4_product(const Tensor& x, const NF4::Packed& p) {
  return p.in % NF4::block == 0 && is_few_rows(x, p.in);
}

/// x W^T for x [..., in] (see has_nf4_product) and the weight that `p` stands for; sums in fp32, [..., out]
/// in x's dtype.
inline Tensor nf4_product(const Tensor& x, const NF4::Packed& p,
                          detail::Nf4Kernel kernel = detail::nf4_kernel()) {
  const auto x_values = detail::floats_of(x);
  const auto rows = x.numel() / p.in;
  FlopMeter::add(2.0 * static_cast<double>(rows * p.in * p.out));
  std::vector<float> y(static_cast<std::size_t>(rows * p.out));
  const detail::Nf4View view{.codes = p.codes.const_data_ptr<std::uint8_t>(),
                             .absmax = p.absmax.const_data_ptr<std::uint8_t>(),
                             .nested_absmax = p.nested_absmax.const_data_ptr<float>(),
                             .dynamic = detail::shared_dynamic_levels().const_data_ptr<float>(),
                             .offset = p.offset.item<float>(),
                             .in = p.in};
  at::parallel_for(0, p.out, 16, [&](std::int64_t first, std::int64_t last) {
    kernel(view, x_values.data(), rows, p.out, first, last, y.data());
  });
  auto shape = x.sizes().vec();
  shape.back() = p.out;
  return detail::tensor_of(y, shape, x.options());
}

}  // namespace morphvlm
