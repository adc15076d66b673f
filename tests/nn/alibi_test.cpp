// Attention with linear biases: slopes, distances, and that 16-bit scores keep them.
#include "morphvlm/nn/alibi.hpp"

#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::alibi_test {
namespace {

const at::Device kCpu{at::kCPU};
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Alibi, SlopesOfAPowerOfTwo) {
  EXPECT_TRUE(alibi_slopes(4, 8, kCpu).equal(at::tensor({0.25F, 0.0625F, 0.015625F, 0.00390625F})));
  const Tensor sixteen = alibi_slopes(16, 8, kCpu);  // MPT-1B
  EXPECT_FLOAT_EQ(sixteen[0].item<float>(), 0.70710677F);
  EXPECT_EQ(sixteen[15].item<float>(), 0.00390625F);
}

// Six of eight: 2^-2, 2^-4, 2^-6, 2^-8 and then 2^-1, 2^-3.
TEST(Alibi, SlopesBetweenPowersOfTwo) {
  EXPECT_TRUE(
      alibi_slopes(6, 8, kCpu).equal(at::tensor({0.25F, 0.0625F, 0.015625F, 0.00390625F, 0.5F, 0.125F})));
}

TEST(Alibi, MaskAddsDistancesWhereAttentionIsAllowed) {
  const Tensor slopes = at::tensor({1.0F, 0.5F});
  const Tensor padding = at::tensor({0, 1, 1, 1}).unsqueeze(0);
  const Tensor mask = alibi_mask(causal_mask(1, 3, padding, kCpu), 3, 4, slopes);
  ASSERT_EQ(mask.sizes(), (std::vector<std::int64_t>{1, 2, 3, 4}));
  const Tensor first =
      at::tensor({-kInf, 0.0F, -kInf, -kInf, -kInf, -1.0F, 0.0F, -kInf, -kInf, -2.0F, -1.0F, 0.0F})
          .view({3, 4});
  EXPECT_TRUE(mask[0][0].equal(first)) << mask[0][0];
  EXPECT_TRUE(mask[0][1].equal(first.mul(0.5))) << mask[0][1];
}

TEST(Alibi, OneNewTokenWithoutMask) {
  const Tensor mask = alibi_mask({}, 1, 4, at::tensor({0.5F}));
  EXPECT_TRUE(mask.equal(at::tensor({-1.5F, -1.0F, -0.5F, 0.0F}).view({1, 1, 1, 4}))) << mask;
}

// What `attend` adds to bf16 scores where it does not widen them. MPT-1B's heads over a full context.
TEST(Alibi, LongTextsKeepTheirBiasesInBf16) {
  constexpr std::int64_t time = 2048;
  const Tensor mask = alibi_mask(causal_mask(0, time, {}, kCpu), time, time, alibi_slopes(16, 8, kCpu));
  for (const std::int64_t query : {100, 1000, 2047}) {
    const Tensor row = mask.select(2, query);
    EXPECT_CLOSE(row.to(at::kBFloat16).to(at::kFloat).softmax(-1), row.softmax(-1), 1e-2) << query;
  }
}

TEST(Alibi, AttendTakesTheMaskInTheDtypeOfItsQueries) {
  const Tensor q = testing::formula_input("q", {2, 4, 3, 8}), k = testing::formula_input("k", {2, 4, 5, 8}),
               v = testing::formula_input("v", {2, 4, 5, 8});
  const Tensor mask = alibi_mask(causal_mask(2, 3, {}, kCpu), 3, 5, alibi_slopes(4, 8, kCpu));
  const Tensor expected = q.matmul(k.transpose(-1, -2)).div(std::sqrt(8.0)).add(mask).softmax(-1).matmul(v);
  EXPECT_CLOSE(attend(q, k, v, mask), expected, 1e-6);
  const auto wide = attend(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), mask);
  EXPECT_EQ(wide.scalar_type(), at::kDouble);
  EXPECT_CLOSE(wide, expected, 1e-6);
  const auto narrow = attend(q.to(at::kBFloat16), k.to(at::kBFloat16), v.to(at::kBFloat16), mask);
  EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(narrow, expected, 1e-2);
}

}  // namespace
}  // namespace morphvlm::alibi_test
