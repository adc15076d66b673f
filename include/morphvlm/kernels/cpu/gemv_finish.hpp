// What becomes of the sums of products of few rows on a CPU: bias, activation, gate, residual sum, each
// rounded as if it had been stored.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "morphvlm/kernels/cpu/gemv_kernels.hpp"

namespace morphvlm::detail {

// x as it is after it was stored in a T.
template <class T>
float stored_as(float x) {
  return static_cast<float>(static_cast<T>(x));
}

// The steps behind a weight's sums.
template <class T>
struct SumFinish {
  std::int64_t out = 0;
  const T* bias = nullptr;
  const T* onto = nullptr;
  T* y = nullptr;
  bool gelu = false, is_gated = false;
  float gate = 0;

  // Sums of outputs [o, o + count) of a row.
  void operator()(std::int64_t row, std::int64_t o, const float* sums, std::int64_t count) const;
  void one(std::int64_t place, std::int64_t o, float sum) const {
    float v = stored_as<T>(bias == nullptr ? sum : sum + static_cast<float>(bias[o]));
    if (gelu) v = stored_as<T>(0.5F * v * (1 + std::erf(v * 0.70710678118654752F)));
    if (is_gated) v = stored_as<T>(v * gate);
    y[place] = static_cast<T>(onto == nullptr ? v : v + static_cast<float>(onto[place]));
  }
};

// Numbers rounded to T, ties to even, as numbers in fp32. A NaN stays one.
template <int Lanes, class T>
[[gnu::always_inline]] inline void round_lanes(typename Vectors<Lanes>::F& v) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    typename Vectors<Lanes>::U bits;
    load(bits, &v);
    const auto up = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000;
    const auto nan = bits | 0x00400000;
    bits = (bits & 0x7FFFFFFF) > 0x7F800000 ? nan & 0xFFFF0000 : up;
    load(v, &bits);
  }
}

template <int Lanes>
[[gnu::always_inline]] inline void store_lanes(float* to, const typename Vectors<Lanes>::F& v) {
  std::memcpy(to, &v, sizeof v);
}
template <int Lanes>
[[gnu::always_inline]] inline void store_lanes(c10::BFloat16* to, const typename Vectors<Lanes>::F& v) {
  typename Vectors<Lanes>::U bits;
  load(bits, &v);
  const auto halves = __builtin_convertvector(bits >> 16, typename Vectors<Lanes>::H);
  std::memcpy(static_cast<void*>(to), &halves, sizeof halves);
}

template <int Lanes, class T>
[[gnu::always_inline]] inline void finish_lanes(const SumFinish<T>& steps, std::int64_t place, std::int64_t o,
                                                const float* sums, std::int64_t count) {
  typename Vectors<Lanes>::F v, more;
  std::int64_t i = 0;
  for (; i + Lanes <= count; i += Lanes) {
    load(v, sums + i);
    if (steps.bias != nullptr) {
      widen<Lanes>(more, steps.bias + o + i);
      v += more;
    }
    round_lanes<Lanes, T>(v);
    if (steps.is_gated) {
      v *= steps.gate;
      round_lanes<Lanes, T>(v);
    }
    if (steps.onto != nullptr) {
      widen<Lanes>(more, steps.onto + place + i);
      v += more;
      round_lanes<Lanes, T>(v);
    }
    store_lanes<Lanes>(steps.y + place + i, v);
  }
  for (; i < count; ++i) steps.one(place + i, o + i, sums[i]);
}

template <class T>
using FinishKernel = void (*)(const SumFinish<T>&, std::int64_t place, std::int64_t o, const float* sums,
                              std::int64_t count);

template <class T>
void finish_portable(const SumFinish<T>& steps, std::int64_t place, std::int64_t o, const float* sums,
                     std::int64_t count) {
  finish_lanes<4>(steps, place, o, sums, count);
}
#if MORPHVLM_HAS_X86_KERNELS
template <class T>
__attribute__((target("avx512f,avx512bw,avx512vl"))) void finish_avx512(const SumFinish<T>& steps,
                                                                        std::int64_t place, std::int64_t o,
                                                                        const float* sums,
                                                                        std::int64_t count) {
  finish_lanes<16>(steps, place, o, sums, count);
}
#endif

// The fastest kernel that this processor runs.
template <class T>
FinishKernel<T> finish_kernel() {
#if MORPHVLM_HAS_X86_KERNELS
  if (has_avx512()) return &finish_avx512<T>;
#endif
  return &finish_portable<T>;
}

template <class T>
void SumFinish<T>::operator()(std::int64_t row, std::int64_t o, const float* sums, std::int64_t count) const {
  const auto place = row * out + o;
  if (!gelu) return finish_kernel<T>()(*this, place, o, sums, count);
  for (std::int64_t i = 0; i < count; ++i) one(place + i, o + i, sums[i]);
}

}  // namespace morphvlm::detail
