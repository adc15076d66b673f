// Kernels of our own on the CPU, thread by thread, against LibTorch's operators: their arithmetic, their
// indices and the way they are called, where no card is.
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/nn/self_attention.hpp"
#include "tests/cuda/emulated.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType dtype = at::kBFloat16) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed)).to(dtype);
}

double error(const Tensor& ours, const Tensor& exact) {
  return relative_error(ours.to(at::kDouble), exact.to(at::kDouble));
}

// Both orders of the threads.
struct EmulatedKernels : ::testing::TestWithParam<bool> {
  const testing::EmulatedCuda cuda{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Orders, EmulatedKernels, ::testing::Bool());

TEST_P(EmulatedKernels, ProductsOfFewRows) {
  for (const std::int64_t in : {8, 136, 1160}) {  // a part of a warp's stride, one and a bit, four and a bit
    for (const std::int64_t rows : {1, 3}) {
      const Tensor x = normal({rows, 1, in}, 1);
      const std::vector<Tensor> w{normal({13, in}, 2), normal({8, in}, 3), normal({3, in}, 4)},
          b{normal({13}, 5), Tensor{}, normal({3}, 6)};
      for (std::size_t count = 1; count <= w.size(); ++count) {
        const auto first = static_cast<std::ptrdiff_t>(count);
        const auto y =
            few_rows_products_on_cuda(x, {w.begin(), w.begin() + first}, {b.begin(), b.begin() + first});
        ASSERT_EQ(y.size(), count);
        for (std::size_t i = 0; i < count; ++i) {
          Tensor exact = at::linear(x.to(at::kDouble), w[i].to(at::kDouble));
          if (b[i].defined()) exact = exact.add(b[i]);
          EXPECT_LT(error(y[i], exact), 4e-3) << in << ' ' << rows << ' ' << i;
        }
      }
    }
  }
}

TEST_P(EmulatedKernels, SwiGlu) {
  const Tensor x = normal({2, 1, 136}, 1).div(4), gate = normal({21, 136}, 2), up = normal({21, 136}, 3);
  const Tensor expected = at::silu(at::linear(x, gate)).mul(at::linear(x, up));
  EXPECT_LT(error(few_rows_swiglu_on_cuda(x, gate, up), expected), 1e-2);
}

TEST_P(EmulatedKernels, Nf4IsUnpackedToTheLastBit) {
  for (const auto& [out, in] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{3, 22}, {37, 256}, {70, 320}}) {
    const auto p = NF4::pack(normal({out, in}, 7, at::kFloat));
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const Tensor ours = detail::nf4_unpack_on_cuda(p, detail::shared_dynamic_levels(), dtype);
      EXPECT_TRUE(ours.equal(NF4::unpack(p, dtype))) << out << ' ' << in << ' ' << dtype;
    }
  }
}

TEST_P(EmulatedKernels, Nf4Products) {
  for (const std::int64_t in : {64, 192, 1280}) {
    const auto p = NF4::pack(normal({21, in}, 5, at::kFloat));
    for (const std::int64_t rows : {1, 4}) {
      const Tensor x = normal({rows, 1, in}, 6);
      const Tensor exact = at::linear(x.to(at::kDouble), NF4::unpack(p, at::kFloat).to(at::kDouble));
      EXPECT_LT(error(detail::nf4_product_on_cuda(x, p, detail::shared_dynamic_levels()), exact), 4e-3)
          << in << ' ' << rows;
    }
  }
}

// One token behind a cache of fixed length, by the kernel and by the operators it stands for.
void expect_attention(std::int64_t head_dim, std::int64_t kv_heads, std::int64_t place, bool with_mask) {
  constexpr std::int64_t kBatch = 3, kHeads = 4, kLength = 19;
  const Tensor q = normal({kBatch, 1, kHeads * head_dim}, 1), k = normal({kBatch, 1, kv_heads * head_dim}, 2),
               v = normal({kBatch, 1, kv_heads * head_dim}, 3);
  const LayerCache read{normal({kBatch, kv_heads, kLength, head_dim}, 4),
                        normal({kBatch, kv_heads, kLength, head_dim}, 5)};
  const Tensor at_place = at::tensor({place}, at::kLong);
  Tensor mask;
  if (with_mask) {
    mask = at::zeros({kBatch, 1, 1, kLength}, at::kBFloat16);
    for (std::int64_t row = 0; row < kBatch; ++row)
      mask[row].slice(-1, 0, std::min(row, place)).fill_(-std::numeric_limits<float>::infinity());
  }
  const Tensor positions = at::tensor({3, 5, 9}, at::kLong).unsqueeze(1);  // each row its own
  const RopeTable rope = rope_table(positions, head_dim, 1e4, at::kBFloat16);
  LayerCache ours{read.k.clone(), read.v.clone()};
  const Tensor y = decode_attention(q, k, v, rope, at_place, mask, ours);

  LayerCache theirs{read.k.clone(), read.v.clone()};
  theirs.append(apply_rope(split_heads(k, kv_heads), rope), split_heads(v, kv_heads), at_place);
  const auto seen = [&](const Tensor& t) { return t.slice(2, 0, place + 1).to(at::kDouble); };
  const Tensor bias = mask.defined() ? mask.slice(-1, 0, place + 1).to(at::kDouble) : mask;
  const Tensor expected = join_heads(
      attend(apply_rope(split_heads(q, kHeads), rope).to(at::kDouble), seen(theirs.k), seen(theirs.v), bias));
  EXPECT_TRUE(ours.k.equal(theirs.k));
  EXPECT_TRUE(ours.v.equal(theirs.v));
  EXPECT_LT(error(y, expected), 4e-3) << head_dim << ' ' << kv_heads << ' ' << place << ' ' << with_mask;
}

TEST_P(EmulatedKernels, AttentionOfOneToken) {
  for (const std::int64_t head_dim : {64, 100, 128}) {
    for (const std::int64_t kv_heads : {4, 2}) {
      for (const std::int64_t place : {0, 13, 18}) {
        for (const bool with_mask : {false, true}) expect_attention(head_dim, kv_heads, place, with_mask);
      }
    }
  }
}

}  // namespace
}  // namespace morphvlm
