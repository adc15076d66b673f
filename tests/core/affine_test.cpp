// Products in pieces of fp32 for processors that multiply 16 bits slowly, against exact ones.
#include "morphvlm/core/affine.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <optional>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::affine_test {
namespace {

using testing::relative_error;

// More rows than a piece has.
constexpr std::int64_t kIn = 2003, kOut = 1101;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed)).to(at::kBFloat16);
}

Tensor exact(const Tensor& x, const Tensor& w, const Tensor& b = {}) {
  const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
  return at::linear(wide(x), wide(w), wide(b)).to(at::kBFloat16);
}

double error(const Tensor& a, const Tensor& b) { return relative_error(a.to(at::kFloat), b.to(at::kFloat)); }

TEST(WideAffine, IsTheExactProductRoundedOnce) {
  const Tensor x = normal({3, 5, kIn}, 1), w = normal({kOut, kIn}, 2), b = normal({kOut}, 3);
  const Tensor y = detail::wide_affine(x, w, b);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_EQ(y.sizes(), (at::IntArrayRef{3, 5, kOut}));
  EXPECT_LE(error(y, exact(x, w, b)), 1e-3);
  EXPECT_LE(error(detail::wide_affine(x, w, {}), exact(x, w)), 1e-3);
  const Tensor dy = normal({3, 5, kOut}, 4);
  EXPECT_LE(error(detail::wide_times(dy, w), exact(dy, w.t())), 1e-3);
}

TEST(WideAffine, GivesTheGradientsThatAreWanted) {
  const Tensor dy = normal({3, 5, 31}, 4);
  const auto run = [&](bool wide, bool of_x, bool of_rest, bool with_bias) {
    const auto leaf = [&](const Tensor& t, bool wanted) {
      return (wide ? t : t.to(at::kDouble)).detach().clone().set_requires_grad(wanted);
    };
    std::vector<Tensor> in{leaf(normal({3, 5, 83}, 1), of_x), leaf(normal({31, 83}, 2), of_rest),
                           with_bias ? leaf(normal({31}, 3), of_rest) : Tensor{}};
    const auto bias = with_bias ? std::optional<Tensor>(in[2]) : std::nullopt;
    const Tensor y = wide ? detail::WideAffine::apply(in[0], in[1], bias) : at::linear(in[0], in[1], bias);
    torch::autograd::backward({y}, {dy.to(y.scalar_type())});
    std::vector<Tensor> out;
    for (const auto& t : in) out.push_back(t.defined() ? t.grad() : t);
    return out;
  };
  const auto expect_same = [&](bool of_x, bool of_rest, bool with_bias) {
    const auto ours = run(true, of_x, of_rest, with_bias), theirs = run(false, of_x, of_rest, with_bias);
    for (std::size_t i = 0; i < ours.size(); ++i) {
      ASSERT_EQ(ours[i].defined(), theirs[i].defined()) << i;
      if (ours[i].defined()) {
        EXPECT_LE(error(ours[i], theirs[i]), 4e-3) << i;
      }
    }
  };
  for (const bool with_bias : {true, false}) {
    expect_same(true, true, with_bias);
    expect_same(true, false, with_bias);
    expect_same(false, true, with_bias);
  }
}

// Whichever path this processor takes.
TEST(Affine, IsALinearInEveryDtype) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const Tensor x = normal({7, 40}, 1).to(dtype), w = normal({11, 40}, 2).to(dtype),
                 b = normal({11}, 3).to(dtype);
    const double limit = dtype == at::kBFloat16 ? 1e-2 : 1e-6;
    EXPECT_EQ(affine(x, w, b).scalar_type(), dtype);
    EXPECT_LE(relative_error(affine(x, w, b).to(at::kFloat), exact(x, w, b).to(at::kFloat)), 1e-2);
    EXPECT_LE(relative_error(affine(x, w, b), at::linear(x, w, b)), limit);
    EXPECT_LE(relative_error(times(x, w.t()), at::linear(x, w)), limit);
  }
}

}  // namespace
}  // namespace morphvlm::affine_test
