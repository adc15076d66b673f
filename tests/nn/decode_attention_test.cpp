// Attention of one new token, on a CPU, against the operators that it stands for.
#include "morphvlm/nn/decode_attention.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/threads.hpp"

namespace morphvlm::decode_attention_test {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed)).to(dtype);
}

// Batch, query heads, heads of keys and values, their width, tokens in the cache, and room in it.
struct Sizes {
  std::int64_t batch = 2, heads = 6, kv_heads = 2, d = 10, past = 5, room = 9;
};

// The same token over a cache that grows.
Tensor by_operators(const Sizes& s, const Tensor& q, const Tensor& k, const Tensor& v, const RopeTable& rope,
                    const Tensor& bias, const LayerCache& cache) {
  const auto turned = [&](const Tensor& x, std::int64_t heads) {
    const Tensor split = split_heads(x, heads);
    return rope.cos.defined() ? apply_rope(split, rope) : split;
  };
  LayerCache grown{cache.k.slice(2, 0, s.past), cache.v.slice(2, 0, s.past)};
  grown.append(turned(k, s.kv_heads), split_heads(v, s.kv_heads));
  const Tensor mask = bias.defined() ? bias.slice(3, 0, s.past + 1) : bias;
  return join_heads(attend(turned(q, s.heads), grown.k, grown.v, mask));
}

struct DecodeAttention : ::testing::TestWithParam<at::ScalarType> {
  at::NoGradGuard no_grad = {};

  static void expect_same(const Sizes& s, const RopeTable& rope, const Tensor& bias) {
    const auto dtype = GetParam();
    LayerCache cache{normal({s.batch, s.kv_heads, s.room, s.d}, 1, dtype),
                     normal({s.batch, s.kv_heads, s.room, s.d}, 2, dtype)};
    // What stands behind the token is not to be read.
    const auto unread = std::numeric_limits<double>::quiet_NaN();
    cache.k.slice(2, s.past).fill_(unread);
    cache.v.slice(2, s.past).fill_(unread);
    const Tensor q = normal({s.batch, 1, s.heads * s.d}, 3, dtype),
                 k = normal({s.batch, 1, s.kv_heads * s.d}, 4, dtype),
                 v = normal({s.batch, 1, s.kv_heads * s.d}, 5, dtype),
                 place = at::full({1}, s.past, at::kLong);
    const Tensor expected = by_operators(s, q, k, v, rope, bias, cache);
    ASSERT_TRUE(has_decode_attention(q, rope, place, bias, &cache));
    const Tensor out = decode_attention(q, k, v, rope, place, bias, cache);
    EXPECT_EQ(out.sizes(), expected.sizes());
    EXPECT_EQ(out.scalar_type(), dtype);
    EXPECT_LE(relative_error(out.to(at::kFloat), expected.to(at::kFloat)), dtype == at::kFloat ? 1e-5 : 1e-2);
    EXPECT_TRUE(cache.k.slice(2, 0, s.past + 1).isfinite().all().item<bool>());
    EXPECT_TRUE(cache.v.select(2, s.past).equal(split_heads(v, s.kv_heads).squeeze(2)));
  }
};

TEST_P(DecodeAttention, HeadsShareKeysInGroupsOfAnySize) {
  for (const std::int64_t group : {1, 3, 4, 7}) {
    for (const std::int64_t d : {4, 10, 64, 100}) {
      const Sizes s{.heads = 2 * group, .d = d};
      expect_same(s, rope_table(at::full({1, 1}, s.past, at::kLong), d, 1e4, GetParam()), {});
    }
  }
}

TEST_P(DecodeAttention, AnEmptyCacheIsTheTokenItself) {
  expect_same({.past = 0}, rope_table(at::full({1, 1}, 0, at::kLong), 10, 1e4, GetParam()), {});
}

TEST_P(DecodeAttention, SomeOrNoneOfAHeadIsRotated) {
  expect_same({}, rope_table(at::full({1, 1}, 5, at::kLong), 6, 1e4, GetParam()), {});
  expect_same({}, {}, {});
}

TEST_P(DecodeAttention, RowsHavePositionsAndPaddingOfTheirOwn) {
  Tensor positions = at::full({2, 1}, 5, at::kLong), bias = at::zeros({2, 1, 1, 9}, at::kFloat);
  positions[0].fill_(3);
  bias[0].slice(-1, 0, 2).fill_(-std::numeric_limits<double>::infinity());
  expect_same({}, rope_table(positions, 10, 1e4, GetParam()), bias);
}

TEST_P(DecodeAttention, HeadsHaveBiasesOfTheirOwn) {
  expect_same({}, {}, normal({1, 6, 1, 9}, 6));
  expect_same({}, {}, normal({2, 6, 1, 9}, 7));
}

// Longer than one thread is worth, so that heads are shared out.
TEST_P(DecodeAttention, LongCachesAreSharedOut) {
  const Sizes s{.batch = 3, .heads = 8, .kv_heads = 4, .d = 64, .past = 700, .room = 702};
  const testing::Threads scope(5);
  expect_same(s, rope_table(at::full({1, 1}, 700, at::kLong), 64, 1e4, GetParam()), {});
}

TEST_P(DecodeAttention, MediaAreAllThere) {
  const Tensor q = normal({2, 1, 6 * 8}, 1, GetParam()), k = normal({2, 6, 11, 8}, 2, GetParam()),
               v = normal({2, 6, 11, 8}, 3, GetParam()), bias = normal({2, 1, 1, 11}, 4);
  ASSERT_TRUE(has_decode_attention_kernel(q, k, v, bias));
  EXPECT_LE(relative_error(decode_attention_over(q, k, v, 11, bias).to(at::kFloat),
                           join_heads(attend(split_heads(q, 6), k, v, bias)).to(at::kFloat)),
            GetParam() == at::kFloat ? 1e-5 : 1e-2);
}

TEST_P(DecodeAttention, LargeScoresDoNotOverflow) {
  const Tensor q = normal({1, 1, 2 * 8}, 1, GetParam()).mul(300), k = normal({1, 2, 11, 8}, 2, GetParam()),
               v = normal({1, 2, 11, 8}, 3, GetParam());
  ASSERT_GT(split_heads(q, 2).to(at::kFloat).matmul(k.to(at::kFloat).transpose(2, 3)).max().item<double>(),
            500);
  const Tensor out = decode_attention_over(q, k, v, 11, {});
  EXPECT_TRUE(out.isfinite().all().item<bool>());
  EXPECT_LE(
      relative_error(out.to(at::kFloat), join_heads(attend(split_heads(q, 2), k, v, {})).to(at::kFloat)),
      GetParam() == at::kFloat ? 1e-4 : 2e-2);
}

TEST_P(DecodeAttention, OtherCasesAreTheOperators) {
  const auto dtype = GetParam();
  LayerCache cache{normal({1, 2, 4, 8}, 1, dtype), normal({1, 2, 4, 8}, 2, dtype)};
  const Tensor x = normal({1, 1, 16}, 3, dtype), place = at::full({1}, 2, at::kLong);
  const auto takes = [&](const Tensor& input, const Tensor& at, const Tensor& bias, const LayerCache* in) {
    return has_decode_attention(input, {}, at, bias, in);
  };
  EXPECT_TRUE(takes(x, place, {}, &cache));
  EXPECT_FALSE(takes(x, {}, {}, &cache));                                     // it grows
  EXPECT_FALSE(takes(x, place, {}, nullptr));                                 // there is none
  EXPECT_FALSE(takes(normal({1, 2, 16}, 3, dtype), place, {}, &cache));       // two tokens
  EXPECT_FALSE(takes(x.to(at::kDouble), place, {}, &cache));                  // dtypes
  EXPECT_FALSE(takes(x, place, at::zeros({1, 1, 1, 4}, at::kBool), &cache));  // a mask that is no bias
  LayerCache turned{cache.k.transpose(2, 3), cache.v.transpose(2, 3)};
  EXPECT_FALSE(takes(x, place, {}, &turned));  // layout
  at::AutoGradMode grad(true);
  EXPECT_FALSE(takes(x, place, {}, &cache));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, DecodeAttention, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& dtype) { return dtype.param == at::kFloat ? "fp32" : "bf16"; });

// Every kernel that was compiled and that this processor runs.
template <class T>
std::vector<detail::WeightedRowsKernel<T>> kernels() {
  std::vector<detail::WeightedRowsKernel<T>> all{&detail::weighted_rows_portable<T>};
#if MORPHVLM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.push_back(&detail::weighted_rows_avx2<T>);
  if (detail::gemv_kernel<T>() == &detail::gemv_avx512<T>) all.push_back(&detail::weighted_rows_avx512<T>);
#endif
  return all;
}

template <class T>
struct WeightedRows : ::testing::Test {};
using Dtypes = ::testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(WeightedRows, Dtypes);

TYPED_TEST(WeightedRows, EveryKernelAgreesWithTheLibrary) {
  const auto dtype = c10::CppTypeToScalarType<TypeParam>::value;
  for (const std::int64_t d : {1, 7, 16, 64, 100}) {
    const Tensor v = normal({13, d}, 1, dtype), p = normal({13}, 2);
    const Tensor expected = p.matmul(v.to(at::kFloat));
    for (const auto kernel : kernels<TypeParam>()) {
      const Tensor out = at::empty({d}, at::kFloat);
      kernel(v.const_data_ptr<TypeParam>(), d, 13, p.const_data_ptr<float>(), out.mutable_data_ptr<float>());
      EXPECT_LE(relative_error(out, expected), 1e-5) << d;
    }
  }
}

}  // namespace
}  // namespace morphvlm::decode_attention_test
