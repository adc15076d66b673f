// Products of few rows against the library's, on every path that this processor runs.
#include "morphvlm/nn/few_rows_product.hpp"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/norm.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::few_rows_product_test {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

template <class T>
struct FewRowsProduct : ::testing::Test {};
using WeightTypes = ::testing::Types<float, c10::BFloat16, std::int8_t>;
TYPED_TEST_SUITE(FewRowsProduct, WeightTypes);

// Every kernel that was compiled and that this processor runs.
template <class T>
std::vector<detail::FewRowsKernel<T>> kernels() {
  std::vector<detail::FewRowsKernel<T>> all{&detail::few_rows_portable<T>};
#if MORPHVLM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.push_back(&detail::few_rows_avx2<T>);
  if (detail::few_rows_kernel<T>() == &detail::few_rows_avx512<T>) all.push_back(&detail::few_rows_avx512<T>);
#endif
  return all;
}

// x W^T of fp32 x and a weight of T.
template <class T>
Tensor product_by(const Tensor& x, const Tensor& weight,
                  detail::FewRowsKernel<T> kernel = detail::few_rows_kernel<T>()) {
  auto rows = detail::rows_of<T>(weight);
  rows.kernel = kernel;
  return detail::few_rows_products_of<float>(x, std::vector{rows}, {Tensor{}}, {}).front();
}

TYPED_TEST(FewRowsProduct, EveryKernelAgreesWithTheLibrary) {
  const auto dtype = c10::CppTypeToScalarType<TypeParam>::value;
  for (const std::int64_t in : {1, 15, 64, 83, 200}) {  // less than a vector, whole lines, and with remains
    for (const std::int64_t out : {1, 4, 43}) {         // the last block is not whole
      const Tensor weight = normal({out, in}, 5).mul(20).to(dtype);
      for (std::int64_t rows = 1; rows <= kMaxFewRows; ++rows) {
        const Tensor x = normal({rows, 1, in}, 6);
        ASSERT_TRUE(is_few_rows(x, in));
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

TEST(FewRows, ScalesOutputsOfEightBits) {
  const auto packed = Int8::pack(normal({131, 40}, 1));
  const Tensor x = normal({3, 40}, 2), bias = normal({131}, 4);
  ASSERT_TRUE(takes_few_rows(x, packed));
  EXPECT_LE(relative_error(few_rows_products(x, {packed}, {bias}).front(),
                           at::linear(x, Int8::unpack(packed, at::kFloat), bias)),
            1e-5);
}

TEST(FewRows, IsSplitAmongThreadsWithoutAChange) {
  const Tensor weight = normal({3001, 96}, 1).to(at::kBFloat16), x = normal({2, 96}, 2);
  const Tensor split = product_by<c10::BFloat16>(x, weight);
  for (const std::int64_t first : {0, 1500, 2990}) {
    const Tensor part = product_by<c10::BFloat16>(x, weight.slice(0, first, first + 11));
    EXPECT_LE(relative_error(split.slice(1, first, first + 11), part), 1e-6);
  }
}

// A product in 16 bits is the exact one, rounded once: the library's own may be off by a rounding or two.
TEST(Product, RoundsSixteenBitsOnce) {
  const Tensor weight = normal({33, 120}, 1).to(at::kBFloat16), bias = normal({33}, 2).to(at::kBFloat16);
  for (const std::int64_t rows : {1, 3, 7}) {
    const Tensor x = normal({rows, 120}, 3).to(at::kBFloat16);
    const Tensor exact =
        at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble)).to(at::kBFloat16);
    const Tensor y = product(x, weight, bias);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_LE(relative_error(y.to(at::kFloat), exact.to(at::kFloat)), rows <= kMaxFewRows ? 1e-3 : 1e-2);
  }
}

TEST(FewRows, OtherDtypesAreTheLibrarys) {
  at::NoGradGuard no_grad;
  for (const auto dtype : {at::kDouble, at::kHalf}) {
    const Tensor weight = normal({5, 8}, 1).to(dtype), x = normal({1, 8}, 2).to(dtype);
    EXPECT_FALSE(is_few_rows(x, 8));
    EXPECT_TRUE(product(x, weight).equal(at::linear(x, weight)));
    const RMSNorm norm{.weight = normal({8}, 3).to(dtype)};
    EXPECT_TRUE(norm(x).equal(at::rms_norm(x, {8}, norm.weight, norm.eps)));
  }
}

TEST(FewRows, RmsNormIsTheLibrarys) {
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
}  // namespace morphvlm::few_rows_product_test
