#include "morphvlm/kernels/cuda/late_flag.hpp"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

namespace morphvlm::late_flag {
namespace {

// On a card it is late: tests/cuda/kernels_test.cpp.
TEST(LateFlag, OnACpuItIsNotLate) {
  LateFlag flag;
  for (const bool value : {true, false, true, true})
    EXPECT_EQ(flag.exchange(at::full({}, value, at::kBool)), value);
}

}  // namespace
}  // namespace morphvlm::late_flag
