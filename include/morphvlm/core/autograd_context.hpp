// What an autograd function of our own keeps besides tensors.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {
template <class T>
struct Held : torch::CustomClassHolder {
  explicit Held(T v) : value(std::move(v)) {}
  T value;
};
inline constexpr const char* kHeld = "held";
}  // namespace detail

/// Keeps `value`, one a function, from the forward to the backward pass.
template <class T>
void hold(torch::autograd::AutogradContext* context, T value) {
  context->saved_data[detail::kHeld] =
      at::IValue::make_capsule(c10::make_intrusive<detail::Held<T>>(std::move(value)));
}

/// What `hold` kept as a T; lives as long as `context` does.
template <class T>
const T& held(torch::autograd::AutogradContext* context) {
  return static_cast<detail::Held<T>*>(context->saved_data[detail::kHeld].toCapsule().get())->value;
}

}  // namespace morphvlm
