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
#include "morphvlm/nn/few_rows_kernels.hpp"
#include "morphvlm/nn/few_rows_steps.hpp"

namespace morphvlm {

namespace detail {

// f(T{}) for the C++ type T of a dtype that is float or BFloat16.
template <class F>
decltype(auto) with_float_type(at::ScalarType dtype, F&& f) {
  if (dtype == at::kBFloat16) return f(c10::BFloat16{});
  return f(float{});
}

// x as it is after it was stored in a T.
template <class T>
float stored_as(float x) {
  return static_cast<float>(static_cast<T>(x));
}

// Outputs whose sums fit into a thread's nearest cache until they are finished.
inline constexpr std::int64_t kFewRowsTile = 64;

// finish(row, o, sum) for outputs [first, last) of weight `w`.
template <class T, class Finish>
void few_rows_tiles(FewRowsKernel<T> kernel, const FewRowsWeight<T>& w, const float* x, std::int64_t rows,
                    std::int64_t first, std::int64_t last, const Finish& finish) {
  std::array<float, kMaxFewRows * kFewRowsTile> sums;
  for (auto o = first; o < last; o += kFewRowsTile) {
    const auto count = std::min(kFewRowsTile, last - o);
    kernel({.values = w.values + o * w.in, .in = w.in}, x, rows, count, 0, count, sums.data());
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t i = 0; i < count; ++i)
        finish(row, o + i, sums[static_cast<std::size_t>(row * count + i)]);
    }
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
std::vector<float> rows_for(const Tensor& x, const FewRowsSteps& steps) {
  auto rows = floats_of(x);
  if (!steps.norm.defined()) return rows;
  norm_rows(rows, floats_of(steps.norm), floats_of(steps.norm_bias), steps.eps, steps.is_centred);
  for (auto& v : rows) v = stored_as<T>(v);
  return rows;
}

// One weight of several, and what becomes of its sums.
template <class T>
struct FewRowsPart {
  FewRowsWeight<T> weight = {};
  std::int64_t out = 0;
  const T* bias = nullptr;
  const T* onto = nullptr;
  T* y = nullptr;
  bool gelu = false, is_gated = false;
  float gate = 0;

  void operator()(std::int64_t row, std::int64_t o, float sum) const {
    const auto place = row * out + o;
    float v = stored_as<T>(bias == nullptr ? sum : sum + static_cast<float>(bias[o]));
    if (gelu) v = stored_as<T>(0.5F * v * (1 + std::erf(v * 0.70710678118654752F)));
    if (is_gated) v = stored_as<T>(v * gate);
    y[place] = static_cast<T>(onto == nullptr ? v : v + static_cast<float>(onto[place]));
  }
};

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.const_data_ptr<T>() : nullptr;
}

template <class T>
std::vector<Tensor> few_rows_products_of(const Tensor& x, const std::vector<Tensor>& weights,
                                         const std::vector<Tensor>& biases, const FewRowsSteps& steps) {
  const auto in = weights.front().size(1), rows = x.numel() / in;
  const auto values = rows_for<T>(x, steps);
  auto shape = x.sizes().vec();
  std::vector<Tensor> out;
  std::vector<FewRowsPart<T>> parts;
  std::int64_t all = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    shape.back() = weights[i].size(0);
    out.push_back(at::empty(shape, x.options().requires_grad(false)));
    FewRowsPart<T> part{.weight = {.values = weights[i].const_data_ptr<T>(), .in = in},
                        .out = shape.back(),
                        .bias = data_or_null<T>(biases[i]),
                        .onto = data_or_null<T>(steps.onto),
                        .y = out.back().mutable_data_ptr<T>(),
                        .gelu = steps.gelu,
                        .is_gated = steps.gate.defined()};
    if (part.is_gated)
      part.gate = stored_as<T>(std::tanh(static_cast<float>(*steps.gate.const_data_ptr<T>())));
    parts.push_back(part);
    all += part.out;
  }
  FlopMeter::add(2.0 * static_cast<double>(rows * in * all));
  const auto kernel = few_rows_kernel<T>();
  share_outputs(all, in, [&](std::int64_t first, std::int64_t last) {
    std::int64_t begin = 0;
    for (const auto& part : parts) {
      few_rows_tiles(kernel, part.weight, values.data(), rows, std::max(first - begin, std::int64_t{0}),
                     std::min(last - begin, part.out), part);
      begin += part.out;
    }
  });
  return out;
}

template <class T>
Tensor few_rows_swiglu_of(const Tensor& x, const Tensor& gate, const Tensor& up, const FewRowsSteps& steps) {
  const auto in = gate.size(1), hidden = gate.size(0), rows = x.numel() / in;
  const auto values = rows_for<T>(x, steps);
  auto shape = x.sizes().vec();
  shape.back() = hidden;
  Tensor out = at::empty(shape, x.options().requires_grad(false));
  FlopMeter::add(4.0 * static_cast<double>(rows * gate.numel()));
  const FewRowsWeight<T> of_gate{.values = gate.const_data_ptr<T>(), .in = in},
      of_up{.values = up.const_data_ptr<T>(), .in = in};
  T* const y = out.mutable_data_ptr<T>();
  const auto kernel = few_rows_kernel<T>();
  share_outputs(hidden, 2 * in, [&](std::int64_t first, std::int64_t last) {
    few_rows_tiles(kernel, of_gate, values.data(), rows, first, last,
                   [&](std::int64_t row, std::int64_t o, float sum) {
                     const float z = stored_as<T>(sum);
                     y[row * hidden + o] = static_cast<T>(z / (1 + std::exp(-z)));
                   });
    few_rows_tiles(kernel, of_up, values.data(), rows, first, last,
                   [&](std::int64_t row, std::int64_t o, float sum) {
                     auto& place = y[row * hidden + o];
                     place = static_cast<T>(static_cast<float>(place) * stored_as<T>(sum));
                   });
  });
  return out;
}

}  // namespace detail

/// x W^T + b for weights [out, in], contiguous and in x's dtype, float or BFloat16, and as many biases [out],
/// undefined where there is none; sums in fp32, steps as they say. No gradient.
inline std::vector<Tensor> few_rows_products_on_cpu(const Tensor& x, const std::vector<Tensor>& weights,
                                                    const std::vector<Tensor>& biases,
                                                    const FewRowsSteps& steps = {}) {
  return detail::with_float_type(x.scalar_type(), [&]<class T>(T) {
    return detail::few_rows_products_of<T>(x, weights, biases, steps);
  });
}

/// silu(x G^T) * (x U^T) for such G, U [hidden, in]; of the steps those before the product. No gradient.
inline Tensor few_rows_swiglu_on_cpu(const Tensor& x, const Tensor& gate, const Tensor& up,
                                     const FewRowsSteps& steps = {}) {
  return detail::with_float_type(
      x.scalar_type(), [&]<class T>(T) { return detail::few_rows_swiglu_of<T>(x, gate, up, steps); });
}

/// x W^T for few rows x [..., in] of float or BFloat16 and W [out, in], contiguous, of T (float, BFloat16 or
/// int8), each output then times scale [out] and plus bias [out], where there are; sums in fp32, [..., out]
/// in x's dtype. No gradient.
template <class T>
Tensor few_rows_product(const Tensor& x, const Tensor& weight, const Tensor& scale = {},
                        const Tensor& bias = {},
                        detail::FewRowsKernel<T> kernel = detail::few_rows_kernel<T>()) {
  const auto in = weight.size(1), out = weight.size(0), rows = x.numel() / in;
  const auto values = detail::floats_of(x), scales = detail::floats_of(scale),
             biases = detail::floats_of(bias);
  auto shape = x.sizes().vec();
  shape.back() = out;
  Tensor y = at::empty(shape, x.options().requires_grad(false));
  FlopMeter::add(2.0 * static_cast<double>(rows * weight.numel()));
  const detail::FewRowsWeight<T> view{.values = weight.const_data_ptr<T>(), .in = in};
  detail::with_float_type(x.scalar_type(), [&]<class Out>(Out) {
    auto* const to = y.mutable_data_ptr<Out>();
    const auto finish = [&](std::int64_t row, std::int64_t o, float sum) {
      if (!scales.empty()) sum *= scales[static_cast<std::size_t>(o)];
      if (!biases.empty()) sum += biases[static_cast<std::size_t>(o)];
      to[row * out + o] = static_cast<Out>(sum);
    };
    detail::share_outputs(out, in, [&](std::int64_t first, std::int64_t last) {
      detail::few_rows_tiles(kernel, view, values.data(), rows, first, last, finish);
    });
  });
  return y;
}

}  // namespace morphvlm
