// Products of some rows of BFloat16 with large weights by AMX: the weights are read once, as they are stored,
// where a library's product first lays them out anew for its kernels.
#pragma once

#include <c10/core/CPUAllocator.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "morphvlm/kernels/cpu/x86_kernels.hpp"

#if MORPHVLM_HAS_X86_KERNELS && defined(__linux__)
#define MORPHVLM_HAS_AMX_KERNELS 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define MORPHVLM_HAS_AMX_KERNELS 0
#endif

namespace morphvlm::detail {

// A tile is 16 rows of 64 bytes: 32 numbers of 16 bits or 16 sums in fp32. Products go two by two tiles.
inline constexpr std::int64_t kTileRows = 16, kTileDepth = 32, kTileNumbers = 256, kTwoTiles = 32;

// Tiles of 16 rows for `rows`, an even number.
inline std::int64_t tiles_for(std::int64_t rows) { return (rows + kTwoTiles - 1) / kTwoTiles * 2; }

// Memory for a while, from where tensors get theirs: what a heap puts into gaps of this size stays longer.
template <class T>
class TileBuffer {
 public:
  explicit TileBuffer(std::int64_t count)
      : memory_(c10::GetCPUAllocator()->allocate(static_cast<std::size_t>(count) * sizeof(T))) {}
  T* get() const { return static_cast<T*>(memory_.get()); }

 private:
  c10::DataPtr memory_;
};

#if MORPHVLM_HAS_AMX_KERNELS

// Whether the processor has AMX for BFloat16 and the system lets this process use it.
inline bool has_amx() {
  static const bool kHas = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBFloat16 = 1U << 22, kTiles = 1U << 24;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBFloat16) == 0 || (d & kTiles) == 0)
      return false;
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512bf16")) return false;
    constexpr long kAskForState = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return ::syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
  }();
  return kHas;
}

#define MORPHVLM_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))

struct alignas(64) AmxConfig {
  std::uint8_t palette = 1, start_row = 0;
  std::array<std::uint8_t, 14> reserved = {};
  std::array<std::uint16_t, 16> row_bytes = {64, 64, 64, 64, 64, 64, 64, 64};
  std::array<std::uint8_t, 16> rows = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Not a variable of a function: GCC takes the intrinsic to read its first eight bytes alone, and leaves out
// the rest.
inline constexpr AmxConfig kAmxConfig;

MORPHVLM_AMX inline void begin_tiles() { _tile_loadconfig(&kAmxConfig); }
MORPHVLM_AMX inline void end_tiles() { _tile_release(); }

// For forms of the intrinsics that name all their inputs: GCC takes the others to read what is not set.
inline constexpr __mmask16 kAllLanes = 0xFFFF;

// The fp32 numbers that 16 of BFloat16 stand for.
MORPHVLM_AMX inline __m512 amx_widened(__m256i numbers) {
  return _mm512_castsi512_ps(
      _mm512_maskz_slli_epi32(kAllLanes, _mm512_maskz_cvtepu16_epi32(kAllLanes, numbers), 16));
}

MORPHVLM_AMX inline __m512i amx_lanes() {
  return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

// x [rows, depth], of which tiles [first, last) of the depth are laid out as second factors, filled up with
// zeros to `tiles` * 16 rows: out [depth / 32][tiles][16 pairs][16 rows].
MORPHVLM_AMX inline void amx_pack_rows(const c10::BFloat16* x, std::int64_t rows, std::int64_t depth,
                                       std::int64_t tiles, std::int64_t first, std::int64_t last,
                                       std::uint32_t* out) {
  const __m512i places = _mm512_mullo_epi32(amx_lanes(), _mm512_set1_epi32(static_cast<int>(depth / 2)));
  for (std::int64_t m = 0; m < tiles; ++m) {
    const auto there = std::clamp(rows - m * kTileRows, std::int64_t{0}, kTileRows);
    const auto lanes = static_cast<__mmask16>((1U << there) - 1U);
    for (auto k = first; k < last; ++k) {
      const auto* const from = reinterpret_cast<const int*>(x + m * kTileRows * depth + k * kTileDepth);
      std::uint32_t* const to = out + (k * tiles + m) * kTileNumbers;
      for (std::int64_t pair = 0; pair < kTileRows; ++pair)
        _mm512_storeu_si512(to + pair * kTileRows, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), lanes,
                                                                               places, from + pair, 4));
    }
  }
}

// A tile [16][16] with its rows as columns, four by four numbers and then one by one.
MORPHVLM_AMX inline void amx_turn(const float* tile, __m512 (&turned)[kTileRows]) {
  __m512 r[kTileRows], t[kTileRows];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) r[i] = _mm512_loadu_ps(tile + i * kTileRows);
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(kAllLanes, r[i], r[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_ps(kAllLanes, r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kTileRows; i += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
      r[i + 2 * j] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xFF, a, b));
      r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xFF, a, b));
    }
  }
  // Of four registers each the first and third quarters, and the second and fourth.
  constexpr int kEven = 0x88, kOdd = 0xDD;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_maskz_shuffle_f32x4(kAllLanes, r[j], r[4 + j], kEven),
                 b = _mm512_maskz_shuffle_f32x4(kAllLanes, r[8 + j], r[12 + j], kEven),
                 c = _mm512_maskz_shuffle_f32x4(kAllLanes, r[j], r[4 + j], kOdd),
                 d = _mm512_maskz_shuffle_f32x4(kAllLanes, r[8 + j], r[12 + j], kOdd);
    turned[j] = _mm512_maskz_shuffle_f32x4(kAllLanes, a, b, kEven);
    turned[4 + j] = _mm512_maskz_shuffle_f32x4(kAllLanes, c, d, kEven);
    turned[8 + j] = _mm512_maskz_shuffle_f32x4(kAllLanes, a, b, kOdd);
    turned[12 + j] = _mm512_maskz_shuffle_f32x4(kAllLanes, c, d, kOdd);
  }
}

// Sums [16 outputs][16 rows] of a tile, plus the outputs' biases (or null), as rows of y.
MORPHVLM_AMX inline void amx_store_turned(const float* sums, const c10::BFloat16* bias, std::int64_t rows,
                                          std::int64_t width, c10::BFloat16* y) {
  __m512 more = _mm512_setzero_ps(), turned[kTileRows];
  if (bias != nullptr) {
    more = amx_widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias)));
  }
  amx_turn(sums, turned);
  for (std::int64_t row = 0; row < rows; ++row)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + row * width),
                        (__m256i)_mm512_cvtneps_pbh(_mm512_add_ps(turned[row], more)));
}

// Sums of two by two tiles in tile registers 0 to 3: of each pair the second lies `apart` numbers behind the
// first, rows of a tile `row_bytes` apart. As they are given, each tile is in one piece.
MORPHVLM_AMX inline void amx_load_sums(const float* first, const float* second,
                                       std::int64_t apart = kTileNumbers, std::int64_t row_bytes = 64) {
  _tile_loadd(0, first, row_bytes);
  _tile_loadd(1, first + apart, row_bytes);
  _tile_loadd(2, second, row_bytes);
  _tile_loadd(3, second + apart, row_bytes);
}
MORPHVLM_AMX inline void amx_store_sums(float* first, float* second, std::int64_t apart = kTileNumbers,
                                        std::int64_t row_bytes = 64) {
  _tile_stored(0, first, row_bytes);
  _tile_stored(1, first + apart, row_bytes);
  _tile_stored(2, second, row_bytes);
  _tile_stored(3, second + apart, row_bytes);
}
MORPHVLM_AMX inline void amx_zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Adds to the sums the products of first factors in tile registers 4 and 5 with second ones in 6 and 7.
MORPHVLM_AMX inline void amx_add_tiles() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Adds products of `steps` tiles of depth: first factors are 32 rows of `row_bytes`, second ones two tiles
// side by side, `second_step` numbers from one depth to the next.
MORPHVLM_AMX inline void amx_add_steps(const c10::BFloat16* first, std::int64_t row_bytes,
                                       const std::uint32_t* second, std::int64_t second_step,
                                       std::int64_t steps) {
  const auto* const lower = first + kTileRows * (row_bytes / 2);
  for (std::int64_t k = 0; k < steps; ++k) {
    _tile_loadd(4, first + k * kTileDepth, row_bytes);
    _tile_loadd(5, lower + k * kTileDepth, row_bytes);
    _tile_loadd(6, second + k * second_step, 64);
    _tile_loadd(7, second + k * second_step + kTileNumbers, 64);
    amx_add_tiles();
  }
}

// Outputs [first, last), multiples of 32, of y [rows, out] = x weight^T + bias; x as amx_pack_rows leaves it,
// in an even number of tiles. Weight [out, depth]; bias [out] or null.
MORPHVLM_AMX inline void amx_affine(const std::uint32_t* x, std::int64_t tiles, std::int64_t rows,
                                    const c10::BFloat16* weight, std::int64_t depth,
                                    const c10::BFloat16* bias, std::int64_t out, std::int64_t first,
                                    std::int64_t last, c10::BFloat16* y) {
  begin_tiles();
  // A piece of x that stays in the second cache while all the weights it meets go by.
  constexpr std::int64_t kMostTiles = 1024;
  const auto steps = depth / kTileDepth, pieces = (steps * tiles + kMostTiles - 1) / kMostTiles,
             piece = (steps + pieces - 1) / pieces;
  // Of all outputs only where they are needed again.
  const auto apart = pieces > 1 ? tiles * kTileNumbers / kTileRows : 0;
  const TileBuffer<float> sums((last - first - kTwoTiles) * apart + tiles * 2 * kTileNumbers);
  for (std::int64_t k = 0; k < steps; k += piece) {
    for (auto n = first; n < last; n += kTwoTiles) {
      for (std::int64_t m = 0; m < tiles; m += 2) {
        float* const upper = sums.get() + (n - first) * apart + m * 2 * kTileNumbers;
        float* const lower = upper + 2 * kTileNumbers;
        if (k == 0)
          amx_zero_sums();
        else
          amx_load_sums(upper, lower);
        amx_add_steps(weight + n * depth + k * kTileDepth, depth * 2, x + (k * tiles + m) * kTileNumbers,
                      tiles * kTileNumbers, std::min(piece, steps - k));
        amx_store_sums(upper, lower);
        if (k + piece < steps) continue;
        for (std::int64_t i = 0; i < 4; ++i) {
          const auto row = (m + i % 2) * kTileRows, column = n + i / 2 * kTileRows;
          amx_store_turned(upper + i * kTileNumbers, bias == nullptr ? nullptr : bias + column,
                           std::min(kTileRows, rows - row), out, y + row * out + column);
        }
      }
    }
  }
  end_tiles();
}

// Which numbers of two rows side by side make pairs of the first and of the last 16 columns.
inline constexpr auto kPairsOfRows = [] {
  std::array<std::array<std::uint16_t, 32>, 2> places{};
  for (std::uint16_t half = 0; half < 2; ++half)
    for (std::uint16_t c = 0; c < 16; ++c) {
      places[half][2 * c] = static_cast<std::uint16_t>(half * 16 + c);
      places[half][2 * c + 1] = static_cast<std::uint16_t>(32 + half * 16 + c);
    }
  return places;
}();

// Pairs of a weight's rows as second factors: out [depth tiles][column tiles][16 pairs][16 columns], an even
// number of column tiles.
MORPHVLM_AMX inline void amx_pack_weight(const c10::BFloat16* weight, std::int64_t stride,
                                         std::int64_t depth_tiles, std::int64_t column_tiles,
                                         std::uint32_t* out) {
  const __m512i low = _mm512_loadu_si512(kPairsOfRows[0].data()),
                high = _mm512_loadu_si512(kPairsOfRows[1].data());
  for (std::int64_t pair = 0; pair < depth_tiles * kTileRows; ++pair) {
    const auto* const even = weight + 2 * pair * stride;
    std::uint32_t* const tile =
        out + pair / kTileRows * column_tiles * kTileNumbers + pair % kTileRows * kTileRows;
    for (std::int64_t c = 0; c < column_tiles; c += 2) {
      const __m512i a = _mm512_loadu_si512(even + c * kTileRows),
                    b = _mm512_loadu_si512(even + stride + c * kTileRows);
      _mm512_storeu_si512(tile + c * kTileNumbers, _mm512_permutex2var_epi16(a, low, b));
      _mm512_storeu_si512(tile + (c + 1) * kTileNumbers, _mm512_permutex2var_epi16(a, high, b));
    }
  }
}

// sums [tiles][column tiles][256] (+)= x [tiles * 16, depth tiles * 32] times a packed piece of the weight.
MORPHVLM_AMX inline void amx_add_products(const c10::BFloat16* x, std::int64_t stride, std::int64_t tiles,
                                          const std::uint32_t* weight, std::int64_t depth_tiles,
                                          std::int64_t column_tiles, bool begins, float* sums) {
  for (std::int64_t m = 0; m < tiles; m += 2) {
    for (std::int64_t c = 0; c < column_tiles; c += 2) {
      float* const upper = sums + (m * column_tiles + c) * kTileNumbers;
      float* const lower = upper + column_tiles * kTileNumbers;
      if (begins)
        amx_zero_sums();
      else
        amx_load_sums(upper, lower);
      amx_add_steps(x + m * kTileRows * stride, stride * 2, weight + c * kTileNumbers,
                    column_tiles * kTileNumbers, depth_tiles);
      amx_store_sums(upper, lower);
    }
  }
}

// Columns [first, last), multiples of 32, of y [rows, width] = x weight; x [tiles * 16, depth], of which the
// rows beyond `rows` are zeros, in an even number of tiles. Weight [depth, width], of a depth that is a
// multiple of 32.
MORPHVLM_AMX inline void amx_times(const c10::BFloat16* x, std::int64_t tiles, std::int64_t rows,
                                   const c10::BFloat16* weight, std::int64_t depth, std::int64_t width,
                                   std::int64_t first, std::int64_t last, c10::BFloat16* y) {
  begin_tiles();
  // A piece of the weight and the sums it goes into stay in the second cache.
  constexpr std::int64_t kDepthTiles = 8, kMostColumns = 512, kSums = 1 << 16;
  const auto at_once =
      std::clamp(kSums / (tiles * kTileRows) / kTwoTiles * kTwoTiles, std::int64_t{64}, kMostColumns);
  const TileBuffer<float> sums(tiles * kTileRows * at_once);
  const TileBuffer<std::uint32_t> packed(kDepthTiles * at_once * kTileRows);
  for (auto column = first; column < last; column += at_once) {
    const auto columns = std::min(at_once, last - column), column_tiles = columns / kTileRows;
    for (std::int64_t n = 0; n < depth; n += kDepthTiles * kTileDepth) {
      const auto depth_tiles = std::min(kDepthTiles, (depth - n) / kTileDepth);
      amx_pack_weight(weight + n * width + column, width, depth_tiles, column_tiles, packed.get());
      amx_add_products(x + n, depth, tiles, packed.get(), depth_tiles, column_tiles, n == 0, sums.get());
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto* const of_row =
          sums.get() + row / kTileRows * column_tiles * kTileNumbers + row % kTileRows * kTileRows;
      for (std::int64_t c = 0; c < column_tiles; ++c) {
        const __m512 one = _mm512_loadu_ps(of_row + c * kTileNumbers);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + row * width + column + c * kTileRows),
                            (__m256i)_mm512_cvtneps_pbh(one));
      }
    }
  }
  end_tiles();
}

#else

inline bool has_amx() { return false; }

#endif

}  // namespace morphvlm::detail
