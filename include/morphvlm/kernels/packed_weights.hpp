// What is stored of a weight in few bits, for the kernels that read it and the formats that make it (quant/).
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// What is stored of a weight in 4-bit NormalFloat; see NF4.
struct Nf4Packed {
  Tensor codes = {};          ///< uint8 [out * in / 2], the earlier of two weights in the high bits
  Tensor absmax = {};         ///< uint8 [blocks], 8-bit codes of the scales less their mean
  Tensor nested_absmax = {};  ///< float [blocks / 256]
  Tensor offset = {};         ///< float [], the scales' mean
  std::int64_t out = 0,       ///< rows of the weight
      in = 0;                 ///< columns of the weight, an even number
};

/// What is stored of a weight in 8-bit integers; see Int8.
struct Int8Packed {
  Tensor codes = {};     ///< int8 [out, in]
  Tensor absmax = {};    ///< float [out]
  std::int64_t out = 0,  ///< rows of the weight
      in = 0;            ///< columns of the weight
};

namespace detail {

// The 256 levels of the 8-bit code that scales are kept in: for each power of ten below 1, twice as many
// values as for the one before it (Dettmers 2015). float32 arithmetic throughout, as the reference's.
inline Tensor dynamic_levels() {
  constexpr int kExponents = 7;
  std::vector<Tensor> parts{at::tensor({0.0F, 1.0F})};
  for (int i = 0; i < kExponents; ++i) {
    const Tensor edges = at::linspace(0.1, 1, (1 << i) + 1, at::kFloat);
    const Tensor middles =
        edges.slice(0, 0, -1).add(edges.slice(0, 1)).div(2).mul(std::pow(10.0, i - kExponents + 1));
    parts.push_back(middles);
    parts.push_back(middles.neg());
  }
  return std::get<0>(at::cat(parts).sort());
}

inline const Tensor& shared_dynamic_levels() {
  static const Tensor kLevels = dynamic_levels();
  return kLevels;
}

// The same on a device, copied there once. Never freed: CUDA may be gone when a process ends.
inline Tensor shared_dynamic_levels(c10::Device device) {
  if (!device.is_cuda()) return shared_dynamic_levels().to(device);
  static std::mutex mutex;
  static auto& copies = *new std::map<c10::DeviceIndex, Tensor>;
  const std::scoped_lock lock(mutex);
  const auto [it, fresh] = copies.try_emplace(device.index());
  if (fresh) it->second = shared_dynamic_levels().to(device);
  return it->second;
}

}  // namespace detail

}  // namespace morphvlm
