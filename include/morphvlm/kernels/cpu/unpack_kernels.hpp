// The inner loops that write out weights kept in few bits as numbers, on a CPU.
#pragma once

#include <c10/util/BFloat16.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "morphvlm/kernels/cpu/nf4_levels.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"

namespace morphvlm::detail {

// values [blocks, 64] that codes [blocks, 32] and as many scales stand for, rounded to T.
template <class T>
using Nf4Unpack = void (*)(const std::uint8_t* codes, const float* scales, std::int64_t blocks, T* values);

// The two weights that each of `bytes` codes of one scale stands for.
template <class T>
void nf4_unpack_pairs(const std::uint8_t* codes, float scale, std::int64_t bytes, T* values) {
  std::array<T, 16> level;
  for (std::size_t i = 0; i < level.size(); ++i) level[i] = static_cast<T>(kNf4Levels[i] * scale);
  for (std::int64_t i = 0; i < bytes; ++i) {
    values[2 * i] = level[codes[i] >> 4];
    values[2 * i + 1] = level[codes[i] & 15];
  }
}

template <class T>
void nf4_unpack_portable(const std::uint8_t* codes, const float* scales, std::int64_t blocks, T* values) {
  constexpr auto kBytes = kNf4Block / 2;
  for (std::int64_t b = 0; b < blocks; ++b)
    nf4_unpack_pairs(codes + b * kBytes, scales[b], kBytes, values + b * kNf4Block);
}

#if MORPHVLM_HAS_X86_KERNELS
#define MORPHVLM_UNPACK __attribute__((target("avx512f,avx512bw,avx512vl")))
// Forms of the intrinsics that name all their inputs: GCC takes the others to read what is not set.
inline constexpr __mmask16 kAllOfSixteen = 0xFFFF;

// Sixteen numbers rounded to BFloat16, ties to even.
MORPHVLM_UNPACK inline __m256i rounded_halves(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd =
      _mm512_and_si512(_mm512_maskz_srli_epi32(kAllOfSixteen, bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  return _mm512_maskz_cvtepi32_epi16(kAllOfSixteen, _mm512_maskz_srli_epi32(kAllOfSixteen, up, 16));
}

// A block's sixteen values are a register, and looking up a permutation of it, by the lowest bits of each
// lane; the earlier of two weights is in the higher bits of their byte.
MORPHVLM_UNPACK inline void nf4_unpack_avx512(const std::uint8_t* codes, const float* scales,
                                              std::int64_t blocks, c10::BFloat16* values) {
  const __m512 levels = _mm512_loadu_ps(kNf4Levels.data());
  for (std::int64_t b = 0; b < blocks; ++b) {
    const __m256i some = rounded_halves(_mm512_mul_ps(levels, _mm512_set1_ps(scales[b])));
    // The fifth of an upper place's bits is of the weight before: the table is there twice.
    const __m512i level = _mm512_maskz_broadcast_i64x4(0xFF, some);
    for (std::int64_t half = 0; half < 2; ++half, codes += 16, values += 32) {
      const __m512i pairs =
          _mm512_maskz_cvtepu8_epi32(kAllOfSixteen, _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
      const __m512i places = _mm512_or_si512(_mm512_maskz_srli_epi32(kAllOfSixteen, pairs, 4),
                                             _mm512_maskz_slli_epi32(kAllOfSixteen, pairs, 16));
      _mm512_storeu_si512(values, _mm512_maskz_permutexvar_epi16(~__mmask32{0}, places, level));
    }
  }
}
MORPHVLM_UNPACK inline void nf4_unpack_avx512(const std::uint8_t* codes, const float* scales,
                                              std::int64_t blocks, float* values) {
  const __m512 levels = _mm512_loadu_ps(kNf4Levels.data());
  for (std::int64_t b = 0; b < blocks; ++b) {
    const __m512 level = _mm512_mul_ps(levels, _mm512_set1_ps(scales[b]));
    for (std::int64_t part = 0; part < 4; ++part, codes += 8, values += 16) {
      const __m512i pairs =
          _mm512_maskz_cvtepu8_epi64(0xFF, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
      const __m512i places =
          _mm512_or_si512(_mm512_maskz_srli_epi64(0xFF, pairs, 4), _mm512_maskz_slli_epi64(0xFF, pairs, 32));
      _mm512_storeu_ps(values, _mm512_maskz_permutexvar_ps(kAllOfSixteen, places, level));
    }
  }
}

__attribute__((target("avx512f"))) inline __m512 widened_bytes(const std::int8_t* codes) {
  const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  return _mm512_maskz_cvtepi32_ps(kAllOfSixteen, _mm512_maskz_cvtepi8_epi32(kAllOfSixteen, some));
}
// values [n] = codes * scale, rounded to T.
template <class T>
MORPHVLM_UNPACK void int8_unpack_avx512(const std::int8_t* codes, T scale, std::int64_t n, T* values) {
  const auto factor = static_cast<float>(scale);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 some = _mm512_mul_ps(widened_bytes(codes + i), _mm512_set1_ps(factor));
    if constexpr (std::is_same_v<T, float>)
      _mm512_storeu_ps(values + i, some);
    else
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + i), rounded_halves(some));
  }
  for (; i < n; ++i) values[i] = static_cast<T>(static_cast<float>(codes[i]) * factor);
}
#endif

// The fastest kernel that this processor runs.
template <class T>
Nf4Unpack<T> nf4_unpack() {
#if MORPHVLM_HAS_X86_KERNELS
  if (has_avx512()) return static_cast<Nf4Unpack<T>>(&nf4_unpack_avx512);
#endif
  return &nf4_unpack_portable<T>;
}

}  // namespace morphvlm::detail
