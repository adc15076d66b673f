// Floating-point operations of what runs: every matrix product, convolution and attention, forward and
// backward, on any device, the meta device included.
#pragma once

#include <ATen/record_function.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

// RecordFunction::inputs() insists, where NDEBUG is not defined, on a flag that LibTorch, which was built
// with it, never sets. An explicit instantiation may name the private member behind it.
template <auto Member>
struct ReadMember {
  friend c10::ArrayRef<const c10::IValue> recorded_inputs(const at::RecordFunction& f) { return f.*Member; }
};
c10::ArrayRef<const c10::IValue> recorded_inputs(const at::RecordFunction& f);
template struct ReadMember<&at::RecordFunction::inputs_>;

// [..., m, k] x [..., k, n]: a multiplication and an addition each.
inline double product_flops(const Tensor& a, const Tensor& b) {
  return 2.0 * static_cast<double>(a.numel()) * static_cast<double>(b.size(-1));
}

// Where a convolution puts its weight along dimension d (from 0) of the image. A list of one stands for all
// dimensions.
inline std::int64_t convolution_places(const Tensor& x, const Tensor& w, std::int64_t d,
                                       at::IntArrayRef stride, at::IntArrayRef padding,
                                       at::IntArrayRef dilation) {
  const auto of = [d](at::IntArrayRef v) { return v[std::min(v.size() - 1, static_cast<std::size_t>(d))]; };
  const auto reach = of(dilation) * (w.size(d + 2) - 1) + 1;
  return (x.size(d + 2) + 2 * of(padding) - reach) / of(stride) + 1;
}

// Scores and weighted sum of attention: rows of q against the keys.
inline double attention_flops(const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto rows = q.numel() / q.size(-1);
  return 2.0 * static_cast<double>(rows) * static_cast<double>(k.size(-2)) *
         static_cast<double>(q.size(-1) + v.size(-1));
}

// Of an operator by its name and arguments; 0 for what is not counted: elementwise work, reductions, copies.
inline double operator_flops(std::string_view name, c10::ArrayRef<const c10::IValue> in) {
  const auto tensor = [&](std::size_t i) -> const Tensor& { return in[i].toTensor(); };
  if (name == "aten::mm" || name == "aten::bmm") return product_flops(tensor(0), tensor(1));
  if (name == "aten::addmm" || name == "aten::addmm_" || name == "aten::baddbmm")
    return product_flops(tensor(1), tensor(2));
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu" ||
      name == "aten::_scaled_dot_product_flash_attention" ||
      name == "aten::_scaled_dot_product_efficient_attention" ||
      name == "aten::_scaled_dot_product_cudnn_attention")
    return attention_flops(tensor(0), tensor(1), tensor(2));
  // Backward: the scores again, and four more products of that size.
  if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward" ||
      name == "aten::_scaled_dot_product_flash_attention_backward" ||
      name == "aten::_scaled_dot_product_efficient_attention_backward" ||
      name == "aten::_scaled_dot_product_cudnn_attention_backward")
    return 2.5 * attention_flops(tensor(1), tensor(2), tensor(3));
  if (name == "aten::convolution") {
    const auto& w = tensor(1);
    const auto stride = in[3].toIntVector(), padding = in[4].toIntVector(), dilation = in[5].toIntVector();
    double places = static_cast<double>(tensor(0).size(0));
    for (std::int64_t d = 0; d < w.dim() - 2; ++d)
      places *= static_cast<double>(convolution_places(tensor(0), w, d, stride, padding, dilation));
    return 2.0 * places * static_cast<double>(w.numel());
  }
  if (name == "aten::convolution_backward") {
    const auto wanted = in[10].toBoolList();
    const auto of_output = tensor(2).numel() / tensor(2).size(0);
    const double one = 2.0 * static_cast<double>(tensor(0).numel()) * static_cast<double>(of_output);
    return one * ((wanted[0] ? 1 : 0) + (wanted[1] ? 1 : 0));
  }
  return 0;
}

}  // namespace detail

/// Counts the operations of this thread, and of backward passes that run in it, while it lives: all of them
/// on a CPU and on the meta device, none on CUDA, where LibTorch has threads of its own for them. A
/// multiplication and an addition count as two. One may live at a time in a thread.
class FlopMeter {
 public:
  FlopMeter() {
    current() = &flops_;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback([](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
          if (auto* const total = current(); total != nullptr)
            *total += detail::operator_flops(f.name(), detail::recorded_inputs(f));
          return nullptr;
        })
            .needsInputs(true)
            .scopes({at::RecordScope::FUNCTION}));
  }
  ~FlopMeter() {
    at::removeCallback(handle_);
    current() = nullptr;
  }
  FlopMeter(const FlopMeter&) = delete;
  FlopMeter& operator=(const FlopMeter&) = delete;

  /// Counted so far.
  double flops() const { return flops_; }

  /// What a kernel of our own, which LibTorch does not see, has done in this thread's name.
  static void add(double flops) {
    if (auto* const total = current(); total != nullptr) *total += flops;
  }

 private:
  static double*& current() {
    thread_local double* total = nullptr;
    return total;
  }
  double flops_ = 0;
  at::CallbackHandle handle_ = at::INVALID_CALLBACK_HANDLE;
};

}  // namespace morphvlm
