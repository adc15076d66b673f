// Sums of the lanes of AVX-512's registers, several at a time.
#pragma once

#include <array>
#include <cstdint>

#include "morphvlm/kernels/cpu/x86_kernels.hpp"

#if MORPHVLM_HAS_X86_KERNELS

namespace morphvlm::detail {

// The sums of lanes eight apart, and those of all lanes of four registers.
__attribute__((target("avx512f"))) inline __m256 half_of_lanes(__m512 x) {
  const __m512d halves = _mm512_castps_pd(x);
  return _mm256_add_ps(_mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xFF, halves, 0)),
                       _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xFF, halves, 1)));
}
__attribute__((target("avx512f"))) inline __m128 four_lane_sums(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(half_of_lanes(a), half_of_lanes(b)),
                                     _mm256_hadd_ps(half_of_lanes(c), half_of_lanes(d)));
  return _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
}

// y[row, i] = the sum of sums[i][row], `apart` numbers from one row of y to the next.
template <int Rows, int Outputs>
__attribute__((target("avx512f"))) inline void store_lane_sums(const __m512 (&sums)[Outputs][Rows],
                                                               std::int64_t apart, float* y) {
  constexpr int kAll = Outputs * Rows;
  std::array<float, (kAll + 3) / 4 * 4> flat;
#pragma GCC unroll 4
  for (int i = 0; i < kAll; i += 4) {
    __m512 four[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k)
      four[k] = i + k < kAll ? sums[(i + k) / Rows][(i + k) % Rows] : _mm512_setzero_ps();
    _mm_storeu_ps(flat.data() + i, four_lane_sums(four[0], four[1], four[2], four[3]));
  }
  for (int i = 0; i < kAll; ++i) y[i % Rows * apart + i / Rows] = flat[static_cast<std::size_t>(i)];
}

}  // namespace morphvlm::detail

#endif
