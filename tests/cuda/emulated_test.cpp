// Kernels of our own on the CPU, thread by thread, against LibTorch's operators: their arithmetic, their
// indices and the way they are called, where no card is.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/nn/self_attention.hpp"
#include "morphvlm/nn/silu_times.hpp"
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

TEST_P(EmulatedKernels, GemvProducts) {
  for (const std::int64_t in : {8, 136, 1160}) {  // a part of a warp's stride, one and a bit, four and a bit
    for (const std::int64_t rows : {1, 3}) {
      const Tensor x = normal({rows, 1, in}, 1);
      const std::vector<Tensor> w{normal({13, in}, 2), normal({8, in}, 3), normal({3, in}, 4)},
          b{normal({13}, 5), Tensor{}, normal({3}, 6)};
      for (std::size_t count = 1; count <= w.size(); ++count) {
        const auto first = static_cast<std::ptrdiff_t>(count);
        const auto y = gemv_products_on_cuda(x, std::vector(w.begin(), w.begin() + first),
                                             {b.begin(), b.begin() + first});
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
  const Tensor x = normal({2, 1, 136}, 1), gate = normal({21, 136}, 2).div(4), up = normal({21, 136}, 3);
  const auto expected = [&](const Tensor& rows) {
    return at::silu(at::linear(rows, gate)).mul(at::linear(rows, up));
  };
  EXPECT_LT(error(gemv_swiglu_on_cuda(x, gate, up), expected(x)), 1e-2);
  const RMSNorm norm{normal({136}, 4)};
  EXPECT_LT(error(gemv_swiglu_on_cuda(x, gate, up, normed_by(norm)), expected(norm(x))), 1e-2);
}

// What is before and behind a product, alone and together.
TEST_P(EmulatedKernels, StepsOfProducts) {
  constexpr std::int64_t kIn = 1160;
  const Tensor x = normal({3, 1, kIn}, 1).add(2), w = normal({13, kIn}, 2).div(30), b = normal({13}, 3);
  const auto product = [&](const GemvFusion& steps) {
    return gemv_products_on_cuda(x, std::vector{w}, {b}, steps).front();
  };
  const RMSNorm rms{normal({kIn}, 4), 0.25};
  const LayerNorm layer{normal({kIn}, 5), normal({kIn}, 6), 0.25}, bare{normal({kIn}, 5), {}, 0.25};
  EXPECT_LT(error(product(normed_by(rms)), at::linear(rms(x), w, b)), 1e-2);
  EXPECT_LT(error(product(normed_by(layer)), at::linear(layer(x), w, b)), 1e-2);
  EXPECT_LT(error(product(normed_by(bare)), at::linear(bare(x), w, b)), 1e-2);
  const Tensor y = at::linear(x, w, b), onto = normal({3, 1, 13}, 7),
               gate = at::full({1}, 0.5, at::kBFloat16);
  EXPECT_LT(error(product({.gelu = true}), at::gelu(y)), 1e-2);
  EXPECT_LT(error(product({.onto = onto}), onto.add(y)), 1e-2);
  EXPECT_LT(error(product({.gate = gate, .onto = onto}), onto.add(y.mul(at::tanh(gate)))), 1e-2);
  GemvFusion all = normed_by(layer);
  all.gelu = true;
  all.gate = gate;
  all.onto = onto;
  EXPECT_LT(error(product(all), onto.add(at::gelu(at::linear(layer(x), w, b)).mul(at::tanh(gate)))), 1e-2);
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
  for (const std::int64_t in : {64, 192, 2560}) {  // a part of a warp's stride, one and a bit, more than two
    const std::vector<NF4::Packed> w{NF4::pack(normal({21, in}, 5, at::kFloat)),
                                     NF4::pack(normal({8, in}, 6, at::kFloat)),
                                     NF4::pack(normal({3, in}, 7, at::kFloat))};
    const std::vector<Tensor> b{normal({21}, 8), Tensor{}, normal({3}, 9)};
    for (const std::int64_t rows : {1, 4}) {
      const Tensor x = normal({rows, 1, in}, 10);
      const auto y = gemv_products_on_cuda(x, w, b);
      for (std::size_t i = 0; i < w.size(); ++i) {
        Tensor exact = at::linear(x.to(at::kDouble), NF4::unpack(w[i], at::kFloat).to(at::kDouble));
        if (b[i].defined()) exact = exact.add(b[i]);
        EXPECT_LT(error(y[i], exact), 4e-3) << in << ' ' << rows << ' ' << i;
      }
    }
  }
}

TEST_P(EmulatedKernels, StepsOfNf4Products) {
  constexpr std::int64_t kIn = 1216, kOut = 13;
  const auto packed = NF4::pack(normal({kOut, kIn}, 2, at::kFloat).div(30)),
             other = NF4::pack(normal({kOut, kIn}, 3, at::kFloat).div(30));
  const Tensor w = NF4::unpack(packed, at::kFloat), u = NF4::unpack(other, at::kFloat);
  const Tensor x = normal({3, 1, kIn}, 1).add(2), onto = normal({3, 1, kOut}, 7),
               gate = at::full({1}, 0.5, at::kBFloat16);
  const LayerNorm norm{normal({kIn}, 5), normal({kIn}, 6), 0.25};
  const Tensor rows = norm(x).to(at::kFloat), y = at::linear(rows, w);
  GemvFusion steps = normed_by(norm);
  EXPECT_LT(error(gemv_swiglu_on_cuda(x, packed, other, steps), at::silu(y).mul(at::linear(rows, u))), 1e-2);
  steps.gelu = true;
  steps.gate = gate;
  steps.onto = onto;
  EXPECT_LT(error(gemv_products_on_cuda(x, std::vector{packed}, {Tensor{}}, steps).front(),
                  onto.add(at::gelu(y).mul(at::tanh(gate)))),
            1e-2);
}

TEST_P(EmulatedKernels, TurnedHeads) {
  constexpr std::int64_t kBatch = 2, kTime = 5, kHeads = 3;
  for (const std::int64_t dim : {8, 12, 20}) {
    const auto width = (dim + 7) / 8 * 8;
    for (const std::int64_t tables : {std::int64_t{1}, kBatch}) {
      const Tensor positions = at::arange(tables * kTime, at::kLong).view({tables, kTime});
      const RopeTable rope = rope_table(positions, dim, 10, at::kBFloat16);
      const RopeTable exact_rope{rope.cos.to(at::kDouble), rope.sin.to(at::kDouble)};
      Tensor x = normal({kBatch, kTime, kHeads, dim}, 1), exact = x.to(at::kDouble).requires_grad_();
      const Tensor expected = apply_rope(exact.transpose(1, 2), exact_rope).transpose(1, 2);
      const Tensor y = detail::turn_heads(x, rope.cos, rope.sin, dim, width, false);
      EXPECT_LT(error(y.slice(-1, 0, dim), expected.detach()), 4e-3) << dim << ' ' << tables;
      EXPECT_TRUE(y.slice(-1, dim).eq(0).all().item<bool>());
      const Tensor grad = normal({kBatch, kTime, kHeads, width}, 2);
      const auto of_x = torch::autograd::grad({expected}, {exact}, {grad.slice(-1, 0, dim).to(at::kDouble)});
      EXPECT_LT(error(detail::turn_heads(grad, rope.cos, rope.sin, dim, dim, true), of_x[0]), 4e-3);
    }
    const Tensor x = normal({kBatch, kTime, kHeads, dim}, 1);
    const Tensor there = detail::turn_heads(x, {}, {}, dim, width, false);
    EXPECT_TRUE(detail::turn_heads(there, {}, {}, dim, dim, true).equal(x)) << dim;
  }
}

TEST_P(EmulatedKernels, SiluTimes) {
  const Tensor gate = normal({3, 680}, 1).mul(3), up = normal({3, 680}, 2), grad = normal({3, 680}, 3);
  const Tensor g = gate.to(at::kDouble).requires_grad_(), u = up.to(at::kDouble).requires_grad_();
  const Tensor expected = at::silu(g).mul(u);
  EXPECT_LT(error(detail::silu_times_on_cuda(gate, up), expected.detach()), 4e-3);
  const auto grads = torch::autograd::grad({expected}, {g, u}, {grad.to(at::kDouble)});
  const auto ours = detail::silu_times_backward_on_cuda(gate, up, grad, true, true);
  for (const std::size_t i : {0, 1}) EXPECT_LT(error(ours[i], grads[i]), 4e-3) << i;
  const auto one = detail::silu_times_backward_on_cuda(gate, up, grad, false, true);
  EXPECT_FALSE(one[0].defined());
  EXPECT_TRUE(one[1].equal(ours[1]));
}

// One token behind a cache of fixed length, by the kernel and by the operators it stands for.
void expect_attention(std::int64_t head_dim, std::int64_t kv_heads, std::int64_t place, bool with_mask) {
  constexpr std::int64_t kBatch = 2, kHeads = 2, kLength = 45;
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
  const Tensor positions = at::tensor({3, 9}, at::kLong).unsqueeze(1);  // each row its own
  const RopeTable rope = rope_table(positions, head_dim, 1e4, at::kBFloat16);
  LayerCache ours{read.k.clone(), read.v.clone()};
  const Tensor y = decode_attention_on_cuda(q, k, v, rope, at_place, mask, ours);

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
    for (const std::int64_t kv_heads : {2, 1}) {
      for (const std::int64_t place : {0, 42}) {
        for (const bool with_mask : {false, true}) expect_attention(head_dim, kv_heads, place, with_mask);
      }
    }
  }
}

}  // namespace
}  // namespace morphvlm
