// The inner loops of products of few rows with a 4-bit weight on a CPU, straight from its codes: decoding
// reads half a byte a weight instead of writing and reading the whole weight first.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "morphvlm/kernels/cpu/gemv_kernels.hpp"
#include "morphvlm/kernels/cpu/lane_sums.hpp"
#include "morphvlm/kernels/cpu/nf4_levels.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"

namespace morphvlm::detail {

// A packed weight as a kernel sees it.
struct Nf4View {
  const std::uint8_t* codes = nullptr;
  const std::uint8_t* absmax = nullptr;
  const float* nested_absmax = nullptr;
  const float* dynamic = nullptr;
  float offset = 0;
  std::int64_t in = 0;

  float scale(std::int64_t block) const {
    return dynamic[absmax[block]] * nested_absmax[static_cast<std::uint64_t>(block) / kNf4NestedBlock] +
           offset;
  }
};

// Outputs [first, last), y [rows, last - first], from x [rows, in] in the order of the kernel.
using Nf4Outputs = void (*)(const Nf4View&, const float* x, std::int64_t rows, std::int64_t first,
                            std::int64_t last, float* y);

// How a kernel reads x: as it is, or as in_lane_order<8> or <16> leaves it.
enum class Nf4Order { plain, eight_lanes, sixteen_lanes };

struct Nf4Kernel {
  Nf4Outputs outputs = nullptr;
  Nf4Order order = Nf4Order::plain;
};

inline void nf4_outputs_portable(const Nf4View& w, const float* x, std::int64_t rows, std::int64_t first,
                                 std::int64_t last, float* y) {
  constexpr std::int64_t kHalf = kNf4Block / 2;
  const auto blocks = w.in / kNf4Block;
  for (auto o = first; o < last; ++o) {
    std::array<float, kRowsAtOnce> sums{};
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto block = o * blocks + b;
      const auto* const codes = w.codes + block * kHalf;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto* const values = x + r * w.in + b * kNf4Block;
        float sum = 0;
        for (std::int64_t i = 0; i < kHalf; ++i)
          sum += kNf4Levels[codes[i] >> 4] * values[2 * i] + kNf4Levels[codes[i] & 15] * values[2 * i + 1];
        sums[static_cast<std::size_t>(r)] += sum * w.scale(block);
      }
    }
    for (std::int64_t r = 0; r < rows; ++r)
      y[r * (last - first) + o - first] = sums[static_cast<std::size_t>(r)];
  }
}

// x in the order in which codes, as `Lanes` numbers of 32 bits side by side, give them up from the lowest
// four bits of each on: [rows, chunks, 8 shifts, Lanes], filled up with zeros.
template <int Lanes>
std::vector<float> in_lane_order(const std::vector<float>& x, std::int64_t rows, std::int64_t in) {
  constexpr std::int64_t kChunk = 8 * Lanes;
  const auto chunks = (in + kChunk - 1) / kChunk;
  std::vector<float> out(static_cast<std::size_t>(rows * chunks * kChunk));
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* const from = x.data() + r * in;
    float* const to = out.data() + r * chunks * kChunk;
    for (std::int64_t i = 0; i + 8 <= in; i += 8) {
      float* const lane = to + i / kChunk * kChunk + i % kChunk / 8;
      // The earlier of two weights is in the higher bits of their byte.
      for (std::int64_t shift = 0; shift < 8; ++shift) lane[shift * Lanes] = from[i + (shift ^ 1)];
    }
  }
  return out;
}

// x [rows, in] in an order.
inline std::vector<float> in_order(std::vector<float> x, std::int64_t in, Nf4Order order) {
  const auto rows = std::ssize(x) / in;
  switch (order) {
    case Nf4Order::eight_lanes:
      return in_lane_order<8>(x, rows, in);
    case Nf4Order::sixteen_lanes:
      return in_lane_order<16>(x, rows, in);
    case Nf4Order::plain:
      break;
  }
  return x;
}

#if MORPHVLM_HAS_X86_KERNELS
// Additions that do not wait for each other.
template <std::size_t N>
float sum_by_halves(std::array<float, N>& lanes) {
  for (auto half = N / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Levels by the lowest four bits of eight lanes: each half of the sixteen by three of the bits, and the
// fourth says which half.
template <int Rows>
__attribute__((target("avx2,fma"))) inline void nf4_outputs_avx2(const Nf4View& w, const float* ordered,
                                                                 std::int64_t first, std::int64_t last,
                                                                 float* y) {
  static_assert(kNf4Block == 64, "a block is eight lanes of codes");
  const auto blocks = w.in / kNf4Block;
  const __m256 low = _mm256_loadu_ps(kNf4Levels.data()), high = _mm256_loadu_ps(kNf4Levels.data() + 8);
  for (auto o = first; o < last; ++o) {
    __m256 sums[Rows];
    for (auto& s : sums) s = _mm256_setzero_ps();
    for (std::int64_t b = 0; b < blocks; ++b) {
      const auto block = o * blocks + b;
      const __m256i codes =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w.codes + block * (kNf4Block / 2)));
      __m256 products[Rows];
      for (auto& p : products) p = _mm256_setzero_ps();
#pragma GCC unroll 8
      for (int shift = 0; shift < 8; ++shift) {
        const __m256i code = _mm256_srli_epi32(codes, 4 * shift);
        const __m256 which = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28 - 4 * shift));
        const __m256 level = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                              _mm256_permutevar8x32_ps(high, code), which);
        for (int r = 0; r < Rows; ++r) {
          const float* const values = ordered + (r * blocks + b) * kNf4Block + 8 * shift;
          products[r] = _mm256_fmadd_ps(level, _mm256_loadu_ps(values), products[r]);
        }
      }
      const __m256 scale = _mm256_set1_ps(w.scale(block));
      for (int r = 0; r < Rows; ++r) sums[r] = _mm256_fmadd_ps(products[r], scale, sums[r]);
    }
    for (int r = 0; r < Rows; ++r) {
      alignas(32) std::array<float, 8> lanes;
      _mm256_store_ps(lanes.data(), sums[r]);
      y[r * (last - first) + o - first] = sum_by_halves(lanes);
    }
  }
}

__attribute__((target("avx512f"))) inline __m512i nf4_codes(const std::uint8_t* from, bool both) {
  return _mm512_maskz_loadu_epi32(both ? 0xFFFF : 0x00FF, from);
}
// Of the block a chunk begins with and of the next, half a register each.
__attribute__((target("avx512f"))) inline __m512 nf4_two_scales(const float* scales) {
  return _mm512_mask_mov_ps(_mm512_set1_ps(scales[1]), 0x00FF, _mm512_set1_ps(scales[0]));
}

// Scales of blocks [first, last), sixteen at a time.
__attribute__((target("avx512f"))) inline std::vector<float> nf4_scales_avx512(const Nf4View& w,
                                                                               std::int64_t first,
                                                                               std::int64_t last) {
  constexpr std::int64_t kLanes = 16;
  std::vector<float> scales(static_cast<std::size_t>(last - first + kLanes));
  const __m512 offset = _mm512_set1_ps(w.offset);
  // Scales of scales are shared by more blocks than go at a time, but these may begin anywhere.
  auto block = first;
  for (; block + kLanes <= last; block += kLanes) {
    const __m512i levels = _mm512_maskz_cvtepu8_epi32(
        0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.absmax + block)));
    const auto nested = block / kNf4NestedBlock, end = (block + kLanes - 1) / kNf4NestedBlock;
    const auto of_first = std::min(kLanes, (nested + 1) * kNf4NestedBlock - block);
    const __m512 outer = _mm512_mask_mov_ps(_mm512_set1_ps(w.nested_absmax[end]),
                                            static_cast<__mmask16>((1U << of_first) - 1U),
                                            _mm512_set1_ps(w.nested_absmax[nested]));
    const __m512 inner = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xFFFF, levels, w.dynamic, 4);
    _mm512_storeu_ps(scales.data() + block - first, _mm512_add_ps(_mm512_mul_ps(inner, outer), offset));
  }
  for (; block < last; ++block) scales[static_cast<std::size_t>(block - first)] = w.scale(block);
  return scales;
}

// Outputs [o, o + Outputs) and the scales of their blocks, stored as store_lane_sums does. A lookup by the
// lowest four bits of each lane gives sixteen levels at once; several outputs, since the sums of one alone
// wait for each other. Forms of the intrinsics that name all their inputs: GCC takes the others to read what
// is not set (PR 105593).
template <int Rows, int Outputs>
__attribute__((target("avx512f"))) inline void nf4_some_outputs_avx512(const Nf4View& w, const float* ordered,
                                                                       std::int64_t o, const float* scales,
                                                                       std::int64_t apart, float* y) {
  constexpr std::int64_t kHalf = kNf4Block / 2, kChunk = 2 * kNf4Block;
  constexpr __mmask16 kAll = 0xFFFF;
  const auto blocks = w.in / kNf4Block, chunks = (blocks + 1) / 2;
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
      codes[i] = nf4_codes(from, both);
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
      const __m512 scale = nf4_two_scales(scales + i * blocks + 2 * c);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sums[i][r] = _mm512_fmadd_ps(products[i][r], scale, sums[i][r]);
    }
  }
  store_lane_sums(sums, apart, y);
}

template <int Rows>
__attribute__((target("avx512f"))) inline void nf4_outputs_avx512(const Nf4View& w, const float* ordered,
                                                                  std::int64_t first, std::int64_t last,
                                                                  float* y) {
  constexpr int kAtOnce = Rows <= 2 ? 4 : 2;
  const auto blocks = w.in / kNf4Block;
  const auto scales = nf4_scales_avx512(w, first * blocks, last * blocks);
  auto o = first;
  for (; o + kAtOnce <= last; o += kAtOnce)
    nf4_some_outputs_avx512<Rows, kAtOnce>(w, ordered, o, scales.data() + (o - first) * blocks, last - first,
                                           y + o - first);
  for (; o < last; ++o)
    nf4_some_outputs_avx512<Rows, 1>(w, ordered, o, scales.data() + (o - first) * blocks, last - first,
                                     y + o - first);
}

// The kernel for as many rows as there are.
template <auto... ByRows>
void nf4_by_rows(const Nf4View& w, const float* x, std::int64_t rows, std::int64_t first, std::int64_t last,
                 float* y) {
  constexpr std::array kByRows{ByRows...};
  static_assert(kByRows.size() == kRowsAtOnce);
  kByRows[static_cast<std::size_t>(rows - 1)](w, x, first, last, y);
}
#endif

inline constexpr Nf4Kernel kNf4Portable{.outputs = &nf4_outputs_portable};
#if MORPHVLM_HAS_X86_KERNELS
inline constexpr Nf4Kernel kNf4Avx2{
    .outputs =
        &nf4_by_rows<&nf4_outputs_avx2<1>, &nf4_outputs_avx2<2>, &nf4_outputs_avx2<3>, &nf4_outputs_avx2<4>>,
    .order = Nf4Order::eight_lanes},
    kNf4Avx512{.outputs = &nf4_by_rows<&nf4_outputs_avx512<1>, &nf4_outputs_avx512<2>, &nf4_outputs_avx512<3>,
                                       &nf4_outputs_avx512<4>>,
               .order = Nf4Order::sixteen_lanes};
#endif

// The fastest kernel that this processor runs.
inline const Nf4Kernel& nf4_kernel() {
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kHasAvx512 = __builtin_cpu_supports("avx512f") != 0;
  static const bool kHasAvx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (kHasAvx512) return kNf4Avx512;
  if (kHasAvx2) return kNf4Avx2;
#endif
  return kNf4Portable;
}

// Scales of blocks [first, last).
inline std::vector<float> nf4_scales(const Nf4View& w, std::int64_t first, std::int64_t last) {
#if MORPHVLM_HAS_X86_KERNELS
  if (nf4_kernel().order == Nf4Order::sixteen_lanes) return nf4_scales_avx512(w, first, last);
#endif
  std::vector<float> scales;
  for (auto block = first; block < last; ++block) scales.push_back(w.scale(block));
  return scales;
}

}  // namespace morphvlm::detail
