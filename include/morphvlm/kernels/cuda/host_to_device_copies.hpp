// Copies from host memory to a device while the device computes.
#pragma once

#include <functional>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_graph.hpp"

#ifdef MORPHVLM_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <memory>
#include <set>
#include <utility>
#endif

namespace morphvlm {

/// Copies that a device's copy engine makes on a stream of its own. Host memory that is copied from is pinned
/// the first time and as long as this lives, so it must outlive this. On a CPU and in builds without
/// MORPHVLM_CUDA, a copy is done before `start` returns.
class HostToDeviceCopies {
 public:
  HostToDeviceCopies() = default;
  HostToDeviceCopies(const HostToDeviceCopies&) = delete;
  HostToDeviceCopies& operator=(const HostToDeviceCopies&) = delete;

  /// Starts to copy `from` [n], in pages of host memory that are its own, to `to` [n] of the same dtype, once
  /// the device has done what it was given before this call. What it is given after a call of the returned
  /// function comes after the copy. Of work that is being recorded, the copy is a part like any other.
  std::function<void()> start(const Tensor& to, const Tensor& from) {
#ifdef MORPHVLM_CUDA
    if (to.is_cuda()) return start_on_cuda(to, from);
#endif
    to.copy_(from);
    return [] {};
  }

#ifdef MORPHVLM_CUDA
  ~HostToDeviceCopies() {
    for (const auto& [index, stream] : streams_) {
      if (cudaStreamSynchronize(stream) != cudaSuccess) static_cast<void>(cudaGetLastError());
    }
    for (auto* const memory : pinned_) {
      if (cudaHostUnregister(memory) != cudaSuccess) static_cast<void>(cudaGetLastError());
    }
  }

 private:
  std::function<void()> start_on_cuda(const Tensor& to, const Tensor& from) {
    const c10::DeviceGuard guard(to.device());
    const auto computing = c10::cuda::getCurrentCUDAStream();
    const auto copy_on = [&](c10::cuda::CUDAStream stream) {
      C10_CUDA_CHECK(cudaMemcpyAsync(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes(),
                                     cudaMemcpyHostToDevice, stream));
    };
    // A stream of its own would have to be joined before the recording ends.
    if (is_recording(to.device())) {
      copy_on(computing);
      return [] {};
    }
    pin(from);
    const auto copying =
        streams_.try_emplace(to.device().index(), c10::cuda::getStreamFromPool(false, to.device().index()))
            .first->second;
    at::cuda::CUDAEvent is_free;
    is_free.record(computing);
    is_free.block(copying);
    copy_on(copying);
    const auto arrived = std::make_shared<at::cuda::CUDAEvent>();
    arrived->record(copying);
    return [arrived] { arrived->block(c10::cuda::getCurrentCUDAStream()); };
  }

  void pin(const Tensor& from) {
    void* const memory = const_cast<void*>(from.const_data_ptr());
    if (tried_.contains(memory)) return;
    tried_.insert(memory);
    // Where the system lets no more memory be pinned, copies are slower and as right.
    if (cudaHostRegister(memory, from.nbytes(), cudaHostRegisterDefault) == cudaSuccess)
      pinned_.insert(memory);
    else
      static_cast<void>(cudaGetLastError());
  }

  std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams_ = {};
  std::set<void*> tried_ = {}, pinned_ = {};
#endif
};

}  // namespace morphvlm
