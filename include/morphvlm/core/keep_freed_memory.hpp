// What happens to freed memory between steps.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <new>

#ifdef __linux__
#include <malloc.h>
#include <sys/mman.h>
#endif

namespace morphvlm {

#ifdef __linux__

namespace detail {

/// Memory of large tensors, kept by size when it is freed. A heap puts what lives until the backward pass
/// into the gaps that a layer's temporaries left, and the next layer's no longer fit: it grew by half of the
/// activations.
class KeepingAllocator final : public c10::Allocator {
 public:
  /// Blocks from this size on are kept; smaller ones go to the C library.
  static constexpr std::size_t kLarge = std::size_t{1} << 16;

  /// The process's; never destroyed, since tensors may outlive everything.
  static KeepingAllocator& instance() {
    static auto& allocator = *new KeepingAllocator;
    return allocator;
  }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &free_block, c10::Device(c10::kCPU)};
    const bool is_large = bytes >= kLarge;
    void* const block = is_large ? take(rounded(bytes + kHeader)) : c10::alloc_cpu(bytes + kHeader);
    if (!is_large) new (block) Header{0};
    void* const data = static_cast<std::byte*>(block) + kHeader;
    c10::profiledCPUMemoryReporter().New(data, bytes);
    return {data, data, &free_block, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  /// Bytes that are kept for tensors to come.
  std::size_t kept() const {
    const std::scoped_lock lock(mutex_);
    return kept_;
  }

 private:
  struct Header {
    std::size_t size;  // of the whole block; 0: the C library's
  };
  struct Free {
    void* block;
    std::uint64_t age;
  };
  static constexpr std::size_t kHeader = 64, kStep = std::size_t{1} << 12;

  static std::size_t rounded(std::size_t bytes) { return (bytes + kStep - 1) / kStep * kStep; }

  static void free_block(void* data) {
    if (data == nullptr) return;
    c10::profiledCPUMemoryReporter().Delete(data);
    void* const block = static_cast<std::byte*>(data) - kHeader;
    const auto size = static_cast<const Header*>(block)->size;
    size == 0 ? c10::free_cpu(block) : instance().give(block, size);
  }

  void* take(std::size_t size) {
    const std::scoped_lock lock(mutex_);
    const auto found = free_.lower_bound(size);
    if (found != free_.end() && found->first <= size + size / 8) {
      void* const block = found->second.block;
      live_ += found->first;
      kept_ -= found->first;
      peak_ = std::max(peak_, live_);
      free_.erase(found);
      return block;
    }
    // Sizes that do not come again must not pile up.
    const auto most = std::max(peak_, live_ + size);
    while (kept_ > 0 && live_ + size + kept_ > most + most / 8) forget_oldest();
    void* const block = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) throw std::bad_alloc();
    ::madvise(block, size, MADV_HUGEPAGE);  // where the system has none, pages are small
    new (block) Header{size};
    live_ += size;
    peak_ = std::max(peak_, live_);
    return block;
  }

  void give(void* block, std::size_t size) {
    const std::scoped_lock lock(mutex_);
    live_ -= size;
    kept_ += size;
    free_.emplace(size, Free{block, age_++});
  }

  void forget_oldest() {
    const auto oldest =
        std::ranges::min_element(free_, {}, [](const auto& entry) { return entry.second.age; });
    ::munmap(oldest->second.block, oldest->first);
    kept_ -= oldest->first;
    free_.erase(oldest);
  }

  mutable std::mutex mutex_;
  std::multimap<std::size_t, Free> free_ = {};
  std::size_t live_ = 0, kept_ = 0, peak_ = 0;
  std::uint64_t age_ = 0;
};

}  // namespace detail

#endif

/// Makes LibTorch keep the memory of large tensors instead of returning it to the system: a training step
/// frees and allocates the same large blocks each time, and glibc maps every block of 32 MiB and more afresh,
/// page by page. To be called once, early, by a program that trains or decodes; the process then holds its
/// peak until it ends. No effect on other systems than Linux.
inline void keep_freed_memory() {
#ifdef __linux__
#ifdef __GLIBC__
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
#endif
  constexpr std::uint8_t kBeforeTheDefault = 1;
  c10::SetCPUAllocator(&detail::KeepingAllocator::instance(), kBeforeTheDefault);
#endif
}

}  // namespace morphvlm
