// NF4 on CUDA: a weight written out.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <ios>
#include <locale>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/nf4_levels.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"

namespace morphvlm::detail {

// The levels, and the scale of a block.
inline std::string nf4_cuda() {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << "\n__device__ const float kLevels[16] = {" << std::hexfloat;
  for (const float level : kNf4Levels) text << level << "f, ";
  text << R"(};
// Rounded after each step, as it is on a CPU.
__device__ __forceinline__ float scale_of(float level, const float* nested, const float* offset, long long block) {
  return __fadd_rn(__fmul_rn(level, nested[block / 256]), *offset);
}
)";
  return text.str();
}

inline constexpr std::string_view kNf4UnpackCuda = R"(
#if WIDE
typedef float Value;
__device__ __forceinline__ Value stored(float x) { return x; }
#else
typedef Bf16 Value;
__device__ __forceinline__ Value stored(float x) { return rounded(x); }
#endif
// Sixteen weights to a thread: a quarter of a block of 64.
extern "C" __global__ void __launch_bounds__(256) nf4_unpack(const unsigned char* codes, const unsigned char* absmax,
                                                             const float* nested, const float* dynamic,
                                                             const float* offset, Value* out, long long weights) {
  __shared__ float levels[16];
  if (threadIdx.x < 16) levels[threadIdx.x] = kLevels[threadIdx.x];
  __syncthreads();
  const long long first = ((long long)blockIdx.x * 256 + threadIdx.x) * 16;
  if (first >= weights) return;
  const float scale = scale_of(dynamic[absmax[first / 64]], nested, offset, first / 64);
  __align__(16) Value values[16];
  const int bytes = (int)min(8ll, (weights - first) / 2);
  if (bytes == 8) {
    const uint2 packed = *(const uint2*)(codes + first / 2);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const unsigned byte = ((i < 4 ? packed.x : packed.y) >> (8 * (i % 4))) & 255u;
      values[2 * i] = stored(__fmul_rn(levels[byte >> 4], scale));
      values[2 * i + 1] = stored(__fmul_rn(levels[byte & 15u], scale));
    }
    const uint4* const from = (const uint4*)values;
    uint4* const to = (uint4*)(out + first);
#pragma unroll
    for (int i = 0; i < (int)(16 * sizeof(Value) / 16); ++i) to[i] = from[i];
    return;
  }
  for (int i = 0; i < bytes; ++i) {
    const unsigned byte = codes[first / 2 + i];
    out[first + 2 * i] = stored(__fmul_rn(levels[byte >> 4], scale));
    out[first + 2 * i + 1] = stored(__fmul_rn(levels[byte & 15u], scale));
  }
}
)";

inline const CudaKernel& nf4_unpack_kernel(bool wide) {
  const auto make = [](const char* defines) {
    return std::make_unique<CudaKernel>("nf4_unpack",
                                        cuda_source(defines, nf4_cuda() + std::string(kNf4UnpackCuda)));
  };
  static const auto kNarrow = make("#define WIDE 0"), kWide = make("#define WIDE 1");
  return *(wide ? kWide : kNarrow);
}

/// The weight [out, in] that `packed` (NF4::Packed on CUDA) stands for, in float or BFloat16; `dynamic` are
/// the 256 levels of the scales' code, on the same device.
template <class Packed>
Tensor nf4_unpack_on_cuda(const Packed& packed, const Tensor& dynamic, at::ScalarType dtype) {
  Tensor weight = at::empty({packed.out, packed.in}, packed.codes.options().dtype(dtype));
  const long long weights = packed.out * packed.in;
  constexpr long long kWeightsOfThread = 16;
  nf4_unpack_kernel(dtype == at::kFloat)
      .launch(weight.device(), grid_of_threads((weights + kWeightsOfThread - 1) / kWeightsOfThread),
              packed.codes.const_data_ptr(), packed.absmax.const_data_ptr(),
              packed.nested_absmax.const_data_ptr(), dynamic.const_data_ptr(), packed.offset.const_data_ptr(),
              weight.mutable_data_ptr(), weights);
  return weight;
}

}  // namespace morphvlm::detail
