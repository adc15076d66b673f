// Products in pieces of fp32 for processors that multiply 16 bits slowly, and by tiles for those that do it
// fast, against exact ones.
#include "morphvlm/kernels/cpu/affine.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

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
    const Tensor y =
        wide ? detail::wide_affine_with_gradients(in[0], in[1], in[2]) : at::linear(in[0], in[1], in[2]);
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

// Activations under a frozen weight are most of a step's memory.
TEST(WideAffine, KeepsNothingThatNoGradientNeeds) {
  for (const bool of_x : {true, false}) {
    // No leaves: the graph knows those besides.
    const Tensor x = normal({3, 83}, 1).set_requires_grad(of_x).mul(2),
                 w = normal({31, 83}, 2).set_requires_grad(!of_x).mul(2);
    const auto &trained = of_x ? x : w, &frozen = of_x ? w : x;
    const auto of_trained = trained.use_count(), of_frozen = frozen.use_count();
    const Tensor y = detail::wide_affine_with_gradients(x, w, {});
    EXPECT_EQ(trained.use_count(), of_trained) << of_x;
    EXPECT_GT(frozen.use_count(), of_frozen) << of_x;
  }
}

struct TileProducts : ::testing::Test {
  void SetUp() override {
    if (!detail::has_amx()) GTEST_SKIP() << "this processor has no AMX, or the system does not lend it";
  }
};

// A sum in fp32 may fall to the other side of the middle between two numbers of 16 bits.
void expect_rounded_once(const Tensor& found, const Tensor& expected) {
  EXPECT_LE(error(found, expected), 0x1p-8) << found.sizes();
  EXPECT_LE(found.ne(expected).to(at::kFloat).mean().item<double>(), 0.01) << found.sizes();
}

TEST_F(TileProducts, AreTheExactOnesRoundedOnce) {
  struct Shape {
    std::int64_t rows, in, out;
  };
  // Fewer and more than a step of each loop: rows of two tiles, columns at once, depth of a piece.
  for (const auto& [rows, in, out] : {Shape{9, 64, 96}, Shape{32, 32, 32}, Shape{37, 1120, 544},
                                      Shape{150, 544, 1120}, Shape{512, 288, 320}}) {
    const Tensor x = normal({rows, in}, 1), w = normal({out, in}, 2), b = normal({out}, 3),
                 dy = normal({1, rows, out}, 4);
    ASSERT_EQ(detail::takes_tiles(x, w, 1), rows <= detail::kMostTileRows);
    expect_rounded_once(detail::tile_affine(x, w, b), exact(x, w, b));
    expect_rounded_once(detail::tile_affine(x, w, {}), exact(x, w));
    const Tensor dx = detail::tile_times(dy, w);
    EXPECT_EQ(dx.sizes(), (at::IntArrayRef{1, rows, in}));
    expect_rounded_once(dx, exact(dy, w.t()));
    // Memory that is not laid out row by row.
    const Tensor turned = normal({in, rows}, 5).t();
    expect_rounded_once(detail::tile_affine(turned, w, {}), exact(turned, w));
  }
}

TEST_F(TileProducts, GoBackToWhatComesIn) {
  Tensor x = normal({2, 20, 96}, 1).set_requires_grad(true);
  const Tensor w = normal({64, 96}, 2), b = normal({64}, 3), dy = normal({2, 20, 64}, 4);
  const Tensor y = affine(x, w, b);
  EXPECT_LE(error(y.detach(), exact(x.detach(), w, b)), 1e-3);
  torch::autograd::backward({y}, {dy});
  EXPECT_LE(error(x.grad(), exact(dy, w.t())), 1e-3);
}

TEST_F(TileProducts, LeaveTheRestToTheLibrary) {
  const Tensor x = normal({40, 64}, 1), w = normal({32, 64}, 2);
  EXPECT_TRUE(detail::takes_tiles(x, w, 1));
  EXPECT_FALSE(detail::takes_tiles(x.to(at::kFloat), w.to(at::kFloat), 1));
  EXPECT_FALSE(detail::takes_tiles(normal({4, 64}, 1), w, 1));
  EXPECT_FALSE(detail::takes_tiles(normal({40, 32}, 1), w, 1));
  EXPECT_TRUE(detail::takes_tiles(normal({40, 32}, 1), w, 0));
  EXPECT_FALSE(detail::takes_tiles(normal({600, 64}, 1), w, 1));
  EXPECT_TRUE(detail::takes_tiles(normal({600, 64}, 1), at::empty({1 << 17, 64}, at::kBFloat16), 1));
  EXPECT_FALSE(detail::takes_tiles(x, normal({64, 32}, 2).t(), 1));
  EXPECT_FALSE(detail::takes_tiles(x, normal({33, 64}, 2), 1));
  EXPECT_FALSE(detail::takes_tiles(x, normal({32, 64}, 2).set_requires_grad(true), 1));
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

TEST(Affine, GivesATrainedBiasItsGradient) {
  const Tensor x = normal({40, 64}, 1), w = normal({32, 64}, 2);
  Tensor b = normal({32}, 3).set_requires_grad(true);
  torch::autograd::backward({affine(x, w, b).sum()});
  EXPECT_EQ(b.grad().min().item<double>(), 40);
  EXPECT_EQ(b.grad().max().item<double>(), 40);
}

}  // namespace
}  // namespace morphvlm::affine_test
