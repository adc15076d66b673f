// Products of fp32 activations with frozen weights on processors with AMX, where LibTorch's setting allows
// fewer bits than fp32 has.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/amx_split_kernels.hpp"

namespace morphvlm::detail {

// With fewer rows it does not pay to split the weight.
inline constexpr std::int64_t kFewestSplitRows = 96;

#if MORPHVLM_HAS_AMX_KERNELS

// A product y [rows, width] = x [rows, depth] W^T (weight [width, depth]) or x W (weight [depth, width]),
// plus a bias (or null).
struct SplitProduct {
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float* y = nullptr;
  std::int64_t rows = 0, depth = 0, width = 0;
  bool is_turned = false;

  std::int64_t pairs() const { return tiles_for(rows) / 2; }
};

// The second factors of columns [first, last), from depth `k` on.
inline void pack_columns(const SplitProduct& p, std::int64_t first, std::int64_t last, std::int64_t k,
                         std::int64_t steps, std::uint32_t* out) {
  if (p.is_turned)
    amx_split_outputs(p.weight + first * p.depth + k, p.depth, last - first, steps, out);
  else
    amx_split_columns(p.weight + k * p.width + first, p.width, last - first, steps, out);
}

// Adds a piece of depth from `k` on to all of y, `rest` [32, width] in place of its last rows if there are
// fewer; x [tiles][steps][part][256] are the rows' parts.
inline void add_split_piece(const SplitProduct& p, const std::uint32_t* x, std::int64_t k, std::int64_t steps,
                            float* rest) {
  // Columns whose parts stay in a thread's second cache, beside those of two tiles of rows.
  constexpr std::int64_t kPairsAtOnce = 8;
  const auto pairs = p.width / kTwoTiles, threads = std::int64_t{at::get_num_threads()};
  const auto share = (pairs + threads - 1) / threads;  // cut evenly
  const auto blocks = std::min(pairs, threads * ((share + kPairsAtOnce - 1) / kPairsAtOnce));
  const auto groups = std::max<std::int64_t>(1, threads / blocks);  // of rows, where columns are few
  at::parallel_for(0, blocks * groups, 1, [&](std::int64_t begin, std::int64_t end) {
    const TileBuffer<std::uint32_t> packed((pairs + blocks - 1) / blocks * 2 * steps * kSplitWords);
    begin_tiles();
    for (auto i = begin; i < end; ++i) {
      const auto block = i / groups, group = i % groups;
      const auto first = block * pairs / blocks * kTwoTiles, last = (block + 1) * pairs / blocks * kTwoTiles;
      pack_columns(p, first, last, k, steps, packed.get());
      for (auto m = group * p.pairs() / groups; m < (group + 1) * p.pairs() / groups; ++m) {
        float* const y = (m + 1) * kTwoTiles > p.rows ? rest : p.y + m * kTwoTiles * p.width;
        amx_split_product(x + m * 2 * steps * kSplitWords, packed.get(), steps, last - first, k == 0,
                          p.bias == nullptr ? nullptr : p.bias + first, p.width, y + first);
      }
    }
    end_tiles();
  });
}

inline void run_split_product(const SplitProduct& p) {
  const auto steps = p.depth / kTileDepth, whole = p.rows / kTwoTiles * kTwoTiles;
  const TileBuffer<std::uint32_t> x(p.pairs() * 2 * std::min(steps, kSplitSteps) * kSplitWords);
  const TileBuffer<float> rest(whole < p.rows ? kTwoTiles * p.width : 0);
  for (std::int64_t step = 0; step < steps; step += kSplitSteps) {
    const auto together = std::min(kSplitSteps, steps - step), k = step * kTileDepth;
    at::parallel_for(0, p.pairs() * 2, 4, [&](std::int64_t first, std::int64_t last) {
      amx_split_rows(p.x + k, p.depth, p.rows, first, last, together, x.get());
    });
    add_split_piece(p, x.get(), k, together, rest.get());
  }
  if (whole < p.rows) std::copy_n(rest.get(), (p.rows - whole) * p.width, p.y + whole * p.width);
}

// x [..., depth] times W^T of weight [width, depth], or W of weight [depth, width], plus b (or undefined).
inline Tensor split_product(const Tensor& x, const Tensor& weight, bool is_turned, const Tensor& bias = {}) {
  auto shape = x.sizes().vec();
  shape.back() = weight.size(is_turned ? 0 : 1);
  Tensor y = at::empty(shape, x.options().requires_grad(false));
  const Tensor from = x.contiguous(), more = bias.defined() ? bias.contiguous() : bias;
  const SplitProduct product{.x = from.const_data_ptr<float>(),
                             .weight = weight.const_data_ptr<float>(),
                             .bias = bias.defined() ? more.const_data_ptr<float>() : nullptr,
                             .y = y.mutable_data_ptr<float>(),
                             .rows = x.numel() / x.size(-1),
                             .depth = x.size(-1),
                             .width = shape.back(),
                             .is_turned = is_turned};
  FlopMeter::add(2.0 * static_cast<double>(product.rows * product.depth * product.width));
  run_split_product(product);
  return y;
}

#else

inline Tensor split_product(const Tensor&, const Tensor&, bool, const Tensor& = {}) { return {}; }

#endif

}  // namespace morphvlm::detail
