// Weights as products of few rows on a CPU read them: as numbers, or as the codes of a format in few bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/gemv_bf16.hpp"
#include "morphvlm/kernels/cpu/gemv_kernels.hpp"
#include "morphvlm/kernels/cpu/nf4_kernels.hpp"
#include "morphvlm/kernels/packed_weights.hpp"

namespace morphvlm::detail {

// f(row, some) for rows that kernels take at once.
template <class F>
void by_rows_at_once(std::int64_t rows, const F& f) {
  for (std::int64_t row = 0; row < rows; row += kRowsAtOnce) f(row, std::min(kRowsAtOnce, rows - row));
}

// Numbers of T, each output's sum times its absmax / 127 where there are.
template <class T>
struct NumberRows {
  using Input = std::vector<float>;  // x [rows, in] as sums() reads it

  GemvWeight<T> weight = {};
  std::int64_t out = 0;
  const float* absmax = nullptr;
  GemvKernel<T> kernel = gemv_kernel<T>();

  std::int64_t in() const { return weight.in; }
  Input ordered(std::vector<float> x) const { return x; }
  // The product's outputs [first, last): y [rows, last - first].
  void sums(const Input& x, std::int64_t rows, std::int64_t first, std::int64_t last, float* y) const {
    const auto count = last - first;
    const GemvWeight<T> part{.values = weight.values + first * weight.in, .in = weight.in};
    by_rows_at_once(rows, [&](std::int64_t row, std::int64_t some) {
      kernel(part, x.data() + row * weight.in, some, count, 0, count, y + row * count);
    });
    if (absmax == nullptr) return;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t i = 0; i < count; ++i) y[row * count + i] *= absmax[first + i] / 127;
  }
};

// BFloat16, for an x of numbers that BFloat16 holds.
struct Bf16Rows {
  struct Input {
    std::vector<float> numbers = {};
    std::optional<TileBuffer<c10::BFloat16>> pairs = {};
    std::optional<TileBuffer<std::uint32_t>> tiles = {};
  };

  GemvWeight<c10::BFloat16> weight = {};
  std::int64_t out = 0;
  Bf16Way (*way)(std::int64_t rows, std::int64_t in, std::int64_t out) = &bf16_way;

  std::int64_t in() const { return weight.in; }
  Input ordered(std::vector<float> x) const {
    const auto rows = std::ssize(x) / in(), width = filled_up_to_pairs(in());
    const auto chosen = way(rows, in(), out);
    if (chosen == Bf16Way::numbers) return {.numbers = std::move(x)};
    Input input;
    auto& halves = input.pairs.emplace(rows * width);
    for (std::int64_t row = 0; row < rows; ++row) {
      auto* const to = halves.get() + row * width;
      std::copy_n(x.data() + row * in(), in(), to);
      std::fill(to + in(), to + width, c10::BFloat16(0));
    }
#if MORPHVLM_HAS_AMX_KERNELS
    if (chosen == Bf16Way::tiles) {
      const auto steps = in() / kTileDepth;
      amx_pack_rows(halves.get(), rows, in(), 1, 0, steps, input.tiles.emplace(steps * kTileNumbers).get());
    }
#endif
    return input;
  }
  void sums(const Input& x, std::int64_t rows, std::int64_t first, std::int64_t last, float* y) const {
    [[maybe_unused]] const auto count = last - first;
#if MORPHVLM_HAS_AMX_KERNELS
    if (x.tiles && out >= kTileRows)
      return gemv_by_tiles(weight.values, in(), x.tiles->get(), rows, first, count, y);
#endif
#if MORPHVLM_HAS_X86_KERNELS
    if (x.pairs)
      return by_rows_at_once(rows, [&](std::int64_t row, std::int64_t some) {
        gemv_pairs(weight.values + first * in(), in(), x.pairs->get() + row * filled_up_to_pairs(in()), some,
                   count, y + row * count);
      });
#endif
    NumberRows<c10::BFloat16>{.weight = weight, .out = out}.sums(x.numbers, rows, first, last, y);
  }
};

// How weights of T are read.
template <class T>
using RowsOf = std::conditional_t<std::is_same_v<T, c10::BFloat16>, Bf16Rows, NumberRows<T>>;

// Codes of NF4, whole blocks to a row: looked up as they are multiplied, or, for more rows than share a
// lookup, written out as numbers of T first, some outputs at a time, which stay in the cache.
template <class T>
struct Nf4Rows {
  struct Input {
    std::vector<float> lookups = {};
    std::optional<typename RowsOf<T>::Input> numbers = {};
  };

  Nf4View view = {};
  std::int64_t out = 0;
  Nf4Kernel kernel = nf4_kernel();
  Nf4Unpack<T> unpack = nf4_unpack<T>();

  std::int64_t in() const { return view.in; }
  Input ordered(std::vector<float> x) const {
    if (std::ssize(x) <= kRowsAtOnce * in()) return {.lookups = in_order(std::move(x), in(), kernel.order)};
    return {.numbers = as_numbers(nullptr, out).ordered(std::move(x))};
  }
  void sums(const Input& x, std::int64_t rows, std::int64_t first, std::int64_t last, float* y) const {
    if (!x.numbers) return kernel.outputs(view, x.lookups.data(), rows, first, last, y);
    const auto blocks = in() / kNf4Block, count = last - first;
    const auto scales = nf4_scales(view, first * blocks, last * blocks);
    const TileBuffer<T> numbers(count * in());
    unpack(view.codes + first * in() / 2, scales.data(), count * blocks, numbers.get());
    as_numbers(numbers.get(), count).sums(*x.numbers, rows, 0, count, y);
  }

 private:
  RowsOf<T> as_numbers(const T* values, std::int64_t outputs) const {
    return {.weight = {.values = values, .in = in()}, .out = outputs};
  }
};

// A weight [out, in] of T as it is.
template <class T>
RowsOf<T> rows_of(const Tensor& weight) {
  return {.weight = {.values = weight.const_data_ptr<T>(), .in = weight.size(1)}, .out = weight.size(0)};
}
// Likewise of the other formats, whatever T the activations are in.
template <class T>
NumberRows<std::int8_t> rows_of(const Int8Packed& packed) {
  auto rows = rows_of<std::int8_t>(packed.codes);
  rows.absmax = packed.absmax.const_data_ptr<float>();
  return rows;
}
template <class T>
Nf4Rows<T> rows_of(const Nf4Packed& packed) {
  return {.view = {.codes = packed.codes.const_data_ptr<std::uint8_t>(),
                   .absmax = packed.absmax.const_data_ptr<std::uint8_t>(),
                   .nested_absmax = packed.nested_absmax.const_data_ptr<float>(),
                   .dynamic = shared_dynamic_levels().const_data_ptr<float>(),
                   .offset = *packed.offset.const_data_ptr<float>(),
                   .in = packed.in},
          .out = packed.out};
}

// Whether those of few rows x take it.
inline bool has_rows(const Tensor& x, const Tensor& weight) {
  return weight.is_cpu() && weight.scalar_type() == x.scalar_type() && weight.is_contiguous();
}
inline bool has_rows(const Tensor&, const Int8Packed& packed) { return packed.codes.is_cpu(); }
inline bool has_rows(const Tensor&, const Nf4Packed& packed) {
  return packed.codes.is_cpu() && packed.in % kNf4Block == 0;
}

}  // namespace morphvlm::detail
