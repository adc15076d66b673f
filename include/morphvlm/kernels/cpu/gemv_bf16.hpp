// Products of few rows of BFloat16 on processors that multiply such numbers themselves: pairs of them in
// AVX-512's registers, or tiles of them in AMX's. Widening them to fp32 first takes longer than to read them.
#pragma once

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cstdint>

#include "morphvlm/kernels/cpu/amx_kernels.hpp"
#include "morphvlm/kernels/cpu/gemv_kernels.hpp"
#include "morphvlm/kernels/cpu/lane_sums.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"

namespace morphvlm::detail {

// How products of few rows of BFloat16 go: by the kernels for all kinds of numbers, or those below.
enum class Bf16Way { numbers, pairs, tiles };

// Pairs of numbers in a register, 32 numbers: rows of x are filled up to a multiple of them with zeros.
inline constexpr std::int64_t kPairsWidth = 32;
inline std::int64_t filled_up_to_pairs(std::int64_t in) {
  return (in + kPairsWidth - 1) / kPairsWidth * kPairsWidth;
}

#if MORPHVLM_HAS_X86_KERNELS
#define MORPHVLM_PAIRS __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,fma")))

// Adds the products of numbers [i, i + 32) of some outputs' weights, of which `there` are there, to the sums.
template <int Rows, int Outputs>
MORPHVLM_PAIRS inline void add_pairs(const c10::BFloat16* block, std::int64_t in, const c10::BFloat16* x,
                                     std::int64_t i, __mmask32 there, __m512 (&sums)[Outputs][Rows]) {
  const auto stride = filled_up_to_pairs(in);
  __m512i values[Rows];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) values[r] = _mm512_loadu_si512(x + r * stride + i);
#pragma GCC unroll 4
  for (int k = 0; k < Outputs; ++k) {
    __builtin_prefetch(block + (Outputs + k) * in + i);
    const __m512i w = _mm512_maskz_loadu_epi16(there, block + k * in + i);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      sums[k][r] = _mm512_dpbf16_ps(sums[k][r], (__m512bh)w, (__m512bh)values[r]);
  }
}

template <int Rows, int Outputs>
MORPHVLM_PAIRS inline void gemv_pairs_block(const c10::BFloat16* block, std::int64_t in,
                                            const c10::BFloat16* x, std::int64_t apart, float* y) {
  __m512 sums[Outputs][Rows];
#pragma GCC unroll 16
  for (int i = 0; i < Outputs * Rows; ++i) sums[i / Rows][i % Rows] = _mm512_setzero_ps();
  std::int64_t i = 0;
  for (; i + kPairsWidth <= in; i += kPairsWidth) add_pairs(block, in, x, i, ~__mmask32{0}, sums);
  if (i < in) add_pairs(block, in, x, i, (__mmask32{1} << (in - i)) - 1, sums);
  store_lane_sums(sums, apart, y);
}

// y [rows, count] of as many outputs' weights [count, in] from x [rows, in filled up].
template <int Rows>
MORPHVLM_PAIRS void gemv_pairs(const c10::BFloat16* weight, std::int64_t in, const c10::BFloat16* x,
                               std::int64_t count, float* y) {
  constexpr int kOutputs = 4;
  std::int64_t o = 0;
  for (; o + kOutputs <= count; o += kOutputs)
    gemv_pairs_block<Rows, kOutputs>(weight + o * in, in, x, count, y + o);
  for (; o < count; ++o) gemv_pairs_block<Rows, 1>(weight + o * in, in, x, count, y + o);
}

inline void gemv_pairs(const c10::BFloat16* weight, std::int64_t in, const c10::BFloat16* x,
                       std::int64_t rows, std::int64_t count, float* y) {
  switch (rows) {
    case 1:
      return gemv_pairs<1>(weight, in, x, count, y);
    case 2:
      return gemv_pairs<2>(weight, in, x, count, y);
    case 3:
      return gemv_pairs<3>(weight, in, x, count, y);
    default:
      return gemv_pairs<4>(weight, in, x, count, y);
  }
}
#endif

#if MORPHVLM_HAS_AMX_KERNELS
// Sums of `Tiles` tiles of 16 outputs each and up to 16 rows of x, as amx_pack_rows leaves them in one tile.
template <int Tiles>
MORPHVLM_AMX inline void gemv_tiles_block(const c10::BFloat16* block, std::int64_t in, const std::uint32_t* x,
                                          float* sums) {
  amx_zero_sums();
  const auto stride = in * 2;
  for (std::int64_t k = 0; k < in / kTileDepth; ++k) {
    const auto* const from = block + k * kTileDepth;
    _tile_loadd(4, x + k * kTileNumbers, 64);
    _tile_loadd(5, from, stride);
    _tile_dpbf16ps(0, 5, 4);
    if constexpr (Tiles > 1) {
      _tile_loadd(6, from + kTileRows * in, stride);
      _tile_dpbf16ps(1, 6, 4);
      _tile_loadd(7, from + 2 * kTileRows * in, stride);
      _tile_dpbf16ps(2, 7, 4);
      _tile_loadd(5, from + 3 * kTileRows * in, stride);
      _tile_dpbf16ps(3, 5, 4);
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (Tiles > 1) {
    _tile_stored(1, sums + kTileNumbers, 64);
    _tile_stored(2, sums + 2 * kTileNumbers, 64);
    _tile_stored(3, sums + 3 * kTileNumbers, 64);
  }
}

// Of the sums [16 outputs][16 rows] of a tile `outputs` behind the first `skipped`, as rows of y.
MORPHVLM_AMX inline void store_turned(const float* sums, std::int64_t skipped, std::int64_t outputs,
                                      std::int64_t rows, std::int64_t apart, float* y) {
  __m512 turned[kTileRows];
  amx_turn(sums, turned);
  const auto there = static_cast<__mmask16>(((1U << outputs) - 1U) << skipped);
  for (std::int64_t row = 0; row < rows; ++row)
    _mm512_mask_storeu_ps(y + row * apart - skipped, there, turned[row]);
}

// y [rows, count] of outputs [first, first + count) of at least 16 from x in one tile.
MORPHVLM_AMX inline void gemv_by_tiles(const c10::BFloat16* weight, std::int64_t in, const std::uint32_t* x,
                                       std::int64_t rows, std::int64_t first, std::int64_t count, float* y) {
  constexpr std::int64_t kMany = 4;
  alignas(64) float sums[kMany * kTileNumbers];
  begin_tiles();
  std::int64_t o = 0;
  for (; o + kMany * kTileRows <= count; o += kMany * kTileRows) {
    gemv_tiles_block<kMany>(weight + (first + o) * in, in, x, sums);
    for (std::int64_t tile = 0; tile < kMany; ++tile)
      store_turned(sums + tile * kTileNumbers, 0, kTileRows, rows, count, y + o + tile * kTileRows);
  }
  for (; o < count; o += kTileRows) {
    // The last tile may begin with outputs that are there already, or somebody else's.
    const auto begin = std::min(first + o, std::max(std::int64_t{0}, first + count - kTileRows));
    gemv_tiles_block<1>(weight + begin * in, in, x, sums);
    store_turned(sums, first + o - begin, std::min(kTileRows, count - o), rows, count, y + o);
  }
  end_tiles();
}
#endif

// The fastest way of this processor for rows of x [rows, in] and weights [out, in].
inline Bf16Way bf16_way([[maybe_unused]] std::int64_t rows, [[maybe_unused]] std::int64_t in,
                        [[maybe_unused]] std::int64_t out) {
#if MORPHVLM_HAS_AMX_KERNELS
  if (rows > 1 && in % kTileDepth == 0 && out >= kTileRows && has_amx()) return Bf16Way::tiles;
#endif
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kHasPairs = has_avx512() && __builtin_cpu_supports("avx512bf16");
  if (kHasPairs) return Bf16Way::pairs;
#endif
  return Bf16Way::numbers;
}

}  // namespace morphvlm::detail
