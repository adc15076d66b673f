// Products of few rows against the library's, on every path that this processor runs.
#include "morphvlm/kernels/gemv_product.hpp"

#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/quant/quantized.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/threads.hpp"

namespace morphvlm::gemv_product_test {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

template <class T>
struct GemvProduct : ::testing::Test {};
using WeightTypes = ::testing::Types<float, c10::BFloat16, std::int8_t>;
TYPED_TEST_SUITE(GemvProduct, WeightTypes);

// Every kernel that was compiled and that this processor runs.
template <class T>
std::vector<detail::GemvKernel<T>> kernels() {
  std::vector<detail::GemvKernel<T>> all{&detail::gemv_portable<T>};
#if MORPHVLM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&detail::gemv_avx2<T>);
  if (detail::gemv_kernel<T>() == &detail::gemv_avx512<T>) all.push_back(&detail::gemv_avx512<T>);
#endif
  return all;
}

// x W^T of fp32 x and a weight of T.
template <class T>
Tensor product_by(const Tensor& x, const Tensor& weight,
                  detail::GemvKernel<T> kernel = detail::gemv_kernel<T>()) {
  const detail::NumberRows<T> rows{.weight = {.values = weight.const_data_ptr<T>(), .in = weight.size(1)},
                                   .out = weight.size(0),
                                   .kernel = kernel};
  return detail::gemv_products_of<float>(x, std::vector{rows}, {Tensor{}}, {}).front();
}

TYPED_TEST(GemvProduct, EveryKernelAgreesWithTheLibrary) {
  const auto dtype = c10::CppTypeToScalarType<TypeParam>::value;
  for (const std::int64_t in : {1, 15, 64, 83, 200}) {  // less than a vector, whole lines, and with remains
    for (const std::int64_t out : {1, 4, 43}) {         // the last block is not whole
      const Tensor weight = normal({out, in}, 5).mul(20).to(dtype);
      for (std::int64_t rows = 1; rows <= kMaxGemvRows; ++rows) {
        const Tensor x = normal({rows, 1, in}, 6);
        ASSERT_TRUE(is_gemv(x, in));
        const Tensor expected = at::linear(x, weight.to(at::kFloat));
        for (const auto kernel : kernels<TypeParam>()) {
          const Tensor y = product_by(x, weight, kernel);
          EXPECT_EQ(y.sizes(), expected.sizes());
          EXPECT_LE(relative_error(y, expected), 1e-5) << in << " " << out << " " << rows;
        }
      }
    }
  }
}

// The ways of this processor to multiply BFloat16, one function each that chooses it.
std::vector<decltype(detail::Bf16Rows::way)> bf16_ways(std::int64_t in) {
  using detail::Bf16Way;
  constexpr auto kOf = []<Bf16Way Way>() {
    return +[](std::int64_t, std::int64_t, std::int64_t) { return Way; };
  };
  std::vector<decltype(detail::Bf16Rows::way)> all{kOf.operator()<Bf16Way::numbers>()};
  if (detail::bf16_way(1, in, 1) == Bf16Way::pairs) all.push_back(kOf.operator()<Bf16Way::pairs>());
  if (detail::bf16_way(2, in, detail::kTileRows) == Bf16Way::tiles)
    all.push_back(kOf.operator()<Bf16Way::tiles>());
  return all;
}

TEST(GemvOfBf16, EveryWayAgreesWithTheLibrary) {
  for (const std::int64_t in : {1, 31, 32, 83, 224}) {  // less than a register or a tile, whole ones, remains
    for (const std::int64_t out :
         {1, 15, 16, 77, 150}) {  // less than a tile, one, four and some, all of them
      const Tensor weight = normal({out, in}, 5).to(at::kBFloat16);
      for (std::int64_t rows = 1; rows <= kMaxGemvRows; rows += rows < 6 ? 1 : 5) {
        const Tensor x = normal({rows, in}, 6).to(at::kBFloat16);
        const Tensor expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
        for (const auto way : bf16_ways(in)) {
          auto kept = detail::rows_of<c10::BFloat16>(weight);
          kept.way = way;
          const auto input = kept.ordered(detail::floats_of(x));
          for (const std::int64_t first : {std::int64_t{0}, out / 3, out - 1}) {  // a thread's share of them
            const Tensor y = at::full({rows, out - first}, NAN, at::kFloat);
            kept.sums(input, rows, first, out, y.mutable_data_ptr<float>());
            EXPECT_LE(relative_error(y, expected.slice(1, first).to(at::kFloat)), 1e-5)
                << in << " " << out << " " << rows << " " << first << " "
                << static_cast<int>(way(rows, in, out));
          }
        }
      }
    }
  }
}

TEST(GemvFinish, EveryKernelRoundsAsBFloat16Does) {
  constexpr std::int64_t kOut = 61;
  const auto of = [&](std::uint64_t seed) { return normal({kOut}, seed).to(at::kBFloat16); };
  const Tensor bias = of(1), onto = of(2);
  Tensor sums = normal({kOut}, 3);
  sums[7] = NAN;
  sums[8] = INFINITY;
  sums[9] = 1 + 0x1p-8;       // a tie that goes down to an even number
  sums[10] = 1 + 3 * 0x1p-8;  // and up
  for (const bool has_more : {false, true}) {
    const auto finished = [&](const auto& finish) {
      Tensor y = at::empty({kOut}, bias.options());
      detail::SumFinish<c10::BFloat16> steps{.out = kOut, .y = y.mutable_data_ptr<c10::BFloat16>()};
      if (has_more) {
        steps.bias = bias.const_data_ptr<c10::BFloat16>();
        steps.onto = onto.const_data_ptr<c10::BFloat16>();
        steps.is_gated = true;
        steps.gate = 0.7F;
      }
      finish(steps, sums.const_data_ptr<float>());
      return y;
    };
    const Tensor expected = finished([](const auto& steps, const float* from) {
      for (std::int64_t i = 0; i < kOut; ++i) steps.one(i, i, from[i]);
    });
    for (const auto kernel :
         {&detail::finish_portable<c10::BFloat16>, detail::finish_kernel<c10::BFloat16>()}) {
      const Tensor y =
          finished([&](const auto& steps, const float* from) { kernel(steps, 0, 0, from, kOut); });
      EXPECT_TRUE(at::allclose(y, expected, 0, 0, true)) << y << expected;
    }
  }
}

TEST(Gemv, ScalesOutputsOfEightBits) {
  const auto packed = Int8::pack(normal({131, 40}, 1));
  for (const std::int64_t rows : {3, 11}) {
    const Tensor x = normal({rows, 1, 40}, 2), bias = normal({131}, 4);
    ASSERT_TRUE(takes_gemv(x, packed));
    EXPECT_LE(relative_error(gemv_products(x, {packed}, {bias}).front(),
                             at::linear(x, Int8::unpack(packed, at::kFloat), bias)),
              1e-5);
  }
}

TEST(Gemv, IsSplitAmongThreadsWithoutAChange) {
  const Tensor weight = normal({3001, 96}, 1).to(at::kBFloat16), x = normal({2, 96}, 2);
  const auto product_by_threads = [&](int threads) {
    const testing::Threads scope(threads);
    return product_by<c10::BFloat16>(x, weight);
  };
  const Tensor whole = product_by_threads(1);
  EXPECT_LE(relative_error(whole, at::linear(x, weight.to(at::kFloat))), 1e-5);
  for (const int threads : {2, 3, 7}) EXPECT_TRUE(product_by_threads(threads).equal(whole)) << threads;
}

// A thread's share may begin in one weight and end in another.
TEST(Gemv, SeveralWeightsAreSplitAmongThreads) {
  const std::vector<Tensor> weights{normal({70, 2048}, 1), normal({37, 2048}, 2), normal({90, 2048}, 3)},
      biases{normal({70}, 4), {}, normal({90}, 5)};
  const Tensor x = normal({3, 1, 2048}, 6);
  for (const int threads : {1, 2, 5}) {
    const testing::Threads scope(threads);
    const auto y = gemv_products(x, weights, biases);
    for (std::size_t i = 0; i < weights.size(); ++i)
      EXPECT_LE(relative_error(y[i], at::linear(x, weights[i], biases[i])), 1e-5) << threads << ' ' << i;
    const Tensor both = gemv_swiglu(x, weights[2], weights[2]);
    const Tensor gate = at::linear(x, weights[2]);
    EXPECT_LE(relative_error(both, gate.sigmoid().mul(gate).mul(gate)), 1e-5) << threads;
  }
}

// A product in 16 bits is the exact one, rounded once: the library's own may be off by a rounding or two.
TEST(Product, RoundsSixteenBitsOnce) {
  const Tensor weight = normal({33, 120}, 1).to(at::kBFloat16), bias = normal({33}, 2).to(at::kBFloat16);
  for (const std::int64_t rows : {1, 3, 7, 19}) {
    const Tensor x = normal({rows, 1, 120}, 3).to(at::kBFloat16);
    const Tensor exact =
        at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble)).to(at::kBFloat16);
    const Tensor y = product(x, weight, bias);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_LE(relative_error(y.to(at::kFloat), exact.to(at::kFloat)), rows <= kMaxGemvRows ? 1e-3 : 1e-2);
  }
}

TEST(Gemv, MoreOfThemWhereEachIsAText) {
  const Tensor weight = normal({5, 8}, 1);
  EXPECT_TRUE(takes_gemv(normal({kMaxGemvRows, 1, 8}, 2), weight));
  EXPECT_FALSE(takes_gemv(normal({kMaxGemvRows + 1, 1, 8}, 2), weight));
  EXPECT_TRUE(takes_gemv(normal({1, detail::kRowsAtOnce, 8}, 2), weight));
  EXPECT_FALSE(takes_gemv(normal({1, detail::kRowsAtOnce + 1, 8}, 2), weight));
}

TEST(Gemv, OtherDtypesAreTheLibrarys) {
  at::NoGradGuard no_grad;
  for (const auto dtype : {at::kDouble, at::kHalf}) {
    const Tensor weight = normal({5, 8}, 1).to(dtype), x = normal({1, 8}, 2).to(dtype);
    EXPECT_FALSE(is_gemv(x, 8));
    EXPECT_TRUE(product(x, weight).equal(at::linear(x, weight)));
    const RMSNorm norm{.weight = normal({8}, 3).to(dtype)};
    EXPECT_TRUE(norm(x).equal(at::rms_norm(x, {8}, norm.weight, norm.eps)));
  }
}

TEST(Gemv, RmsNormIsTheLibrarys) {
  const RMSNorm norm{.weight = normal({40}, 3), .eps = 1e-3};
  const Tensor x = normal({2, 1, 40}, 2);
  const Tensor expected = at::rms_norm(x, {40}, norm.weight, norm.eps);
  EXPECT_LE(relative_error(norm(x), expected), 1e-6);
  const Tensor half = norm(x.to(at::kBFloat16));
  EXPECT_EQ(half.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_error(half.to(at::kFloat), expected), 1e-2);
  EXPECT_TRUE(norm(x.clone().set_requires_grad(true)).requires_grad());
}

TEST(Product, KeepsGradientsWhereTheyAreWanted) {
  const Tensor weight = normal({5, 8}, 1).to(at::kBFloat16);
  const Tensor x = normal({1, 8}, 2).to(at::kBFloat16).set_requires_grad(true);
  EXPECT_TRUE(product(x, weight).requires_grad());
  at::NoGradGuard no_grad;
  EXPECT_FALSE(product(x, weight).requires_grad());
}

TEST(Product, TakesWeightsThatAreNotContiguous) {
  const Tensor weight = normal({8, 5}, 1).to(at::kBFloat16).t();
  const Tensor x = normal({1, 8}, 2).to(at::kBFloat16);
  EXPECT_LE(relative_error(product(x, weight).to(at::kFloat), product(x, weight.contiguous()).to(at::kFloat)),
            1e-2);
}

}  // namespace
}  // namespace morphvlm::gemv_product_test
