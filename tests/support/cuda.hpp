// Tests that need a CUDA device.
#pragma once

#include <gtest/gtest.h>

#include "morphvlm/core/device.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"

namespace morphvlm::testing {

inline const c10::Device kCuda(c10::kCUDA, 0);

/// Skips every test of the suite where there is no device.
struct OnCuda : ::testing::Test {
  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no CUDA device";
  }
};

/// A copy on the device, trainable as the original is.
template <class M>
M on_cuda(M module) {
  convert(module, at::TensorOptions().device(kCuda));
  return module;
}

/// While it lives, LibTorch's operators do what kernels of our own would.
class WithoutOwnKernels {
 public:
  WithoutOwnKernels() { own_cuda_kernels() = false; }
  ~WithoutOwnKernels() { own_cuda_kernels() = true; }
  WithoutOwnKernels(const WithoutOwnKernels&) = delete;
  WithoutOwnKernels& operator=(const WithoutOwnKernels&) = delete;
};

}  // namespace morphvlm::testing
