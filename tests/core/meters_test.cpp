// Memory and operations are counted where they happen and alike on the meta device.
#include <ATen/ops/bmm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "morphvlm/kernels/gemv_product.hpp"
#include "morphvlm/quant/quantized.hpp"

namespace morphvlm::meters_test {
namespace {

template <class F>
MemoryUse used(c10::DeviceType device, F&& f) {
  MemoryMeter meter(device);
  f(TensorOptions(at::kFloat).device(device));
  return meter.use();
}

TEST(MemoryMeter, CountsWhatLivesAndThePeak) {
  for (const auto device : {c10::kCPU, c10::kMeta}) {
    Tensor kept;
    const auto use = used(device, [&](const TensorOptions& o) {
      kept = at::empty({100}, o);
      const Tensor gone = at::empty({50}, o);
    });
    EXPECT_EQ(use.live, 400) << device;
    EXPECT_EQ(use.peak, 600) << device;
    EXPECT_EQ(use.count, 2) << device;
    EXPECT_EQ(use.large, 0) << device;
  }
}

TEST(MemoryMeter, ViewsAreFreeAndLargeBlocksCounted) {
  const auto use = used(c10::kMeta, [](const TensorOptions& o) {
    const Tensor t = at::empty({kLargeBlock / 4}, o);
    const Tensor view = t.view({2, -1}).slice(0, 1);
  });
  EXPECT_EQ(use.peak, kLargeBlock);
  EXPECT_EQ(use.large, 1);
  EXPECT_EQ(use.live, 0);
}

TEST(MemoryMeter, NestsAndOutlivedBlocksAreSafe) {
  Tensor survivor;
  MemoryMeter outer(c10::kMeta);
  {
    MemoryMeter inner(c10::kMeta);
    survivor = at::empty({10}, TensorOptions(at::kFloat).device(at::kMeta));
    EXPECT_EQ(inner.use().live, 40);
  }
  EXPECT_EQ(outer.use().live, 0);
  survivor.reset();
  EXPECT_EQ(outer.use().live, 0);
}

TEST(MemoryMeter, RestartsThePeak) {
  MemoryMeter meter(c10::kCPU);
  const Tensor kept = at::empty({100}, at::kFloat);
  { const Tensor t = at::empty({1000}, at::kFloat); }
  EXPECT_EQ(meter.use().peak, 4400);
  meter.restart_peak();
  EXPECT_EQ(meter.use().peak, 400) << "what is alive counts";
  const Tensor t = at::empty({10}, at::kFloat);
  EXPECT_EQ(meter.use().peak, 440);
}

TEST(FlopMeter, CountsProductsForwardAndBackward) {
  for (const auto device : {c10::kCPU, c10::kMeta}) {
    const auto o = TensorOptions(at::kFloat).device(device);
    const Tensor w = at::zeros({5, 7}, o).set_requires_grad(true),
                 x = at::zeros({3, 7}, o).set_requires_grad(true);
    FlopMeter meter;
    const Tensor y = at::linear(x, w);
    EXPECT_EQ(meter.flops(), 2 * 3 * 5 * 7) << device;
    backward(y.sum());
    EXPECT_EQ(meter.flops(), 3 * 2 * 3 * 5 * 7) << device;
  }
}

TEST(FlopMeter, CountsKernelsOfOurOwn) {
  FlopMeter meter;
  gemv_products(at::ones({3, 70}), {at::ones({5, 70})}, {Tensor{}});
  EXPECT_EQ(meter.flops(), 2 * 3 * 70 * 5);
  gemv_products(at::ones({2, 64}), {NF4::pack(at::ones({7, 64}))}, {Tensor{}});
  EXPECT_EQ(meter.flops(), 2 * 3 * 70 * 5 + 2 * 2 * 64 * 7);
}

TEST(FlopMeter, CountsBatchesAndConvolutionsButNotElementwiseWork) {
  FlopMeter meter;
  const Tensor a = at::ones({2, 3, 4}), b = at::ones({2, 4, 5});
  at::bmm(a, b).add(1).exp();
  EXPECT_EQ(meter.flops(), 2 * 2 * 3 * 4 * 5);
  at::conv2d(at::ones({1, 3, 8, 8}), at::ones({6, 3, 2, 2}), {}, 2);
  EXPECT_EQ(meter.flops(), 2 * 2 * 3 * 4 * 5 + 2 * 16 * 6 * 3 * 4);
}

// Places of the weight counted by hand: a side of 8 with a border of 1 and a weight that reaches over 5.
TEST(FlopMeter, ConvolutionsAreCountedWithBordersAndGapsForwardAndBackward) {
  constexpr double kProducts = 2.0 * (2 * 6 * 6) * 5 * (3 * 3 * 3);
  for (const bool of_weight : {false, true}) {
    const Tensor x = at::ones({2, 3, 8, 8}).set_requires_grad(true),
                 w = at::ones({5, 3, 3, 3}).set_requires_grad(of_weight);
    FlopMeter meter;
    const Tensor y = at::conv2d(x, w, {}, 1, 1, 2);
    EXPECT_EQ(y.size(2), 6);
    EXPECT_EQ(meter.flops(), kProducts);
    backward(y.sum());
    EXPECT_EQ(meter.flops(), (of_weight ? 3 : 2) * kProducts);
  }
}

// Scores and weighted sum are a product each; backwards the scores once more, and two products for each of
// those.
TEST(FlopMeter, AttentionIsTwoProductsForwardAndFiveBackward) {
  constexpr double kProduct = 2.0 * (2 * 3 * 7) * 11 * 8;
  const Tensor q = at::ones({2, 3, 7, 8}).set_requires_grad(true), k = at::ones({2, 3, 11, 8}),
               v = at::ones({2, 3, 11, 8});
  FlopMeter meter;
  const Tensor y = at::scaled_dot_product_attention(q, k, v);
  EXPECT_EQ(meter.flops(), 2 * kProduct);
  backward(y.sum());
  EXPECT_EQ(meter.flops(), 7 * kProduct);
}

}  // namespace
}  // namespace morphvlm::meters_test
