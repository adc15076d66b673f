// Projections and whole models on quantised weights.
#include "morphvlm/nn/quantized_linear.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::quantized_linear_test {
namespace {

using testing::relative_error;
using testing::TinyVlm;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

template <class F>
struct QuantizedLinear : ::testing::Test {};
using Formats = ::testing::Types<NF4, Int8>;
TYPED_TEST_SUITE(QuantizedLinear, Formats);

TYPED_TEST(QuantizedLinear, IsALinearOfWhatItsWeightStandsFor) {
  using Adapter = LowRank;
  auto q = Linear<Over<TypeParam, Adapter>>::init(24, 10, true, {at::kFloat, make_generator(1)},
                                                  LoRAConfig{.rank = 3});
  q.adapter.lora_B.normal_(0, 1, make_generator(2));
  Linear<Adapter> plain{
      .weight = TypeParam::unpack(q.weight, at::kFloat), .bias = q.bias, .adapter = q.adapter};
  Tensor x = normal({2, 5, 24}, 3).set_requires_grad(true);
  q.adapter.lora_A.set_requires_grad(true);
  const std::vector<Tensor> inputs{x, q.adapter.lora_A};
  const Tensor dy = normal({2, 5, 10}, 4), ours = q(x), theirs = plain(x);
  EXPECT_LE(relative_error(ours.detach(), theirs.detach()), 1e-6);
  const auto a = gradients(ours, inputs, dy), b = gradients(theirs, inputs, dy);
  for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_LE(relative_error(a[i], b[i]), 1e-5);
  at::NoGradGuard no_grad;
  EXPECT_TRUE(q(x).equal(ours.detach()));
}

// Every kernel that was compiled and that this processor runs.
std::vector<detail::Nf4Kernel> nf4_kernels() {
  std::vector<detail::Nf4Kernel> all{detail::kNf4Portable};
#if MORPHVLM_HAS_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(detail::kNf4Avx2);
  if (__builtin_cpu_supports("avx512f")) all.push_back(detail::kNf4Avx512);
#endif
  return all;
}

TEST(Nf4Product, EveryKernelAgreesWithTheUnpackedWeight) {
  const auto kernels = nf4_kernels();
  for (const std::int64_t in : {64, 192, 256}) {   // chunks of 128: none whole, one and a half, two
    for (const std::int64_t out : {1, 37, 131}) {  // more than a thread keeps the sums of
      const auto p = NF4::pack(normal({out, in}, 5));
      for (std::int64_t rows = 1; rows <= kMaxGemvRows; ++rows) {
        const Tensor x = normal({rows, 1, in}, 6);
        ASSERT_TRUE(takes_gemv(x, p));
        const Tensor expected = at::linear(x, NF4::unpack(p, at::kFloat));
        for (const auto& kernel : kernels) {
          auto weight = detail::rows_of<float>(p);
          weight.kernel = kernel;
          const auto y = detail::gemv_products_of<float>(x, std::vector{weight}, {Tensor{}}, {});
          EXPECT_LE(relative_error(y.front(), expected), 1e-5) << rows;
        }
        const Tensor y = gemv_products(x.to(at::kBFloat16), {p}, {Tensor{}}).front();
        EXPECT_LE(relative_error(y.to(at::kFloat), expected), 1e-2);
      }
    }
  }
}

TEST(Nf4Product, LeavesTheRestToTheUnpackedWeight) {
  const auto p = NF4::pack(normal({4, 128}, 5));
  EXPECT_FALSE(takes_gemv(normal({detail::kRowsAtOnce + 1, 128}, 1), p));
  EXPECT_FALSE(takes_gemv(normal({1, 96}, 1), NF4::pack(normal({4, 96}, 5))));
}

TYPED_TEST(QuantizedLinear, KeepsNoWideWeight) {
  const auto q = Linear<Over<TypeParam, NoWeights>>::init(1024, 512, false, {at::kFloat, make_generator(1)});
  const Tensor x = normal({7, 1024}, 3).set_requires_grad(true);
  MemoryMeter meter(c10::kCPU);
  const Tensor y = q(x);
  EXPECT_GT(meter.use().peak, 512 * 1024 * 4);
  EXPECT_LT(meter.use().live, 20000);
}

// What two models make of the same batch, with gradients of adapters.
template <class Model>
std::pair<Tensor, StateDict> run(Model& model) {
  set_trainable_parts(model, {});
  const Tensor ids = at::tensor({3L, testing::kTinyMedia, 5L, 6L}, at::kLong).view({1, 4});
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 1)));
  const Tensor hidden = model.hidden({.ids = ids}, latents);
  backward(hidden.pow(2).sum());
  StateDict gradients;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.grad().defined()) gradients.emplace_back(name, t.grad());
  });
  return {hidden.detach(), gradients};
}

TYPED_TEST(QuantizedLinear, AWholeModelTrainsOnTopOfIt) {
  using Plain4 = TinyVlm<LoRA<Attn>>;
  using Model = TinyVlm<Quantized<TypeParam, LoRA<Attn>>>;
  const auto config = testing::tiny_config<Plain4>();
  auto plain = testing::tiny_model<Plain4>(7, config);
  testing::wake_adapters(plain, 3);
  auto model = quantized<Model>(plain);
  // The plain model with the weights that the quantised one stands for.
  std::size_t projections = 0;
  visit_modules(model, [&](const std::string& name, const auto& node) {
    if constexpr (detail::PackedProjection<std::remove_cvref_t<decltype(node)>>) {
      ++projections;
      visit(plain, [&](const std::string& key, Tensor& t) {
        if (key == name + ".weight") t = TypeParam::unpack(node.weight, at::kFloat);
      });
    }
  });
  EXPECT_EQ(projections, 4U * 7 + 2 * 5);
  const auto [ours, our_gradients] = run(model);
  visit(plain, [](const std::string&, Tensor& t) { t.mutable_grad().reset(); });
  const auto [theirs, their_gradients] = run(plain);
  EXPECT_LE(relative_error(ours, theirs), 1e-5);
  ASSERT_EQ(our_gradients.size(), their_gradients.size());
  ASSERT_FALSE(our_gradients.empty());
  for (std::size_t i = 0; i < our_gradients.size(); ++i) {
    EXPECT_EQ(our_gradients[i].first, their_gradients[i].first);
    EXPECT_LE(relative_error(our_gradients[i].second, their_gradients[i].second), 1e-4);
  }
}

TEST(QuantizedModel, NamesAreStableAndWeightsCannotBeTrained) {
  using Model = TinyVlm<Quantized<NF4, LoRA<Attn>>>;
  auto model = testing::tiny_model<Model>(7);
  std::vector<std::string> names;
  visit(model, [&](const std::string& name, const Tensor&) {
    if (matches(name, "lang_encoder.model.layers.0.self_attn.q_proj.*"))
      names.push_back(name.substr(std::string("lang_encoder.model.layers.0.self_attn.q_proj.").size()));
  });
  EXPECT_EQ(names, (std::vector<std::string>{"weight.codes", "weight.absmax", "weight.nested_absmax",
                                             "weight.offset", "adapter.lora_A", "adapter.lora_B"}));
  EXPECT_THAT(testing::message_of([&] { set_trainable_parts(model, {.language = true}); }),
              ::testing::HasSubstr("weight.codes"));
}

TEST(QuantizedModel, WhatIsTrainedStaysSoOnAnotherDevice) {
  Linear<LowRank> plain =
      Linear<LowRank>::init(24, 10, true, {at::kFloat, make_generator(1)}, LoRAConfig{.rank = 3});
  plain.adapter.lora_A.set_requires_grad(true);
  // LibTorch cannot pack on the meta device, so what moves there has a dense weight.
  const auto moved_to = [&]<class To>(To moved, c10::Device device) {
    moved.adapter = plain.adapter;
    moved.bias = plain.bias;
    quantize_into(moved, plain, device);
    EXPECT_EQ(moved.adapter.lora_A.device(), device);
    EXPECT_TRUE(moved.adapter.lora_A.requires_grad()) << device;
    EXPECT_TRUE(moved.adapter.lora_A.is_leaf());
    EXPECT_FALSE(moved.adapter.lora_B.requires_grad() || moved.bias.requires_grad());
    return moved;
  };
  EXPECT_TRUE(moved_to(plain, c10::kMeta).weight.is_meta());
  EXPECT_EQ(moved_to(Linear<Over<Int8, LowRank>>{}, c10::kCPU).weight.codes.scalar_type(), at::kChar);
}

TEST(QuantizedModel, ConvertLeavesCodesAlone) {
  auto q = Linear<Over<NF4, NoWeights>>::init(8, 4, true, {at::kFloat, make_generator(1)});
  convert(q, at::kDouble);
  EXPECT_EQ(q.weight.codes.scalar_type(), at::kByte);
  EXPECT_EQ(q.weight.nested_absmax.scalar_type(), at::kFloat);
  EXPECT_EQ(q.bias.scalar_type(), at::kDouble);
}

}  // namespace
}  // namespace morphvlm::quantized_linear_test
