// Operations with gradients of our own, beside LibTorch's.
#include "morphvlm/core/autograd_function.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/rng.hpp"

namespace morphvlm::autograd_function_test {
namespace {

Tensor normal(std::uint64_t seed, bool requires_grad = true) {
  return at::empty({3, 5}, at::kFloat).normal_(0, 1, make_generator(seed)).set_requires_grad(requires_grad);
}

// a^2 b, with what each gradient was wanted for.
Tensor square_times(const Tensor& a, const Tensor& b, std::vector<bool>* wanted = nullptr) {
  return autograd_function(
      {a, b, Tensor{}},
      [&](std::vector<Tensor>& saved) {
        saved = {a, b};
        return a.mul(a).mul_(b);
      },
      [wanted](const BackwardCall& call) {
        const auto &x = call.saved[0], &y = call.saved[1];
        if (wanted != nullptr) *wanted = {call.wants(0), call.wants(1), call.wants(2)};
        return std::vector<Tensor>{call.wants(0) ? x.mul(y).mul(2).mul(call.grad) : Tensor{},
                                   call.wants(1) ? x.mul(x).mul(call.grad) : Tensor{}, Tensor{}};
      });
}

TEST(AutogradFunction, HasItsOwnGradient) {
  const Tensor a = normal(1), b = normal(2), dy = normal(3, false);
  std::vector<bool> wanted;
  const Tensor y = square_times(a, b, &wanted);
  EXPECT_TRUE(y.requires_grad());
  torch::autograd::backward({y.mul(3)}, {dy});
  EXPECT_TRUE(a.grad().allclose(a.detach().mul(b.detach()).mul(dy).mul(6)));
  EXPECT_TRUE(b.grad().allclose(a.detach().pow(2).mul(dy).mul(3)));
  EXPECT_EQ(wanted, (std::vector<bool>{true, true, false}));
}

TEST(AutogradFunction, GivesWhatIsWantedAlone) {
  const Tensor a = normal(1), b = normal(2, false);
  std::vector<bool> wanted;
  torch::autograd::backward({square_times(a, b, &wanted).sum()});
  EXPECT_EQ(wanted, (std::vector<bool>{true, false, false}));
  EXPECT_TRUE(a.grad().defined());
  const Tensor c = normal(4), d = normal(5);
  const auto of_d = gradients(square_times(c, d, &wanted), {d}, at::ones_like(d));
  EXPECT_EQ(wanted, (std::vector<bool>{false, true, false}));
  EXPECT_TRUE(of_d[0].allclose(c.detach().pow(2)));
}

TEST(AutogradFunction, IsNotRecordedWithoutNeed) {
  EXPECT_FALSE(square_times(normal(1, false), normal(2, false)).requires_grad());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(square_times(normal(1), normal(2)).requires_grad());
}

TEST(AutogradFunction, CanBeDerivedTwice) {
  const Tensor a = normal(1), b = normal(2);
  const Tensor y = square_times(a, b);
  const auto first = torch::autograd::grad({y}, {a}, {at::ones_like(y)}, std::nullopt, true);
  const auto second = torch::autograd::grad({first[0]}, {a}, {at::ones_like(y)});
  EXPECT_TRUE(second[0].allclose(b.detach().mul(2)));
}

TEST(AutogradFunction, NoticesWhatWasChangedInPlace) {
  const Tensor a = normal(1), b = normal(2, false);
  const Tensor y = square_times(a, b).sum();
  b.add_(1);
  EXPECT_THROW(torch::autograd::backward({y}), c10::Error);
}

TEST(AutogradFunction, FreesWhatItKeptAfterTheBackwardPass) {
  const auto kept = std::make_shared<int>(1);
  const Tensor a = normal(1);
  const Tensor y = autograd_function(
      {a}, [&](std::vector<Tensor>&) { return a.mul(2); },
      [kept](const BackwardCall& call) { return std::vector<Tensor>{call.grad.mul(2)}; });
  EXPECT_EQ(kept.use_count(), 2);
  torch::autograd::backward({y.sum()});
  EXPECT_EQ(kept.use_count(), 1);
  EXPECT_THROW(torch::autograd::backward({y.sum()}), Error);
}

TEST(AutogradFunction, TakesNoGradientForZeros) {
  const Tensor a = normal(1), b = normal(2);
  const Tensor y = square_times(a, b);
  const auto node = y.grad_fn();
  const auto out = (*node)({Tensor{}});
  ASSERT_EQ(out.size(), 3u);
  EXPECT_TRUE(out[0].eq(0).all().item<bool>());
  EXPECT_EQ(out[0].sizes(), a.sizes());
}

}  // namespace
}  // namespace morphvlm::autograd_function_test
