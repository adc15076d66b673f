// Memory of freed tensors: used again for what fits, and not piled up.
#include "morphvlm/core/keep_freed_memory.hpp"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <vector>

#include "morphvlm/core/memory_meter.hpp"

namespace morphvlm::keep_freed_memory_test {
namespace {

#ifdef __linux__

constexpr std::size_t kLarge = detail::KeepingAllocator::kLarge;

TEST(KeepingAllocator, UsesABlockAgainForWhatFitsIt) {
  auto& allocator = detail::KeepingAllocator::instance();
  void* first = nullptr;
  {
    const auto block = allocator.allocate(3 * kLarge);
    first = block.get();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0U);
    static_cast<char*>(first)[3 * kLarge - 1] = 1;
    EXPECT_NE(allocator.allocate(3 * kLarge).get(), first) << "it is in use";
  }
  EXPECT_GT(allocator.kept(), 6 * kLarge);
  const auto same = allocator.allocate(3 * kLarge);
  const auto other = allocator.allocate(3 * kLarge - kLarge / 8);
  EXPECT_TRUE(same.get() == first || other.get() == first);
  EXPECT_LT(allocator.kept(), kLarge);
  const auto half = allocator.allocate(kLarge + kLarge / 2);
  EXPECT_NE(half.get(), first);
}

TEST(KeepingAllocator, KeepsNoSizesThatDoNotComeAgain) {
  auto& allocator = detail::KeepingAllocator::instance();
  const auto live = allocator.allocate(64 * kLarge);
  std::size_t size = kLarge, most = 0;
  for (int i = 0; i < 200; ++i, size += kLarge / 4) {
    allocator.allocate(size);
    most = std::max(most, allocator.kept());
  }
  EXPECT_LE(most, (64 * kLarge + size) * 5 / 4);
  EXPECT_GT(most, size - kLarge);
}

TEST(KeepingAllocator, LeavesSmallOnesToTheLibrary) {
  auto& allocator = detail::KeepingAllocator::instance();
  const auto kept = allocator.kept();
  {
    const auto small = allocator.allocate(kLarge - 1);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.get()) % 64, 0U);
    static_cast<char*>(small.get())[kLarge - 2] = 1;
  }
  EXPECT_EQ(allocator.kept(), kept);
  EXPECT_EQ(allocator.allocate(0).get(), nullptr);
}

TEST(KeepFreedMemory, TensorsAreCountedAndGrowAsEver) {
  at::Tensor before = at::full({1000, 1000}, 2, at::kFloat);
  keep_freed_memory();
  const MemoryMeter meter(c10::kCPU);
  at::Tensor t = at::full({1000, 1000}, 3, at::kFloat);
  EXPECT_EQ(meter.use().live, 4'000'000);
  t.resize_({3000, 1000});
  EXPECT_EQ(meter.use().live, 12'000'000);
  EXPECT_EQ(t.slice(0, 0, 1000).min().item<double>(), 3);
  t.reset();
  EXPECT_EQ(meter.use().live, 0);
  EXPECT_EQ(before.resize_({2000, 1000}).slice(0, 0, 1000).max().item<double>(), 2);
  EXPECT_GT(detail::KeepingAllocator::instance().kept(), 0U);
}

#endif

}  // namespace
}  // namespace morphvlm::keep_freed_memory_test
