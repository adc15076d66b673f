// The fused loss against LibTorch's own, forward and backward.
#include "morphvlm/train/cross_entropy.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "morphvlm/core/rng.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::cross_entropy_test {
namespace {

using testing::relative_error;

struct FrozenHeadLossCase : ::testing::Test {
  at::Generator generator = make_generator(3);
  Tensor x = at::empty({13, 24}, at::kDouble).normal_(0, 1, generator);
  Tensor head = at::empty({37, 24}, at::kDouble).normal_(0, 1, generator);
  Tensor targets = at::arange(13, at::kLong).mul(7).remainder(37);

  // Errors of loss and gradient in `dtype`, in chunks of `rows`, relative to the plain way in fp64.
  std::pair<double, double> errors(at::ScalarType dtype, std::int64_t rows) {
    const Tensor exact = x.clone().set_requires_grad(true);
    const Tensor expected = at::cross_entropy_loss(at::linear(exact, head), targets);
    backward(expected.mul(3));
    const Tensor input = x.clone().to(dtype).set_requires_grad(true);
    const auto row = 37 * static_cast<std::int64_t>(dtype == at::kDouble ? sizeof(double) : sizeof(float));
    const Tensor loss = frozen_head_loss(input, head.to(dtype), targets, rows * row);
    backward(loss.mul(3));
    return {relative_error(loss.detach().to(at::kDouble), expected.detach()),
            relative_error(input.grad().to(at::kDouble), exact.grad())};
  }
};

TEST_F(FrozenHeadLossCase, IsTheCrossEntropyWhateverTheChunk) {
  for (const std::int64_t rows : {1, 4, 13, 100}) {
    const auto [loss, gradient] = errors(at::kDouble, rows);
    EXPECT_LE(loss, 1e-12) << rows;
    EXPECT_LE(gradient, 1e-12) << rows;
  }
}

TEST_F(FrozenHeadLossCase, KeepsItsPromisesInFp32AndBf16) {
  EXPECT_LE(errors(at::kFloat, 4).first, 1e-5);
  EXPECT_LE(errors(at::kFloat, 4).second, 1e-5);
  EXPECT_LE(errors(at::kBFloat16, 4).first, 1e-2);
  EXPECT_LE(errors(at::kBFloat16, 4).second, 2e-2);
}

TEST_F(FrozenHeadLossCase, LargeLogitsDoNotOverflow) {
  const Tensor input = x.to(at::kFloat).mul(1e3).set_requires_grad(true);
  const Tensor loss = frozen_head_loss(input, head.to(at::kFloat), targets);
  backward(loss);
  EXPECT_TRUE(loss.isfinite().all().item<bool>());
  EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
}

TEST_F(FrozenHeadLossCase, HoldsOneChunkOfLogits) {
  const Tensor input = at::ones({64, 8}, at::kFloat).set_requires_grad(true);
  const Tensor wide = at::ones({5000, 8}, at::kFloat);
  const Tensor wanted = at::zeros({64}, at::kLong);
  MemoryMeter meter(c10::kCPU);
  const Tensor loss = frozen_head_loss(input, wide, wanted, std::int64_t{4} * 5000 * 4);
  // Logits of four rows, exp and their differences; all rows would take 1.28 MB.
  EXPECT_LT(meter.use().peak, 4 * 80000);
  EXPECT_LT(meter.use().live, 10000);
}

TEST_F(FrozenHeadLossCase, RefusesATrainedHead) {
  head.set_requires_grad(true);
  EXPECT_THAT(testing::message_of([&] { frozen_head_loss(x, head, targets); }),
              ::testing::HasSubstr("the head is trained"));
}

}  // namespace
}  // namespace morphvlm::cross_entropy_test
