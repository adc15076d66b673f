// Products of fp32 in parts of BFloat16, against exact ones; and the setting that allows them.
#include "morphvlm/kernels/cpu/split_products.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <utility>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"
#include "morphvlm/kernels/cpu/matmul_precision.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::split_products_test {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

Tensor whole_numbers(at::IntArrayRef shape, double most, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).uniform_(-most, most, make_generator(seed)).round();
}

Tensor wide(const Tensor& t) { return t.to(at::kDouble); }

struct SplitProducts : ::testing::Test {
  void SetUp() override {
    if (!detail::has_amx()) GTEST_SKIP() << "this processor has no AMX, or the system does not lend it";
    set_float32_matmul_precision("high");
  }
  void TearDown() override { set_float32_matmul_precision("highest"); }
};

struct Shape {
  std::int64_t rows, in, out;
};
// Fewer and more than a step of each loop: tiles of a piece of rows, of depth, columns at once.
constexpr Shape kShapes[] = {{1, 32, 32}, {97, 64, 96}, {257, 160, 1056}, {600, 1056, 64}};

TEST_F(SplitProducts, HaveSixteenBits) {
  for (const auto& [rows, in, out] : kShapes) {
    const Tensor x = normal({rows, in}, 1), w = normal({out, in}, 2), b = normal({out}, 3),
                 dy = normal({1, rows, out}, 4);
    const auto expect_close = [&](const Tensor& found, const Tensor& expected, const Tensor& magnitudes) {
      ASSERT_EQ(found.sizes(), expected.sizes());
      const Tensor off = wide(found).sub(expected);
      EXPECT_LE(off.norm().item<double>(), 8e-6 * expected.norm().item<double>()) << found.sizes();
      // Each product's own error and fp32's, which sums of so few keep below as much again.
      EXPECT_LE(off.abs().div(magnitudes).max().item<double>(), 0x1p-16) << found.sizes();
    };
    const Tensor sizes = at::linear(wide(x).abs(), wide(w).abs(), wide(b).abs());
    expect_close(detail::split_product(x, w, true, b), at::linear(wide(x), wide(w), wide(b)), sizes);
    expect_close(detail::split_product(dy, w, false), at::matmul(wide(dy), wide(w)),
                 at::matmul(wide(dy).abs(), wide(w).abs()));
    // Memory that is not laid out row by row.
    const Tensor turned = normal({in, rows}, 5).t();
    EXPECT_TRUE(
        detail::split_product(turned, w, true).equal(detail::split_product(turned.contiguous(), w, true)));
  }
}

TEST_F(SplitProducts, AreExactWhereTheBitsSuffice) {
  for (const auto& [rows, in, out] : kShapes) {
    // Of 8 and 11 bits; all sums stay below 2^24.
    const double most = std::floor(0x1p24 / 127 / static_cast<double>(in));
    for (const auto& [of_x, of_w] : {std::pair{127.0, most}, std::pair{most, 127.0}}) {
      const Tensor x = whole_numbers({rows, in}, of_x, 1), w = whole_numbers({out, in}, of_w, 2);
      const Tensor y = at::linear(wide(x), wide(w));
      EXPECT_TRUE(wide(detail::split_product(x, w, true)).equal(y)) << rows << ' ' << in << ' ' << out;
      EXPECT_TRUE(wide(detail::split_product(x, w.t().contiguous(), false)).equal(y));
    }
  }
}

TEST_F(SplitProducts, GoBackToWhatComesIn) {
  Tensor x = normal({2, 60, 96}, 1).set_requires_grad(true);
  const Tensor w = normal({64, 96}, 2), b = normal({64}, 3), dy = normal({2, 60, 64}, 4);
  const Tensor y = affine(x, w, b);
  EXPECT_FALSE(y.equal(at::linear(x, w, b)));
  EXPECT_LE(relative_error(y.detach(), at::linear(x.detach(), w, b)), 1e-5);
  torch::autograd::backward({y}, {dy});
  EXPECT_LE(relative_error(x.grad(), at::matmul(dy, w)), 1e-5);
  EXPECT_FALSE(x.grad().equal(at::matmul(dy, w)));
}

TEST_F(SplitProducts, AreNotFiniteWhereTheInputIsNot) {
  for (const float odd : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Tensor x = normal({100, 64}, 1);
    x[3][5] = odd;
    const Tensor finite = affine(x, normal({32, 64}, 2)).isfinite();
    EXPECT_FALSE(finite[3].any().item<bool>());
    EXPECT_EQ(finite.sum().item<std::int64_t>(), 99 * 32);
  }
}

TEST_F(SplitProducts, LeaveTheRestToTheLibrary) {
  const Tensor x = normal({100, 64}, 1), w = normal({32, 64}, 2);
  EXPECT_TRUE(detail::takes_tiles(x, w, 1));
  EXPECT_FALSE(detail::takes_tiles(x, w.to(at::kBFloat16), 1));
  EXPECT_FALSE(detail::takes_tiles(x.to(at::kDouble), w.to(at::kDouble), 1));
  EXPECT_FALSE(detail::takes_tiles(normal({95, 64}, 1), w, 1));
  EXPECT_FALSE(detail::takes_tiles(x, normal({33, 64}, 2), 1));
  EXPECT_FALSE(detail::takes_tiles(x, normal({32, 64}, 2).set_requires_grad(true), 1));
  set_float32_matmul_precision("medium");
  EXPECT_TRUE(detail::takes_tiles(x, w, 1));
  set_float32_matmul_precision("highest");
  EXPECT_FALSE(detail::takes_tiles(x, w, 1));
  EXPECT_TRUE(affine(x, w).equal(at::linear(x, w)));
}

TEST(MatmulPrecision, HasLibTorchsNames) {
  EXPECT_FALSE(detail::allows_fewer_bits());
  EXPECT_THROW(set_float32_matmul_precision("higher"), Error);
  EXPECT_FALSE(detail::allows_fewer_bits());
}

}  // namespace
}  // namespace morphvlm::split_products_test
