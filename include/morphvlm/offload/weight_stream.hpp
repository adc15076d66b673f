// Weights that stay in the host's memory and visit the device when they are needed, for devices too small to
// hold them.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_graph.hpp"
#include "morphvlm/kernels/cuda/host_to_device_copies.hpp"
#include "morphvlm/offload/prefetcher.hpp"

namespace morphvlm {

/// A piece of host memory in pages of its own, so that it can be pinned.
class HostBytes {
 public:
  /// So many bytes; `exist`: whether there is memory behind them, or they are a size alone (for plans).
  HostBytes(std::int64_t size, bool exist) : size_(size) {
    if (!exist) return;
    const auto pages = (size + kPage - 1) / kPage;
    const Tensor memory = at::empty({(pages + 1) * kPage}, at::kByte);
    const auto over = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory.const_data_ptr()) %
                                                std::uintptr_t{kPage});
    memory_ = memory.narrow(0, (kPage - over) % kPage, size);
  }

  /// Bytes.
  std::int64_t size() const { return size_; }
  /// uint8 [size]; undefined where there is no memory.
  const Tensor& memory() const { return memory_; }

 private:
  static constexpr std::int64_t kPage = 4096;

  std::int64_t size_;
  Tensor memory_ = {};
};

/// Copies weights of `Streamed` models to where they are needed, a few ahead of the one in use and beside the
/// device's computing, as long as this lives. It learns in which order they are needed. Without one, each
/// weight is copied when it is needed and waited for. What it has copied it keeps alive.
class WeightStream {
 public:
  /// Weights on their way ahead of the one that is used; LLaMA's layers have seven.
  static constexpr std::int64_t kAhead = 7;

  /// Serves all streamed models of the process until it is gone, or a newer one is there.
  explicit WeightStream(std::int64_t ahead = kAhead)
      : weights_(ahead, [this](const Item& item) { return start(item); }),
        before_(std::exchange(slot(), this)) {}
  ~WeightStream() { slot() = before_; }
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  /// The one that serves, or none.
  static WeightStream* current() { return slot(); }

  /// Bytes whose copy was started so far.
  std::int64_t copied() const { return copied_; }

  /// uint8 [size] on the device, a copy of `bytes`.
  Tensor fetch(const std::shared_ptr<const HostBytes>& bytes, c10::Device device) {
    // What is on its way must not become a part of recorded work, nor the other way round.
    if (is_recording(device)) return copy_of(*bytes, device);
    return weights_.fetch(bytes.get(), {bytes, device});
  }

 private:
  struct Item {
    std::shared_ptr<const HostBytes> bytes;
    c10::Device device;
  };

  static WeightStream*& slot() {
    // Not of a thread: backward passes on a device run in threads of their own.
    static WeightStream* stream = nullptr;
    return stream;
  }

  Tensor copy_of(const HostBytes& bytes, c10::Device device) {
    Tensor copy = at::empty({bytes.size()}, at::TensorOptions(at::kByte).device(device));
    copies_.start(copy, bytes.memory())();
    return copy;
  }

  Prefetcher<Item>::Flight start(const Item& item) {
    copied_ += item.bytes->size();
    const Tensor buffer = buffers_.take(item.bytes->size(), item.device);
    if (item.device.is_meta()) return {.all = buffer};
    return {.all = buffer, .wait = copies_.start(buffer, item.bytes->memory())};
  }

  std::int64_t copied_ = 0;
  BufferPool buffers_ = {};
  Prefetcher<Item> weights_;
  HostToDeviceCopies copies_ = {};  // gone before `weights_` lets the memory go that is pinned
  WeightStream* before_;
};

}  // namespace morphvlm
