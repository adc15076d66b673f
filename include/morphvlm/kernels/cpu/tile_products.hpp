// Products with frozen weights on processors whose matrix unit multiplies BFloat16: of such numbers as they
// are stored, and of fp32's in parts where that is allowed.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cstdint>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/amx_kernels.hpp"
#include "morphvlm/kernels/cpu/matmul_precision.hpp"
#include "morphvlm/kernels/cpu/split_products.hpp"

namespace morphvlm::detail {

// With fewer rows other kernels read the weights as fast. With more, a library's product has laid its weights
// out often enough for it to pay; later where they are too many for the caches.
inline constexpr std::int64_t kFewestTileRows = 5, kMostTileRows = 128, kMostTileRowsOfManyWeights = 1024,
                              kManyWeights = std::int64_t{1} << 23;

// Whether x [..., depth] and a weight, of whose two sizes `inner` is the depth, are multiplied tile by tile,
// which gives the weight no gradient.
inline bool takes_tiles(const Tensor& x, const Tensor& weight, std::int64_t inner) {
  if (!x.is_cpu() || !weight.is_cpu() || !has_amx()) return false;
  const bool is_split = x.scalar_type() == at::kFloat;
  if ((!is_split && x.scalar_type() != at::kBFloat16) || weight.scalar_type() != x.scalar_type())
    return false;
  if (weight.dim() != 2 || !weight.is_contiguous() || weight.numel() == 0) return false;
  if (weight.size(0) % kTwoTiles != 0 || weight.size(1) % kTwoTiles != 0) return false;
  if (x.dim() == 0 || x.size(-1) != weight.size(inner)) return false;
  if (at::GradMode::is_enabled() && weight.requires_grad()) return false;
  const auto rows = x.numel() / x.size(-1);
  if (is_split) return rows >= kFewestSplitRows && allows_fewer_bits();
  const auto most = weight.numel() < kManyWeights ? kMostTileRows : kMostTileRowsOfManyWeights;
  return rows >= kFewestTileRows && rows <= most;
}

#if MORPHVLM_HAS_AMX_KERNELS

// x W^T + b (or undefined) without a gradient, rounded once.
inline Tensor tile_affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (x.scalar_type() == at::kFloat) return split_product(x, weight, true, bias);
  const auto out = weight.size(0), depth = weight.size(1), rows = x.numel() / depth, tiles = tiles_for(rows);
  FlopMeter::add(2.0 * static_cast<double>(rows * out * depth));
  auto shape = x.sizes().vec();
  shape.back() = out;
  Tensor y = at::empty(shape, x.options().requires_grad(false));
  const Tensor from = x.contiguous(), more = bias.defined() ? bias.contiguous() : bias;
  const auto* const numbers = from.const_data_ptr<c10::BFloat16>();
  const auto* const biases = bias.defined() ? more.const_data_ptr<c10::BFloat16>() : nullptr;
  const auto* const weights = weight.const_data_ptr<c10::BFloat16>();
  auto* const sums = y.mutable_data_ptr<c10::BFloat16>();
  const TileBuffer<std::uint32_t> packed(tiles * depth * kTileRows / 2);
  at::parallel_for(0, depth / kTileDepth, 8, [&](std::int64_t first, std::int64_t last) {
    amx_pack_rows(numbers, rows, depth, tiles, first, last, packed.get());
  });
  at::parallel_for(0, out / kTwoTiles, 1, [&](std::int64_t first, std::int64_t last) {
    amx_affine(packed.get(), tiles, rows, weights, depth, biases, out, first * kTwoTiles, last * kTwoTiles,
               sums);
  });
  return y;
}

// x W without a gradient.
inline Tensor tile_times(const Tensor& x, const Tensor& weight) {
  if (x.scalar_type() == at::kFloat) return split_product(x, weight, false);
  const auto depth = weight.size(0), width = weight.size(1), rows = x.numel() / depth,
             tiles = tiles_for(rows);
  FlopMeter::add(2.0 * static_cast<double>(rows * depth * width));
  auto shape = x.sizes().vec();
  shape.back() = width;
  Tensor y = at::empty(shape, x.options().requires_grad(false));
  Tensor from = x.reshape({rows, depth}).contiguous();
  if (rows % kTwoTiles != 0) {
    Tensor whole = at::zeros({tiles * kTileRows, depth}, from.options().requires_grad(false));
    whole.slice(0, 0, rows).copy_(from);
    from = whole;
  }
  const auto* const numbers = from.const_data_ptr<c10::BFloat16>();
  const auto* const weights = weight.const_data_ptr<c10::BFloat16>();
  auto* const sums = y.mutable_data_ptr<c10::BFloat16>();
  at::parallel_for(0, width / kTwoTiles, 1, [&](std::int64_t first, std::int64_t last) {
    amx_times(numbers, tiles, rows, weights, depth, width, first * kTwoTiles, last * kTwoTiles, sums);
  });
  return y;
}

#else

inline Tensor tile_affine(const Tensor&, const Tensor&, const Tensor&) { return {}; }
inline Tensor tile_times(const Tensor&, const Tensor&) { return {}; }

#endif

}  // namespace morphvlm::detail
