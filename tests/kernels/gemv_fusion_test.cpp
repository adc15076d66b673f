// Products of few rows with what stands before and behind them, against the modules that do it one by one.
#include "morphvlm/kernels/gemv_fusion.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/quant/quantized.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::gemv_steps_test {
namespace {

using testing::relative_error;

// Widths that are no multiple of anything, and more outputs than are finished at a time.
constexpr std::int64_t kIn = 83, kOut = 2 * detail::kGemvTile + 9;

struct GemvFusionOf : ::testing::TestWithParam<at::ScalarType> {
  at::NoGradGuard no_grad = {};

  static Tensor normal(at::IntArrayRef shape, std::uint64_t seed, double mean = 0) {
    return at::empty(shape, at::kFloat).normal_(mean, 1, make_generator(seed)).to(GetParam());
  }
  static Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
    const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
    return at::linear(wide(x), wide(weight), wide(bias)).to(GetParam());
  }
  // A rounding to the dtype, or several of them.
  static double tolerance() { return GetParam() == at::kFloat ? 1e-5 : 1e-2; }
};

TEST_P(GemvFusionOf, SeveralWeightsAreSoManyProducts) {
  const std::vector<Tensor> weights{normal({kOut, kIn}, 1), normal({7, kIn}, 2), normal({1, kIn}, 3)};
  const std::vector<Tensor> biases{normal({kOut}, 4), {}, normal({1}, 5)};
  for (std::int64_t rows = 1; rows <= kMaxGemvRows; ++rows) {
    const Tensor x = normal({rows, 1, kIn}, 6);
    ASSERT_TRUE(takes_gemv(x, weights[0]));
    const auto y = gemv_products(x, weights, biases);
    ASSERT_EQ(y.size(), weights.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      const Tensor expected = linear(x, weights[i], biases[i]);
      EXPECT_EQ(y[i].sizes(), expected.sizes());
      EXPECT_EQ(y[i].scalar_type(), GetParam());
      EXPECT_LE(relative_error(y[i].to(at::kFloat), expected.to(at::kFloat)), tolerance()) << rows << i;
    }
  }
}

TEST_P(GemvFusionOf, ANormComesFirst) {
  const RMSNorm rms{.weight = normal({kIn}, 1, 1), .eps = 1e-2};
  const LayerNorm centred{.weight = normal({kIn}, 2, 1), .bias = normal({kIn}, 3), .eps = 1e-2};
  const Tensor x = normal({3, 1, kIn}, 4, 2), weight = normal({kOut, kIn}, 5);
  const auto check = [&](const auto& norm) {
    ASSERT_TRUE(detail::can_be_a_step(norm, x));
    const Tensor y = gemv_products(x, {weight}, {{}}, normed_by(norm)).front();
    EXPECT_LE(relative_error(y.to(at::kFloat), linear(norm(x), weight).to(at::kFloat)), tolerance());
    // To the last bit what is made of normed rows that were stored.
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(norm)>, RMSNorm>) {
      ASSERT_TRUE(takes_gemv(norm(x), weight));
      EXPECT_TRUE(y.equal(gemv_products(norm(x), {weight}, {{}}).front()));
      const auto packed = Int8::pack(weight);
      EXPECT_TRUE(gemv_products(x, {packed}, {{}}, normed_by(norm))
                      .front()
                      .equal(gemv_products(norm(x), {packed}, {{}}).front()));
    }
    const Tensor both = gemv_swiglu(x, weight, weight.neg(), normed_by(norm));
    const Tensor gate = linear(norm(x), weight);
    EXPECT_LE(relative_error(both.to(at::kFloat), at::silu(gate).mul(gate.neg()).to(at::kFloat)),
              2 * tolerance());
  };
  check(rms);
  check(centred);
}

TEST_P(GemvFusionOf, AnActivationAGateAndASumComeLast) {
  const Tensor x = normal({2, 1, kIn}, 1), weight = normal({kOut, kIn}, 2).div(9), bias = normal({kOut}, 3),
               onto = normal({2, 1, kOut}, 4), gate = at::full({1}, 0.7, at::kFloat).to(GetParam());
  const Tensor plain = linear(x, weight, bias);
  const auto with = [&](const GemvFusion& steps) {
    return gemv_products(x, {weight}, {bias}, steps).front().to(at::kFloat);
  };
  EXPECT_LE(relative_error(with({.gelu = true}), at::gelu(plain).to(at::kFloat)), tolerance());
  EXPECT_LE(relative_error(with({.gate = gate}), plain.mul(at::tanh(gate)).to(at::kFloat)), tolerance());
  EXPECT_LE(relative_error(with({.onto = onto}), plain.add(onto).to(at::kFloat)), tolerance());
  EXPECT_LE(relative_error(with({.gelu = true, .gate = gate, .onto = onto}),
                           at::gelu(plain).mul(at::tanh(gate)).add(onto).to(at::kFloat)),
            tolerance());
}

// The steps of a product with a weight in few bits are those of one with the weight written out.
template <WeightFormat F>
void check_packed(at::ScalarType dtype, std::int64_t rows, double tolerance) {
  constexpr std::int64_t kWhole = 192, kMore = 131;
  const auto normal = [&](at::IntArrayRef shape, std::uint64_t seed) {
    return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
  };
  const auto packed = F::pack(normal({kMore, kWhole}, 1).div(9)), other = F::pack(normal({7, kWhole}, 2));
  const Tensor wide = F::unpack(packed, dtype), wide_other = F::unpack(other, dtype);
  const Tensor x = normal({rows, 1, kWhole}, 3).to(dtype), bias = normal({kMore}, 4).to(dtype);
  const LayerNorm norm{.weight = normal({kWhole}, 5).to(dtype), .bias = normal({kWhole}, 6).to(dtype)};
  ASSERT_TRUE(takes_gemv(x, packed));
  GemvFusion steps = normed_by(norm);
  const auto compare = [&](const Tensor& a, const Tensor& b) {
    EXPECT_EQ(a.scalar_type(), dtype);
    EXPECT_LE(relative_error(a.to(at::kFloat), b.to(at::kFloat)), tolerance) << F::name;
  };
  const auto ours = gemv_products(x, {packed, other}, {bias, {}}, steps),
             theirs = gemv_products(x, {wide, wide_other}, {bias, {}}, steps);
  for (std::size_t i = 0; i < ours.size(); ++i) compare(ours[i], theirs[i]);
  compare(gemv_swiglu(x, packed, packed, steps), gemv_swiglu(x, wide, wide, steps));
  steps.gelu = true;
  steps.gate = at::full({1}, 0.7, at::kFloat).to(dtype);
  steps.onto = normal({rows, 1, kMore}, 7).to(dtype);
  compare(gemv_products(x, {packed}, {bias}, steps).front(), gemv_products(x, {wide}, {bias}, steps).front());
}

TEST_P(GemvFusionOf, PackedWeightsTakeThemAlike) {
  // A weight that is written out in 16 bits is rounded itself.
  for (const std::int64_t rows : {3, 6}) {  // looked up as they are multiplied, and written out before
    check_packed<NF4>(GetParam(), rows, 2 * tolerance());
    check_packed<Int8>(GetParam(), rows, 2 * tolerance());
  }
}

TEST_P(GemvFusionOf, OtherLayoutsAndDtypesAreLeftOut) {
  const Tensor x = normal({1, 1, kIn}, 1), weight = normal({4, kIn}, 2);
  const auto other = GetParam() == at::kFloat ? at::kBFloat16 : at::kFloat;
  EXPECT_TRUE(takes_gemv(x, weight));
  EXPECT_FALSE(takes_gemv(x, weight.to(other)));
  EXPECT_FALSE(takes_gemv(x, normal({kIn, 4}, 2).t()));
  EXPECT_FALSE(takes_gemv(normal({kMaxGemvRows + 1, kIn}, 1), weight));
  EXPECT_FALSE(detail::can_be_a_step(RMSNorm{.weight = normal({kIn}, 1).to(other)}, x));
  EXPECT_TRUE(detail::can_be_a_step(RMSNorm{.weight = normal({kIn}, 1)}, x));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, GemvFusionOf, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& dtype) { return dtype.param == at::kFloat ? "fp32" : "bf16"; });

}  // namespace
}  // namespace morphvlm::gemv_steps_test
