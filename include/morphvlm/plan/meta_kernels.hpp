// Shapes of the operators that LibTorch has no meta kernel for, so that a whole training step runs without
// memory.
#pragma once

#include <ATen/ExpandUtils.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm::detail {

// LibTorch's fused attention on CPU: the result is laid out [batch, time, heads, d], and so are gradients.
inline Tensor by_time(const Tensor& x, std::int64_t d) {
  return at::empty({x.size(0), x.size(2), x.size(1), d}, x.options()).transpose(1, 2);
}

// A gradient of this shape where it is wanted.
inline Tensor empty_if(bool is_wanted, at::IntArrayRef shape, const Tensor& like) {
  return is_wanted ? at::empty(shape, like.options()) : Tensor{};
}

inline std::tuple<Tensor, Tensor> meta_attention(const Tensor& q, const Tensor&, const Tensor& v, double,
                                                 bool, const std::optional<Tensor>&, std::optional<double>) {
  const auto precise = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {by_time(q, v.size(-1)),
          at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(precise)).transpose(1, 2)};
}

inline std::tuple<Tensor, Tensor, Tensor> meta_attention_backward(const Tensor&, const Tensor& q,
                                                                  const Tensor& k, const Tensor& v,
                                                                  const Tensor&, const Tensor&, double, bool,
                                                                  const std::optional<Tensor>&,
                                                                  std::optional<double>) {
  return {by_time(q, q.size(-1)), by_time(k, k.size(-1)), by_time(v, v.size(-1))};
}

inline Tensor meta_convolution(const Tensor& x, const Tensor& w, const std::optional<Tensor>&,
                               c10::SymIntArrayRef stride, c10::SymIntArrayRef padding,
                               c10::SymIntArrayRef dilation, bool, c10::SymIntArrayRef,
                               c10::SymInt) {  // NOLINT: by value, as the operator is registered
  std::vector<std::int64_t> shape{x.size(0), w.size(0)};
  for (std::int64_t d = 0; d < w.dim() - 2; ++d) {
    shape.push_back(convolution_places(x, w, d, C10_AS_INTARRAYREF_SLOW(stride),
                                       C10_AS_INTARRAYREF_SLOW(padding), C10_AS_INTARRAYREF_SLOW(dilation)));
  }
  return at::empty(shape, x.options());
}

inline std::tuple<Tensor, Tensor, Tensor> meta_convolution_backward(
    const Tensor&, const Tensor& x, const Tensor& w, c10::SymIntArrayRef, c10::SymIntArrayRef,
    c10::SymIntArrayRef, bool, c10::SymIntArrayRef,
    c10::SymInt,  // NOLINT: by value, as the operator is registered
    std::array<bool, 3> wanted) {
  return {empty_if(wanted[0], x.sizes(), x), empty_if(wanted[1], w.sizes(), w),
          empty_if(wanted[2], {w.size(0)}, w)};
}

inline Tensor meta_embedding_backward(const Tensor& grad, const Tensor&,
                                      c10::SymInt rows,     // NOLINT: by value, as the operator is registered
                                      c10::SymInt, bool) {  // NOLINT: likewise
  return at::empty({rows.expect_int(), grad.size(-1)}, grad.options());
}

inline std::tuple<Tensor, Tensor, Tensor> meta_layer_norm(const Tensor& x, c10::SymIntArrayRef shape,
                                                          const std::optional<Tensor>&,
                                                          const std::optional<Tensor>&, double) {
  const auto kept = x.dim() - static_cast<std::int64_t>(shape.size());
  auto sizes = x.sizes().vec();
  for (auto i = kept; i < x.dim(); ++i) sizes[static_cast<std::size_t>(i)] = 1;
  return {at::empty(x.sizes(), x.options()), at::empty(sizes, x.options()), at::empty(sizes, x.options())};
}

inline std::tuple<Tensor, Tensor, Tensor> meta_layer_norm_backward(
    const Tensor&, const Tensor& x, c10::SymIntArrayRef, const Tensor&, const Tensor&,
    const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, std::array<bool, 3> wanted) {
  const auto of = [&](std::size_t i, const std::optional<Tensor>& t) {
    return t ? empty_if(wanted[i], t->sizes(), *t) : Tensor{};
  };
  return {of(0, x), of(1, weight), of(2, bias)};
}

// By fixed statistics: the batch's own are not computed, so not kept either.
inline std::tuple<Tensor, Tensor, Tensor> meta_batch_norm(const Tensor& x, const std::optional<Tensor>&,
                                                          const std::optional<Tensor>&,
                                                          const std::optional<Tensor>&,
                                                          const std::optional<Tensor>&, bool, double,
                                                          double) {
  return {at::empty(x.sizes(), x.options()), at::empty({0}, x.options()), at::empty({0}, x.options())};
}

inline std::tuple<Tensor, Tensor, Tensor> meta_batch_norm_backward(
    const Tensor&, const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>&,
    const std::optional<Tensor>&, const std::optional<Tensor>&, const std::optional<Tensor>&, bool, double,
    std::array<bool, 3> wanted) {
  const auto of_channels = [&](bool is_wanted) {
    return weight ? empty_if(is_wanted, weight->sizes(), *weight) : Tensor{};
  };
  return {empty_if(wanted[0], x.sizes(), x), of_channels(wanted[1]), of_channels(wanted[2])};
}

inline Tensor& meta_elementwise(const Tensor& x, Tensor& out) {
  out.resize_(x.sizes());
  return out;
}

inline Tensor meta_hardtanh(const Tensor& x, const at::Scalar&, const at::Scalar&) {
  return at::empty(x.sizes(), x.options());
}

inline Tensor meta_hardtanh_backward(const Tensor& grad, const Tensor&, const at::Scalar&,
                                     const at::Scalar&) {
  return at::empty(grad.sizes(), grad.options());
}

inline Tensor meta_index_select(const Tensor& x, std::int64_t dim, const Tensor& index) {
  auto sizes = x.sizes().vec();
  sizes[static_cast<std::size_t>(dim < 0 ? dim + x.dim() : dim)] = index.numel();
  return at::empty(sizes, x.options());
}

inline Tensor& meta_logical(const Tensor& a, const Tensor& b, Tensor& out) {
  out.resize_(at::infer_size(a.sizes(), b.sizes()));
  return out;
}

// Once a process.
inline void register_meta_kernels() {
  static const torch::Library library = [] {
    torch::Library lib(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__);
    lib.impl("_scaled_dot_product_flash_attention_for_cpu", &meta_attention);
    lib.impl("_scaled_dot_product_flash_attention_for_cpu_backward", &meta_attention_backward);
    lib.impl("convolution_overrideable", &meta_convolution);
    lib.impl("convolution_backward_overrideable", &meta_convolution_backward);
    lib.impl("embedding_dense_backward", &meta_embedding_backward);
    lib.impl("native_layer_norm", &meta_layer_norm);
    lib.impl("native_layer_norm_backward", &meta_layer_norm_backward);
    lib.impl("hardtanh", &meta_hardtanh);
    lib.impl("hardtanh_backward", &meta_hardtanh_backward);
    lib.impl("native_batch_norm", &meta_batch_norm);
    lib.impl("native_batch_norm_backward", &meta_batch_norm_backward);
    lib.impl("logical_not.out", &meta_elementwise);
    lib.impl("abs.out", &meta_elementwise);
    lib.impl("index_select", &meta_index_select);
    lib.impl("logical_and.out", &meta_logical);
    lib.impl("logical_or.out", &meta_logical);
    return lib;
  }();
}

}  // namespace morphvlm::detail
