// Work on CUDA that is recorded once and repeated with one launch.
#pragma once

#include <c10/core/Device.h>

#include <functional>

#include "morphvlm/core/error.hpp"

#ifdef MORPHVLM_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#endif

namespace morphvlm {

/// Whether this build can record work on CUDA: it was configured with MORPHVLM_CUDA.
#ifdef MORPHVLM_CUDA
inline constexpr bool kHasCudaGraphs = true;
#else
inline constexpr bool kHasCudaGraphs = false;
#endif

/// Whether what the device is given now is recorded, and not run.
inline bool is_recording(c10::Device device) {
#ifdef MORPHVLM_CUDA
  if (!device.is_cuda()) return false;
  return c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
#else
  static_cast<void>(device);
  return false;
#endif
}

/// A CUDA graph: the kernels of a piece of work with their very arguments, so it reads and writes the same
/// memory each time. PyTorch equivalent: `torch.cuda.CUDAGraph`.
class CudaGraph {
 public:
  /// Records what `work` starts on the current device, without running it. It must have run once before, must
  /// not wait for the device, and what it reads and writes must outlive this. Error: a build without
  /// MORPHVLM_CUDA.
  void record(const std::function<void()>& work) {
#ifdef MORPHVLM_CUDA
    graph_ = std::make_unique<at::cuda::CUDAGraph>();
    c10::cuda::device_synchronize();
    // A graph's memory is its own, and while one is being recorded nothing that is merely kept can be freed.
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    graph_->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph_->capture_end();
      } catch (const c10::Error&) {  // says no more than that the work failed
      }
      graph_.reset();
      throw;
    }
    graph_->capture_end();
#else
    static_cast<void>(work);
    fail("CUDA graphs: this program was built without MORPHVLM_CUDA (preset cuda)");
#endif
  }

  /// Whether there is something to replay.
  bool is_recorded() const {
#ifdef MORPHVLM_CUDA
    return graph_ != nullptr;
#else
    return false;
#endif
  }

  /// Runs it on the current stream. Error: nothing was recorded.
  void replay() {
    expect(is_recorded(), "CUDA graphs: nothing was recorded");
#ifdef MORPHVLM_CUDA
    graph_->replay();
#endif
  }

 private:
#ifdef MORPHVLM_CUDA
  std::unique_ptr<at::cuda::CUDAGraph> graph_ = {};
#endif
};

}  // namespace morphvlm
