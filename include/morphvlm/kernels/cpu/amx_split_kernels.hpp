// Products of fp32 numbers by AMX, which multiplies BFloat16: a number is taken as the sum of two of
// BFloat16, 16 bits together, and a product as three of theirs. What is left out is 2^-18 of it as a rule,
// never 2^-14.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "morphvlm/kernels/cpu/amx_kernels.hpp"

#if MORPHVLM_HAS_AMX_KERNELS

namespace morphvlm::detail {

// Tiles of depth that go at once: their sums stay in the tile registers.
inline constexpr std::int64_t kSplitSteps = 32;

// The parts of a number, and the words (pairs of BFloat16) of a tile's parts.
inline constexpr std::int64_t kSplitParts = 2, kSplitWords = kSplitParts * kTileNumbers;

// The numbers of BFloat16 that are nearest to 16 numbers and 16 more, which become what is left of them.
MORPHVLM_AMX inline __m512i amx_take_part(__m512& a, __m512& b) {
  const __m512i part = (__m512i)_mm512_cvtne2ps_pbh(b, a);
  a = _mm512_sub_ps(a, amx_widened(_mm512_maskz_extracti64x4_epi64(0xFF, part, 0)));
  b = _mm512_sub_ps(b, amx_widened(_mm512_maskz_extracti64x4_epi64(0xFF, part, 1)));
  return part;
}

// The parts of 32 numbers that lie side by side, `apart` words from one part to the next.
MORPHVLM_AMX inline void amx_split(const float* from, std::uint32_t* to, std::int64_t apart) {
  __m512 a = _mm512_loadu_ps(from), b = _mm512_loadu_ps(from + kTileRows);
  for (std::int64_t part = 0; part < kSplitParts; ++part)
    _mm512_storeu_si512(to + part * apart, amx_take_part(a, b));
}

// Tiles [first, last) of rows of x [rows, stride], `steps` of its depth, as first factors:
// out [tiles][steps][part][16 rows][16 pairs].
MORPHVLM_AMX inline void amx_split_rows(const float* x, std::int64_t stride, std::int64_t rows,
                                        std::int64_t first, std::int64_t last, std::int64_t steps,
                                        std::uint32_t* out) {
  for (auto row = first * kTileRows; row < last * kTileRows; ++row) {
    auto* to = out + row / kTileRows * steps * kSplitWords + row % kTileRows * kTileRows;
    for (std::int64_t k = 0; k < steps; ++k, to += kSplitWords) {
      if (row < rows) {
        amx_split(x + row * stride + k * kTileDepth, to, kTileNumbers);
        continue;
      }
      for (std::int64_t part = 0; part < kSplitParts; ++part)
        _mm512_storeu_si512(to + part * kTileNumbers, _mm512_setzero_si512());
    }
  }
}

// to = the transpose of 16 by 16 words.
MORPHVLM_AMX inline void amx_turn(const std::uint32_t* from, std::uint32_t* to) {
  __m512i a[16], b[16];  // NOLINT(*-avoid-c-arrays): a template argument loses their alignment
  for (std::size_t i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * kTileRows);
  for (std::size_t i = 0; i < 16; i += 2) {
    b[i] = _mm512_maskz_unpacklo_epi32(kAllLanes, a[i], a[i + 1]);
    b[i + 1] = _mm512_maskz_unpackhi_epi32(kAllLanes, a[i], a[i + 1]);
  }
  // Of rows i to i + 3, the column that each quarter of a register has first, second, ...
  for (std::size_t i = 0; i < 16; i += 4) {
    for (std::size_t j = 0; j < 2; ++j) {
      a[i + 2 * j] = _mm512_maskz_unpacklo_epi64(0xFF, b[i + j], b[i + j + 2]);
      a[i + 2 * j + 1] = _mm512_maskz_unpackhi_epi64(0xFF, b[i + j], b[i + j + 2]);
    }
  }
  constexpr int kEven = 0x88, kOdd = 0xDD;
  for (std::size_t j = 0; j < 4; ++j) {
    const __m512i even = _mm512_maskz_shuffle_i32x4(kAllLanes, a[j], a[j + 4], kEven),
                  odd = _mm512_maskz_shuffle_i32x4(kAllLanes, a[j], a[j + 4], kOdd),
                  lower_even = _mm512_maskz_shuffle_i32x4(kAllLanes, a[j + 8], a[j + 12], kEven),
                  lower_odd = _mm512_maskz_shuffle_i32x4(kAllLanes, a[j + 8], a[j + 12], kOdd);
    const auto store = [&](std::size_t column, __m512i words)
                           MORPHVLM_AMX { _mm512_storeu_si512(to + column * kTileRows, words); };
    store(j, _mm512_maskz_shuffle_i32x4(kAllLanes, even, lower_even, kEven));
    store(j + 4, _mm512_maskz_shuffle_i32x4(kAllLanes, odd, lower_odd, kEven));
    store(j + 8, _mm512_maskz_shuffle_i32x4(kAllLanes, even, lower_even, kOdd));
    store(j + 12, _mm512_maskz_shuffle_i32x4(kAllLanes, odd, lower_odd, kOdd));
  }
}

// Where a tile of columns begins in a packed weight, `steps` deep: [two tiles of columns][step][part][two
// tiles][16 pairs][16 columns].
inline std::int64_t split_place(std::int64_t column, std::int64_t steps) {
  return (column / kTwoTiles * steps * kSplitParts * 2 + column % kTwoTiles / kTileRows) * kTileNumbers;
}

// The second factor of x W^T from `weight` [columns, stride], of which it takes `steps` of the depth.
MORPHVLM_AMX inline void amx_split_outputs(const float* weight, std::int64_t stride, std::int64_t columns,
                                           std::int64_t steps, std::uint32_t* out) {
  alignas(64) std::array<std::uint32_t, kSplitWords> parts;
  for (std::int64_t column = 0; column < columns; column += kTileRows) {
    auto* to = out + split_place(column, steps);
    for (std::int64_t k = 0; k < steps; ++k) {
      for (std::int64_t row = 0; row < kTileRows; ++row)
        amx_split(weight + (column + row) * stride + k * kTileDepth, parts.data() + row * kTileRows,
                  kTileNumbers);
      for (std::int64_t part = 0; part < kSplitParts; ++part, to += 2 * kTileNumbers)
        amx_turn(parts.data() + part * kTileNumbers, to);
    }
  }
}

inline constexpr __mmask32 kAllHalves = 0xFFFFFFFF;

// Numbers of two vectors' halves in turn.
inline constexpr auto kInTurn = [] {
  std::array<std::uint16_t, 32> places{};
  for (std::uint16_t i = 0; i < 16; ++i) {
    places[2 * i] = i;
    places[2 * i + 1] = static_cast<std::uint16_t>(16 + i);
  }
  return places;
}();

// The second factor of x W from `weight` [depth, stride], likewise.
MORPHVLM_AMX inline void amx_split_columns(const float* weight, std::int64_t stride, std::int64_t columns,
                                           std::int64_t steps, std::uint32_t* out) {
  const __m512i in_turn = _mm512_loadu_si512(kInTurn.data());
  for (std::int64_t pair = 0; pair < steps * kTileRows; ++pair) {
    for (std::int64_t column = 0; column < columns; column += kTileRows) {
      const float* const even = weight + 2 * pair * stride + column;
      __m512 a = _mm512_loadu_ps(even), b = _mm512_loadu_ps(even + stride);
      auto* const to = out + split_place(column, steps) + pair / kTileRows * 2 * kSplitWords +
                       pair % kTileRows * kTileRows;
      for (std::int64_t part = 0; part < kSplitParts; ++part)
        _mm512_storeu_si512(to + part * 2 * kTileNumbers,
                            _mm512_maskz_permutexvar_epi16(kAllHalves, in_turn, amx_take_part(a, b)));
    }
  }
}

// A part of two by two tiles, rows in tile registers 4 and 5, columns in 6 and 7.
MORPHVLM_AMX inline void amx_load_rows(const std::uint32_t* upper, const std::uint32_t* lower,
                                       std::int64_t part) {
  _tile_loadd(4, upper + part * kTileNumbers, 64);
  _tile_loadd(5, lower + part * kTileNumbers, 64);
}
MORPHVLM_AMX inline void amx_load_columns(const std::uint32_t* weight, std::int64_t part) {
  _tile_loadd(6, weight + part * 2 * kTileNumbers, 64);
  _tile_loadd(7, weight + part * 2 * kTileNumbers + kTileNumbers, 64);
}

// Adds products of `steps` tiles of depth to the sums of 32 rows and 32 columns. The pairs of parts come in
// an order in which each shares one factor with the one before.
MORPHVLM_AMX inline void amx_add_split(const std::uint32_t* x, const std::uint32_t* weight,
                                       std::int64_t steps) {
  const auto* lower = x + steps * kSplitWords;
  for (std::int64_t k = 0; k < steps; ++k) {
    amx_load_rows(x, lower, 0);
    amx_load_columns(weight, 1);
    amx_add_tiles();
    amx_load_columns(weight, 0);
    amx_add_tiles();
    amx_load_rows(x, lower, 1);
    amx_add_tiles();
    x += kSplitWords;
    lower += kSplitWords;
    weight += 2 * kSplitWords;
  }
}

// Sums of two by two tiles, begun with the columns' biases (or null).
MORPHVLM_AMX inline void amx_begin_sums(const float* bias) {
  if (bias == nullptr) return amx_zero_sums();
  _tile_loadd(0, bias, 0);
  _tile_loadd(1, bias + kTileRows, 0);
  _tile_loadd(2, bias, 0);
  _tile_loadd(3, bias + kTileRows, 0);
}

// Adds products of two tiles of rows with packed columns to y [32, columns], rows of `width` numbers; or
// begins it, with a bias (or null).
MORPHVLM_AMX inline void amx_split_product(const std::uint32_t* x, const std::uint32_t* weight,
                                           std::int64_t steps, std::int64_t columns, bool begins,
                                           const float* bias, std::int64_t width, float* y) {
  float* const lower = y + kTileRows * width;
  for (std::int64_t column = 0; column < columns; column += kTwoTiles) {
    if (begins)
      amx_begin_sums(bias == nullptr ? nullptr : bias + column);
    else
      amx_load_sums(y + column, lower + column, kTileRows, width * 4);
    amx_add_split(x, weight + split_place(column, steps), steps);
    amx_store_sums(y + column, lower + column, kTileRows, width * 4);
  }
}

}  // namespace morphvlm::detail

#endif
