// Devices by name, and what a program asks of one.
#pragma once

#include <ATen/Context.h>
#include <c10/core/Device.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "morphvlm/core/error.hpp"

#ifdef MORPHVLM_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace morphvlm {

/// "cpu", "cuda" or "cuda:1". Of several processes on a machine, "cuda" gives each the device of its number
/// there. Error: another name, or a CUDA device that this build or machine does not have.
inline c10::Device device_named(const std::string& name, std::int64_t local_rank = 0) {
  const bool is_cuda = name == "cuda" || name.starts_with("cuda:");
  expect(name == "cpu" || is_cuda, "device: expected cpu, cuda or cuda:N, found \"", name, '"');
  if (!is_cuda) return c10::kCPU;
  const auto count =
      at::globalContext().hasCUDA() ? c10::impl::VirtualGuardImpl(c10::kCUDA).deviceCount() : 0;
  expect(count > 0, "device \"", name, "\": there is no CUDA device, or this program was built without CUDA ",
         "(preset cuda)");
  c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(local_rank % count));
  try {
    if (name != "cuda") device = c10::Device(name);
  } catch (const c10::Error&) {
    fail("device: expected cpu, cuda or cuda:N, found \"", name, '"');
  }
  expect(device.index() < count, "device \"", name, "\": expected a number below ", int{count});
  return device;
}

/// Whether there is a CUDA device to compute on.
inline bool has_cuda() {
  return at::globalContext().hasCUDA() && c10::impl::VirtualGuardImpl(c10::kCUDA).deviceCount() > 0;
}

/// Returns when all work given to the device so far is done; a device without an index is the current one.
/// Nothing to wait for on a CPU.
inline void synchronize(c10::Device device) {
  if (!device.is_cuda()) return;
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  cuda.synchronizeDevice(device.has_index() ? device.index() : cuda.getDevice().index());
}

#ifdef MORPHVLM_CUDA

namespace detail {
// LibTorch prepares its allocator with the first tensor, which may be still to come.
inline void prepare_cuda() { at::globalContext().lazyInitDevice(c10::kCUDA); }
}  // namespace detail

/// Bytes of memory that a CUDA device has.
inline std::int64_t cuda_memory(c10::Device device) {
  detail::prepare_cuda();
  const c10::DeviceGuard guard(device);
  std::size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(total);
}

/// From now on LibTorch's allocator takes at most so many bytes of a CUDA device, all that it keeps for reuse
/// included; an allocation beyond that fails as on a card of that size.
inline void limit_cuda_memory(c10::Device device, std::int64_t bytes) {
  const auto total = static_cast<double>(cuda_memory(device));
  c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(1.0, static_cast<double>(bytes) / total),
                                                     device.index());
}

/// The most bytes that LibTorch's allocator has held of a CUDA device since the process began or
/// forget_cuda_peak: what a card must have free, CUDA's own context and libraries aside.
inline std::int64_t peak_cuda_reserved(c10::Device device) {
  detail::prepare_cuda();
  return c10::cuda::CUDACachingAllocator::getDeviceStats(device.index()).reserved_bytes[0].peak;
}

/// Gives what is not in use back to the device and begins peak_cuda_reserved anew.
inline void forget_cuda_peak(c10::Device device) {
  detail::prepare_cuda();
  c10::cuda::CUDACachingAllocator::emptyCache();
  c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
}

#endif

}  // namespace morphvlm
