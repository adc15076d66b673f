// Weights as products of few rows on a CPU read them: as numbers, or as the codes of a format in few bits.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "morphvlm/adapt/quantized.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/nn/few_rows_kernels.hpp"
#include "morphvlm/nn/nf4_kernels.hpp"

namespace morphvlm::detail {

// Numbers of T, each output's sum times its absmax / 127 where there are.
template <class T>
struct NumberRows {
  FewRowsWeight<T> weight = {};
  std::int64_t out = 0;
  const float* absmax = nullptr;
  FewRowsKernel<T> kernel = few_rows_kernel<T>();

  std::int64_t in() const { return weight.in; }
  // x [rows, in] as sums() reads it.
  std::vector<float> ordered(std::vector<float> x) const { return x; }
  // The product's outputs [first, last): y [rows, last - first].
  void sums(const float* x, std::int64_t rows, std::int64_t first, std::int64_t last, float* y) const {
    const auto count = last - first;
    kernel({.values = weight.values + first * weight.in, .in = weight.in}, x, rows, count, 0, count, y);
    if (absmax == nullptr) return;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t i = 0; i < count; ++i) y[row * count + i] *= absmax[first + i] / 127;
  }
};

// Codes of NF4, whole blocks to a row.
struct Nf4Rows {
  Nf4View view = {};
  std::int64_t out = 0;
  Nf4Kernel kernel = nf4_kernel();

  std::int64_t in() const { return view.in; }
  std::vector<float> ordered(std::vector<float> x) const {
    return in_order(std::move(x), view.in, kernel.order);
  }
  void sums(const float* x, std::int64_t rows, std::int64_t first, std::int64_t last, float* y) const {
    kernel.outputs(view, x, rows, first, last, y);
  }
};

// A weight [out, in] of T as it is.
template <class T>
NumberRows<T> rows_of(const Tensor& weight) {
  return {.weight = {.values = weight.const_data_ptr<T>(), .in = weight.size(1)}, .out = weight.size(0)};
}
// Likewise of the other formats, whatever T the activations are in.
template <class T>
NumberRows<std::int8_t> rows_of(const Int8::Packed& packed) {
  auto rows = rows_of<std::int8_t>(packed.codes);
  rows.absmax = packed.absmax.const_data_ptr<float>();
  return rows;
}
template <class T>
Nf4Rows rows_of(const NF4::Packed& packed) {
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
inline bool has_rows(const Tensor&, const Int8::Packed& packed) { return packed.codes.is_cpu(); }
inline bool has_rows(const Tensor&, const NF4::Packed& packed) {
  return packed.codes.is_cpu() && packed.in % NF4::block == 0;
}

}  // namespace morphvlm::detail
