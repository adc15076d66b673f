// Tensors on CUDA between processes: NCCL, by LibTorch's c10d. (Python:
// torch.distributed.init_process_group("nccl").)
#pragma once

#ifdef USE_C10D_NCCL

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdlib>
#include <utility>

#include "morphvlm/distributed/process_place.hpp"

namespace morphvlm {

/// NCCL among the processes that share `store`; each uses the device that its tensors are on. A call that
/// waits longer than the place's timeout throws, as one of Gloo does, instead of ending the process. Error
/// (of c10d): no CUDA device.
inline c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                      const ProcessPlace& place) {
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", 0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = place.timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", store),
                                                     static_cast<int>(place.rank),
                                                     static_cast<int>(place.size), std::move(options));
}

}  // namespace morphvlm

#endif
