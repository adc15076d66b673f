// Tensors without memory that stand for those of a device, while a plan is being made.
#pragma once

#include <optional>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm::detail {

// Which kind of device tensors on the meta device stand for, while a plan is being made; else none.
inline std::optional<c10::DeviceType>& meta_stands_for() {
  thread_local std::optional<c10::DeviceType> device;
  return device;
}

inline bool computes_like(const Tensor& x, c10::DeviceType device) {
  return x.device().type() == device || (x.is_meta() && meta_stands_for() == device);
}

}  // namespace morphvlm::detail
