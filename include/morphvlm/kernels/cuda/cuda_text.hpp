// What the sources of our CUDA kernels begin with.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"

namespace morphvlm {

/// The most rows that kernels for decoding take.
inline constexpr std::int64_t kMaxCudaRows = 4;

}  // namespace morphvlm

namespace morphvlm::detail {

/// Numbers of 16 bits as they lie in memory, sums over a warp, and for kernels that start early
/// (CudaGrid::starts_early) waiting for those ahead of them and letting the next one start.
inline constexpr std::string_view kCudaPrelude = R"(
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ void wait_for_earlier() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void let_next_start() { asm volatile("griddepcontrol.launch_dependents;"); }
#else
__device__ __forceinline__ void wait_for_earlier() {}
__device__ __forceinline__ void let_next_start() {}
#endif
typedef unsigned short Bf16;
__device__ __forceinline__ float widened(Bf16 x) { return __uint_as_float((unsigned)x << 16); }
__device__ __forceinline__ Bf16 rounded(float x) {
  const unsigned bits = __float_as_uint(x);
  return (Bf16)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ float first_of(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float second_of(unsigned pair) { return __uint_as_float(pair & 0xFFFF0000u); }
__device__ __forceinline__ unsigned pair_of(float first, float second) {
  return (unsigned)rounded(first) | (unsigned)rounded(second) << 16;
}
__device__ __forceinline__ float dot(unsigned a, unsigned b, float sum) {
  return fmaf(second_of(a), second_of(b), fmaf(first_of(a), first_of(b), sum));
}
__device__ __forceinline__ float dot(const uint4& a, const uint4& b, float sum) {
  return dot(a.w, b.w, dot(a.z, b.z, dot(a.y, b.y, dot(a.x, b.x, sum))));
}
__device__ __forceinline__ float warp_sum(float x) {
  for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, other);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int other = 16; other > 0; other /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, other));
  return x;
}
)";

/// A kernel's source with the prelude and `#define NAME VALUE` lines before it.
inline std::string cuda_source(std::string_view defines, std::string_view body) {
  return std::string(defines) + std::string(kCudaPrelude) + std::string(body);
}

/// A kernel for each number of rows up to kMaxCudaRows, which its text calls ROWS.
class CudaKernelsByRows {
 public:
  CudaKernelsByRows(const std::string& name, std::string_view body) {
    for (std::size_t r = 0; r < kernels_.size(); ++r) {
      kernels_[r] =
          std::make_unique<CudaKernel>(name, cuda_source("#define ROWS " + std::to_string(r + 1), body));
    }
  }
  const CudaKernel& operator[](std::int64_t rows) const {
    return *kernels_[static_cast<std::size_t>(rows - 1)];
  }

 private:
  std::array<std::unique_ptr<CudaKernel>, kMaxCudaRows> kernels_ = {};
};

/// Blocks of eight warps, a warp to an output.
inline unsigned blocks_of_eight(std::int64_t outputs) { return static_cast<unsigned>((outputs + 7) / 8); }

/// Blocks of 256 threads, at least so many in all.
inline CudaGrid grid_of_threads(std::int64_t threads) {
  return {.blocks = static_cast<unsigned>((threads + 255) / 256), .threads = 256};
}

/// Where a tensor's numbers are, as kernels take it: null if it is undefined.
inline const void* address(const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }

}  // namespace morphvlm::detail
