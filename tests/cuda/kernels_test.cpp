// Kernels of our own against LibTorch's operators, in higher precision or to the last bit.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/kernels/cuda/async_flag.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/nn/self_attention.hpp"
#include "tests/support/cuda.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm {
namespace {

using testing::kCuda;
using testing::message_of;
using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType dtype = at::kBFloat16) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed)).to(kCuda, dtype);
}

double error(const Tensor& ours, const Tensor& exact) {
  return relative_error(ours.to(at::kCPU, at::kDouble), exact.to(at::kCPU, at::kDouble));
}

// Needs the compiler alone, not a card.
struct CudaCompiler : ::testing::Test {
  void SetUp() override {
    try {
      detail::cuda_compiler();
    } catch (const Error& e) {
      GTEST_SKIP() << e.what();
    }
  }
};

TEST_F(CudaCompiler, MakesEveryKernelForEveryCard) {
  for (const std::string card : {"sm_80", "sm_90"}) {
    for (std::int64_t rows = 1; rows <= kMaxCudaRows; ++rows) {
      for (const auto* kernels : {&detail::gemv_cuda_kernels(detail::CudaPlainRows{}),
                                  &detail::gemv_cuda_kernels(detail::CudaNf4Rows{})}) {
        EXPECT_FALSE(kernels->products(rows).compile(card).empty());
        EXPECT_FALSE(kernels->swiglu(rows).compile(card).empty());
      }
    }
    for (const bool wide : {false, true}) EXPECT_FALSE(detail::nf4_unpack_kernel(wide).compile(card).empty());
    EXPECT_FALSE(detail::decode_attention_kernel().compile(card).empty());
  }
}

TEST_F(CudaCompiler, SaysWhatIsWrong) {
  const CudaKernel wrong("wrong", "extern \"C\" __global__ void wrong() { nothing; }");
  EXPECT_THAT(message_of([&] { wrong.compile("sm_90"); }),
              ::testing::AllOf(::testing::HasSubstr("CUDA kernel wrong does not compile for sm_90"),
                               ::testing::HasSubstr("nothing")));
}

struct CudaKernels : testing::OnCuda {};

TEST_F(CudaKernels, GemvProducts) {
  for (const std::int64_t in : {8, 136, 3200}) {
    for (std::int64_t rows = 1; rows <= kMaxCudaRows; ++rows) {
      const Tensor x = normal({rows, 1, in}, 1);
      const std::vector<Tensor> w{normal({37, in}, 2), normal({8, in}, 3), normal({203, in}, 4)},
          b{normal({37}, 5), Tensor{}, normal({203}, 6)};
      ASSERT_TRUE(is_gemv_on_cuda(x, w[0]));
      const auto y = gemv_products_on_cuda(x, w, b);
      for (std::size_t i = 0; i < w.size(); ++i) {
        Tensor exact = at::linear(x.to(at::kDouble), w[i].to(at::kDouble));
        if (b[i].defined()) exact = exact.add(b[i]);
        EXPECT_LT(error(y[i], exact), 4e-3) << in << ' ' << rows << ' ' << i;
        EXPECT_LT(error(gemv_products_on_cuda(x, std::vector{w[i]}, {b[i]}).front(), exact), 4e-3);
      }
      const Tensor gate = at::linear(x, w[2]), up = at::linear(x, w[2].neg());
      EXPECT_LT(error(gemv_swiglu_on_cuda(x, w[2], w[2].neg()), at::silu(gate).mul(up)), 1e-2);
    }
  }
}

TEST_F(CudaKernels, WhatTheyCannotTakeGoesElsewhere) {
  EXPECT_FALSE(is_gemv_on_cuda(normal({5, 8}, 1), normal({3, 8}, 2)));                   // rows
  EXPECT_FALSE(is_gemv_on_cuda(normal({1, 12}, 1), normal({3, 12}, 2)));                 // vectors
  EXPECT_FALSE(is_gemv_on_cuda(normal({1, 8}, 1), normal({8, 3}, 2).t()));               // layout
  EXPECT_FALSE(is_gemv_on_cuda(normal({1, 8}, 1, at::kFloat), normal({3, 8}, 2)));       // dtype
  EXPECT_FALSE(is_gemv_on_cuda(normal({1, 16}, 1).slice(1, 4, 12), normal({3, 8}, 2)));  // alignment
  const testing::WithoutOwnKernels guard;
  EXPECT_FALSE(is_gemv_on_cuda(normal({1, 8}, 1), normal({3, 8}, 2)));
}

TEST_F(CudaKernels, Nf4IsTheCpusToTheLastBit) {
  for (const auto& [out, in] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{37, 256}, {3, 22}, {300, 640}}) {
    const Tensor weight = at::empty({out, in}, at::kFloat).normal_(0, 1, make_generator(7));
    const auto p = NF4::pack(weight);
    const auto q = testing::on_cuda(p);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const Tensor expected = NF4::unpack(p, dtype);
      EXPECT_TRUE(NF4::unpack(q, dtype).cpu().equal(expected)) << out << ' ' << in << ' ' << dtype;
      const testing::WithoutOwnKernels guard;
      EXPECT_TRUE(NF4::unpack(q, dtype).cpu().equal(expected)) << out << ' ' << in << ' ' << dtype;
    }
    // Quantised on the card: the same codes, but where its sums round a mean to a neighbour.
    EXPECT_LT(error(NF4::unpack(NF4::pack(weight.to(kCuda)), at::kFloat), NF4::unpack(p, at::kFloat)), 1e-3);
  }
}

TEST_F(CudaKernels, Nf4Products) {
  for (const std::int64_t in : {64, 192, 3200}) {
    const auto p =
        testing::on_cuda(NF4::pack(at::empty({51, in}, at::kFloat).normal_(0, 1, make_generator(5))));
    for (std::int64_t rows = 1; rows <= kMaxCudaRows; ++rows) {
      const Tensor x = normal({rows, 1, in}, 6);
      const Tensor exact = at::linear(x.to(at::kDouble), NF4::unpack(p, at::kFloat).to(at::kDouble));
      EXPECT_LT(error(detail::packed_product<NF4>(x, p), exact), 4e-3) << in << ' ' << rows;
      ASSERT_TRUE(takes_gemv(x, p));
      const RMSNorm norm{normal({in}, 7)};
      const Tensor gate = at::linear(norm(x), NF4::unpack(p, at::kBFloat16));
      EXPECT_LT(error(gemv_swiglu(x, p, p, normed_by(norm)), at::silu(gate).mul(gate)), 1e-2);
    }
  }
}

// The same step of a layer with the kernel and without.
void expect_same_attention(std::int64_t batch, std::int64_t head_dim, std::int64_t kv_heads, bool with_mask) {
  constexpr std::int64_t kDim = 64, kHeads = 4, kLength = 19, kPlace = 13;
  const auto layer =
      SelfAttention<>::init({.dim = kDim, .heads = kHeads, .kv_heads = kv_heads, .head_dim = head_dim},
                            {at::TensorOptions(at::kBFloat16).device(kCuda), make_generator(1, kCuda)});
  const Tensor x = normal({batch, 1, kDim}, 2);
  const auto read = [&](const Tensor& k, const Tensor& v) {
    at::NoGradGuard no_grad;
    KvCache cache{.layers = {{k.clone(), v.clone()}}, .place = at::tensor({kPlace}, at::kLong).to(kCuda)};
    Tensor mask;
    if (with_mask) {
      mask = at::ones({batch, kLength}, at::kLong);
      for (std::int64_t row = 0; row < batch; ++row) mask[row].slice(0, 0, row).zero_();
      mask = mask.to(kCuda);
    }
    DecoderContext context = decoder_context(at::zeros({batch, 1}, at::kLong).to(kCuda), mask, &cache);
    context.mask = score_bias(context.mask, x);
    context.rope = rope_table(context.positions, head_dim, 1e4, at::kBFloat16);
    const Tensor y = layer(x, context, &cache.layers[0]);
    return std::vector<Tensor>{y, cache.layers[0].k, cache.layers[0].v};
  };
  const Tensor k = normal({batch, kv_heads, kLength, head_dim}, 3),
               v = normal({batch, kv_heads, kLength, head_dim}, 4);
  const auto ours = read(k, v);
  const testing::WithoutOwnKernels guard;
  const auto theirs = read(k, v);
  for (std::size_t i = 0; i < ours.size(); ++i)
    EXPECT_LT(error(ours[i], theirs[i]), 1e-2) << batch << ' ' << head_dim << ' ' << kv_heads << ' ' << i;
}

TEST_F(CudaKernels, AttentionOfOneToken) {
  for (const std::int64_t head_dim : {64, 100, 128}) {
    for (const std::int64_t kv_heads : {4, 2}) {
      for (const bool with_mask : {false, true}) expect_same_attention(3, head_dim, kv_heads, with_mask);
    }
  }
}

TEST_F(CudaKernels, AFlagIsACallLate) {
  AsyncFlag flag;
  const auto on_card = [](bool value) { return at::full({}, value, at::kBool).to(kCuda); };
  EXPECT_FALSE(flag.exchange(on_card(true)));
  EXPECT_TRUE(flag.exchange(on_card(false)));
  EXPECT_FALSE(flag.exchange(on_card(true)));
}

}  // namespace
}  // namespace morphvlm
