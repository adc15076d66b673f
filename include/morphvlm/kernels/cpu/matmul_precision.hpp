// How exact products of fp32 have to be: LibTorch's setting, by its names.
#pragma once

#include <ATen/Context.h>

#include <string>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Sets LibTorch's float32_matmul_precision, for the process: "highest" (fp32, as it is until set), "high"
/// (TF32 on CUDA; on a CPU with AMX, and a frozen weight, three BFloat16 products in place of one of fp32, of
/// 16 bits) or "medium" (LibTorch's own products take BFloat16). Error on another name.
/// PyTorch equivalent: `torch.set_float32_matmul_precision`.
inline void set_float32_matmul_precision(const std::string& name) {
  expect(name == "highest" || name == "high" || name == "medium",
         "float32_matmul_precision: expected highest, high or medium, found \"", name, '"');
  at::globalContext().setFloat32MatmulPrecision(name);
}

namespace detail {

// Whether LibTorch's products on a CPU may have fewer bits than fp32.
inline bool allows_fewer_bits() {
  const auto precision =
      at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL);
  return precision == at::Float32Precision::TF32 || precision == at::Float32Precision::BF16;
}

}  // namespace detail

}  // namespace morphvlm
