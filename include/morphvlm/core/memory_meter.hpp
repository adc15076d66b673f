// How much memory tensors take over time: measured where they are real, counted on the meta device where they
// have shapes alone.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace morphvlm {

/// Bytes of tensors' storage, relative to the start of the meter (live can be negative: what was there before
/// may have been freed).
struct MemoryUse {
  std::int64_t live = 0;   ///< at present
  std::int64_t peak = 0;   ///< the most that was live at once
  std::int64_t count = 0;  ///< blocks allocated
  std::int64_t large = 0;  ///< of these, blocks of at least kLargeBlock
};

/// Blocks from this size on cost the C library a system call and fresh pages each time (glibc's largest
/// threshold for `mmap`).
inline constexpr std::int64_t kLargeBlock = std::int64_t{32} << 20;

namespace detail {

// Counts under a lock: backward passes and data loaders allocate from threads of their own.
class MemoryTally {
 public:
  void add(std::int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    use_.live += bytes;
    use_.peak = std::max(use_.peak, use_.live);
    if (bytes <= 0) return;
    ++use_.count;
    if (bytes >= kLargeBlock) ++use_.large;
  }
  MemoryUse use() const {
    const std::scoped_lock lock(mutex_);
    return use_;
  }
  void restart_peak() {
    const std::scoped_lock lock(mutex_);
    use_.peak = use_.live;
  }

 private:
  mutable std::mutex mutex_;
  MemoryUse use_ = {};
};

// What LibTorch's allocators report to.
class MemoryReports : public c10::MemoryReportingInfoBase {
 public:
  MemoryReports(std::shared_ptr<MemoryTally> tally, c10::DeviceType device)
      : tally_(std::move(tally)), device_(device) {}
  void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device device) override {
    if (device.type() == device_) tally_->add(bytes);
  }
  bool memoryProfilingEnabled() const override { return true; }

 private:
  std::shared_ptr<MemoryTally> tally_;
  c10::DeviceType device_;
};

// Meta tensors without memory whose blocks are counted while they live.
class CountingMetaAllocator final : public c10::Allocator {
 public:
  static CountingMetaAllocator& instance() {
    static CountingMetaAllocator allocator;
    return allocator;
  }
  c10::DataPtr allocate(std::size_t bytes) override {
    const std::scoped_lock lock(mutex_);
    if (!tally_) return {nullptr, nullptr, nullptr, c10::Device(c10::kMeta)};
    auto block = std::make_unique<Block>(Block{tally_, static_cast<std::int64_t>(bytes)});
    tally_->add(block->bytes);
    return {nullptr, block.release(), &forget, c10::Device(c10::kMeta)};
  }
  void copy_data(void*, const void*, std::size_t) const override {}

  // Counts for `tally` from now on; returns what was counted for before.
  std::shared_ptr<MemoryTally> count_for(std::shared_ptr<MemoryTally> tally) {
    const std::scoped_lock lock(mutex_);
    return std::exchange(tally_, std::move(tally));
  }

 private:
  struct Block {
    std::shared_ptr<MemoryTally> tally;
    std::int64_t bytes;
  };
  static void forget(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    block->tally->add(-block->bytes);
  }
  // LibTorch keeps its own at priority 0; replacing it counts every meta tensor of the process.
  CountingMetaAllocator() { c10::SetAllocator(c10::kMeta, this, 1); }
  std::mutex mutex_;
  std::shared_ptr<MemoryTally> tally_;
};

}  // namespace detail

/// Counts the storage that tensors take on one kind of device from its construction to its destruction: on
/// CPU and CUDA that of this thread and of the backward passes it starts, on the meta device that of the
/// process. PyTorch equivalent: `torch.cuda.max_memory_allocated`, for any device.
class MemoryMeter {
 public:
  /// Begins to count storage on devices of this type. On the meta device only the newest meter counts.
  explicit MemoryMeter(c10::DeviceType device) : tally_(std::make_shared<detail::MemoryTally>()) {
    if (device == c10::kMeta) {
      previous_ = detail::CountingMetaAllocator::instance().count_for(tally_);
    } else {
      reports_ = std::make_unique<c10::DebugInfoGuard>(
          c10::DebugInfoKind::PROFILER_STATE, std::make_shared<detail::MemoryReports>(tally_, device));
    }
  }
  ~MemoryMeter() {
    if (!reports_) detail::CountingMetaAllocator::instance().count_for(std::move(previous_));
  }
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  /// What was counted so far.
  MemoryUse use() const { return tally_->use(); }
  /// Makes what is live now the peak.
  void restart_peak() { tally_->restart_peak(); }

 private:
  std::shared_ptr<detail::MemoryTally> tally_;
  std::shared_ptr<detail::MemoryTally> previous_ = {};
  std::unique_ptr<c10::DebugInfoGuard> reports_ = {};  // none on the meta device
};

}  // namespace morphvlm
