// Asking a device something without waiting for it.
#pragma once

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// A flag computed on a device, read one call late: by then the device has long gone on, so neither side
/// waits for the other. On a CPU there is nothing to wait for, and the answer is never late.
class AsyncFlag {
 public:
  /// Hands in `flag`, a bool of one element; returns on CUDA the flag of the call before, false at first, and
  /// elsewhere this one.
  bool exchange(const Tensor& flag) {
    if (!flag.is_cuda()) return flag.item<bool>();
    bool before = false;
    if (event_) {
      event_->synchronize();
      before = *host_.const_data_ptr<bool>();
    } else {
      event_.emplace(c10::kCUDA);
      host_ = at::empty({}, TensorOptions(at::kBool).pinned_memory(true));
    }
    host_.copy_(flag.view({}), true);
    event_->record(c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(flag.device()));
    return before;
  }

 private:
  Tensor host_ = {};
  std::optional<c10::Event> event_ = {};
};

}  // namespace morphvlm
