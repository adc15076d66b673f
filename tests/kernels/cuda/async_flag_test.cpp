// Here on a CPU, where a flag must not be late: a text would be written on behind its end.
// On a card it is late: tests/cuda/kernels_test.cpp.
#include "morphvlm/kernels/cuda/async_flag.hpp"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <vector>

namespace morphvlm::async_flag {
namespace {

TEST(AsyncFlag, OnACpuEachAnswersForItself) {
  AsyncFlag one, other;
  std::vector<bool> found;
  const std::vector<bool> values{true, false, false, true, true, false};
  for (const bool value : values) {
    // Made anew each time, in memory that is used again: nothing of the last one may be kept.
    found.push_back(one.exchange(at::full({}, value, at::kBool)));
    EXPECT_EQ(other.exchange(at::full({1}, !value, at::kBool)), !value);
  }
  EXPECT_EQ(found, values);
}

TEST(AsyncFlag, SeesWhatTheTensorHoldsNow) {
  AsyncFlag flag;
  const Tensor t = at::full({}, false, at::kBool);
  EXPECT_FALSE(flag.exchange(t));
  t.fill_(true);
  EXPECT_TRUE(flag.exchange(t));
}

}  // namespace
}  // namespace morphvlm::async_flag
