// The tensor vocabulary used by all layers. ATen's per-operator headers only: torch/torch.h costs ten
// times as much compile time.
#pragma once

#ifndef AT_PER_OPERATOR_HEADERS
#error "morphvlm: compile with -DAT_PER_OPERATOR_HEADERS (the CMake target morphvlm::morphvlm sets it)"
#endif

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <cstdint>
#include <sstream>
#include <string>

namespace morphvlm {

using at::Tensor;
using at::TensorOptions;

/// A shape as text, "[2, 3]", for messages.
inline std::string to_string(at::IntArrayRef shape) {
  std::ostringstream out;
  out << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << ']';
  return out.str();
}

/// "bfloat16 [2, 3]", for messages; "undefined" for an empty handle.
inline std::string describe(const Tensor& t) {
  if (!t.defined()) return "undefined";
  std::ostringstream out;
  out << t.scalar_type() << ' ' << to_string(t.sizes());
  return out.str();
}

}  // namespace morphvlm
