// Products of few rows with large weights on a CPU: each weight is read once, products of one input share a
// walk over the threads, and what stands before and behind them is done where the sums are.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/gemv_finish.hpp"
#include "morphvlm/kernels/cpu/gemv_weights.hpp"
#include "morphvlm/kernels/gemv_fusion.hpp"

namespace morphvlm {

namespace detail {

// f(T{}) for the C++ type T of a dtype that is float or BFloat16.
template <class F>
decltype(auto) with_float_type(at::ScalarType dtype, F&& f) {
  if (dtype == at::kBFloat16) return f(c10::BFloat16{});
  return f(float{});
}

// Outputs whose sums fit into a thread's nearest cache until they are finished.
inline constexpr std::int64_t kGemvTile = 64;

// finish(row, o, sums, count) for outputs [first, last) of a weight, some at a time, from x as that has
// ordered it.
template <class Rows, class Finish>
void gemv_tiles(const Rows& weight, const typename Rows::Input& x, std::int64_t rows, std::int64_t first,
                std::int64_t last, const Finish& finish) {
  std::array<float, kMaxGemvRows * kGemvTile> sums;
  for (auto o = first; o < last; o += kGemvTile) {
    const auto count = std::min(kGemvTile, last - o);
    weight.sums(x, rows, o, o + count, sums.data());
    for (std::int64_t row = 0; row < rows; ++row) finish(row, o, sums.data() + row * count, count);
  }
}

// f(first, last) over [0, outputs) in pieces, one to a thread.
template <class F>
void share_outputs(std::int64_t outputs, std::int64_t in, const F& f) {
  // Waking the other threads costs as much as reading this many weights.
  constexpr std::int64_t kWorthThread = 1 << 15;
  at::parallel_for(0, outputs, std::max<std::int64_t>(16, kWorthThread / in), f);
}

// Rows of x [rows, dim] normed in place: LayerNorm if `is_centred`, else RMSNorm.
inline void norm_rows(std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& bias,
                      double eps, bool is_centred) {
  const auto dim = weight.size();
  for (std::size_t row = 0; row < x.size(); row += dim) {
    double sum = 0, squares = 0;
    if (is_centred) {
      for (std::size_t i = 0; i < dim; ++i) sum += x[row + i];
    }
    const double mean = sum / static_cast<double>(dim);
    for (std::size_t i = 0; i < dim; ++i) {
      const double distance = x[row + i] - mean;
      squares += distance * distance;
    }
    const auto scale = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(dim) + eps));
    for (std::size_t i = 0; i < dim; ++i)
      x[row + i] = (x[row + i] - static_cast<float>(mean)) * scale * weight[i] + (bias.empty() ? 0 : bias[i]);
  }
}

// The rows of x [..., in] that a product multiplies.
template <class T>
std::vector<float> rows_for(const Tensor& x, const GemvFusion& steps) {
  auto rows = floats_of(x);
  if (!steps.norm.defined()) return rows;
  norm_rows(rows, floats_of(steps.norm), floats_of(steps.norm_bias), steps.eps, steps.is_centred);
  for (auto& v : rows) v = stored_as<T>(v);
  return rows;
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.const_data_ptr<T>() : nullptr;
}

// [..., out] for x [..., in].
inline Tensor gemv_output(const Tensor& x, std::int64_t out) {
  auto shape = x.sizes().vec();
  shape.back() = out;
  return at::empty(shape, x.options().requires_grad(false));
}

// Products of x, of T, with weights that order it alike.
template <class T, class Rows>
std::vector<Tensor> gemv_products_of(const Tensor& x, const std::vector<Rows>& weights,
                                     const std::vector<Tensor>& biases, const GemvFusion& steps) {
  const auto in = weights.front().in(), rows = x.numel() / in;
  const auto values = weights.front().ordered(rows_for<T>(x, steps));
  std::vector<Tensor> out;
  std::vector<SumFinish<T>> finishes;
  std::int64_t all = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    out.push_back(gemv_output(x, weights[i].out));
    SumFinish<T> finish{.out = weights[i].out,
                        .bias = data_or_null<T>(biases[i]),
                        .onto = data_or_null<T>(steps.onto),
                        .y = out.back().mutable_data_ptr<T>(),
                        .gelu = steps.gelu,
                        .is_gated = steps.gate.defined()};
    if (finish.is_gated)
      finish.gate = stored_as<T>(std::tanh(static_cast<float>(*steps.gate.const_data_ptr<T>())));
    finishes.push_back(finish);
    all += finish.out;
  }
  FlopMeter::add(2.0 * static_cast<double>(rows * in * all));
  share_outputs(all, in, [&](std::int64_t first, std::int64_t last) {
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      gemv_tiles(weights[i], values, rows, std::max(first - begin, std::int64_t{0}),
                 std::min(last - begin, finishes[i].out), finishes[i]);
      begin += finishes[i].out;
    }
  });
  return out;
}

template <class T, class Rows>
Tensor gemv_swiglu_of(const Tensor& x, const Rows& gate, const Rows& up, const GemvFusion& steps) {
  const auto in = gate.in(), hidden = gate.out, rows = x.numel() / in;
  const auto values = gate.ordered(rows_for<T>(x, steps));
  Tensor out = gemv_output(x, hidden);
  FlopMeter::add(4.0 * static_cast<double>(rows * in * hidden));
  T* const y = out.mutable_data_ptr<T>();
  share_outputs(hidden, 2 * in, [&](std::int64_t first, std::int64_t last) {
    gemv_tiles(gate, values, rows, first, last,
               [&](std::int64_t row, std::int64_t o, const float* sums, std::int64_t count) {
                 for (std::int64_t i = 0; i < count; ++i) {
                   const float z = stored_as<T>(sums[i]);
                   y[row * hidden + o + i] = static_cast<T>(z / (1 + std::exp(-z)));
                 }
               });
    gemv_tiles(up, values, rows, first, last,
               [&](std::int64_t row, std::int64_t o, const float* sums, std::int64_t count) {
                 T* const places = y + row * hidden + o;
                 for (std::int64_t i = 0; i < count; ++i)
                   places[i] = static_cast<T>(static_cast<float>(places[i]) * stored_as<T>(sums[i]));
               });
  });
  return out;
}

}  // namespace detail

/// x W^T + b for few rows x of float or BFloat16, weights W [out, in], tensors as x's kernels read them or
/// packed ones, and as many biases [out], undefined where there is none; sums in fp32, steps as they say. No
/// gradient.
template <class W>
std::vector<Tensor> gemv_products_on_cpu(const Tensor& x, const std::vector<W>& weights,
                                         const std::vector<Tensor>& biases, const GemvFusion& steps = {}) {
  return detail::with_float_type(x.scalar_type(), [&]<class T>(T) {
    std::vector<decltype(detail::rows_of<T>(weights.front()))> rows;
    for (const auto& w : weights) rows.push_back(detail::rows_of<T>(w));
    return detail::gemv_products_of<T>(x, rows, biases, steps);
  });
}

/// silu(x G^T) * (x U^T) for such G, U [hidden, in]; of the steps those before the product. No gradient.
template <class W>
Tensor gemv_swiglu_on_cpu(const Tensor& x, const W& gate, const W& up, const GemvFusion& steps = {}) {
  return detail::with_float_type(x.scalar_type(), [&]<class T>(T) {
    return detail::gemv_swiglu_of<T>(x, detail::rows_of<T>(gate), detail::rows_of<T>(up), steps);
  });
}

}  // namespace morphvlm
