// Whole models on a CUDA device against the Python reference and against themselves on the CPU.
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "morphvlm/eval/rank.hpp"
#include "morphvlm/plan/plan.hpp"
#include "morphvlm/vlm/generate.hpp"
#include "morphvlm/vlm/quantized_model.hpp"
#include "tests/support/cuda.hpp"
#include "tests/support/flamingo_case.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm {
namespace {

using testing::kCuda;
using testing::on_cuda;
using testing::TinyVlm;

struct FlamingoOnCuda : testing::OnCuda {};

TEST_F(FlamingoOnCuda, LogitsAreTheReferences) {
  using Model = VLM<ClipViT, Perceiver, OpenLLaMA, NoAdapter>;
  const auto golden = testing::open_golden("flamingo");
  const auto model = on_cuda(testing::load_flamingo<Model>(golden));
  const TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
  const Tensor hidden_there = golden["attention_mask"].eq(0).unsqueeze(-1);
  const Tensor logits = model(testing::flamingo_pixels("pixels", 3).to(kCuda), text.to(kCuda)).cpu();
  EXPECT_CLOSE(logits.masked_fill(hidden_there, 0), golden["logits"].masked_fill(hidden_there, 0), 1e-5);
}

TEST_F(FlamingoOnCuda, GradientsAreTheReferences) {
  using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn, CrossMlp>>;
  const auto golden = testing::open_golden("flamingo");
  auto model = on_cuda(testing::load_flamingo<Model>(golden));
  set_trainable_parts(model, {.adapters = true});
  const TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
  const Tensor logits = model(testing::flamingo_pixels("pixels", 3).to(kCuda), text.to(kCuda));
  const Tensor loss = testing::causal_loss(logits, golden["labels"].to(kCuda));
  EXPECT_CLOSE(loss.cpu(), golden["lora/loss"], 1e-5);
  backward(loss);
  visit(model, [](const std::string&, Tensor& t) {
    const Tensor gradient = t.grad();
    const bool trained = t.requires_grad();
    t = t.detach().cpu().set_requires_grad(trained);
    if (gradient.defined()) t.mutable_grad() = gradient.cpu();
  });
  testing::expect_flamingo_gradients(model, golden, "lora/grad/");
}

struct Outcome {
  double loss = 0;
  StateDict gradients = {};
};

// The loss of one batch, padded or not, and all its gradients, on the CPU.
template <class Model>
Outcome outcome(Model model, c10::Device device, bool padded) {
  convert(model, at::TensorOptions().device(device));
  const Tensor ids =
      at::tensor(std::vector<std::int64_t>{3, 4, testing::kTinyMedia, 5, 6, 7, 2, 9, testing::kTinyMedia, 11})
          .view({2, 5});
  Tensor mask;
  if (padded) {
    mask = at::ones({2, 5}, at::kLong);
    mask[0].slice(0, 4).zero_();
  }
  const TextInput text = TextInput{.ids = ids, .attention_mask = mask}.to(device);
  const auto dtype = model.vision_encoder.positional_embedding.scalar_type();
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(1, 2).to(device, dtype)));
  const Tensor loss = planned_loss(model, text, latents, at::tensor({2, 3, 6, 8}, at::kLong).to(device),
                                   at::tensor({1, 8, 20, 30}, at::kLong).to(device), LossPath::fused);
  backward(loss);
  Outcome out{.loss = loss.template item<double>()};
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.grad().defined()) out.gradients.emplace_back(name, t.grad().to(at::kCPU, at::kFloat));
  });
  return out;
}

template <class Model>
void expect_the_same(const Model& model, double loss_tolerance, double tolerance, bool padded = true) {
  const Outcome here = outcome(model, c10::kCPU, padded), there = outcome(model, kCuda, padded);
  EXPECT_NEAR(there.loss, here.loss, loss_tolerance * std::abs(here.loss));
  ASSERT_EQ(there.gradients.size(), here.gradients.size());
  ASSERT_FALSE(here.gradients.empty());
  for (std::size_t i = 0; i < here.gradients.size(); ++i) {
    EXPECT_LE(testing::relative_error(there.gradients[i].second, here.gradients[i].second), tolerance)
        << here.gradients[i].first;
  }
}

template <class P>
TinyVlm<P> opened(at::ScalarType dtype = at::kFloat) {
  auto model = testing::open_model<TinyVlm<P>>({.perceiver = true, .gated_cross_attention = true},
                                               testing::tiny_config<TinyVlm<P>>(), dtype);
  testing::wake_adapters(model, 2);
  return model;
}

struct ModelOnCuda : testing::OnCuda {};

TEST_F(ModelOnCuda, LossAndGradients) {
  for (const bool padded : {true, false})
    expect_the_same(opened<LoRA<Attn, FeedForward>>(), 1e-5, 1e-4, padded);
}

TEST_F(ModelOnCuda, Bf16) {
  for (const bool padded : {true, false})
    expect_the_same(opened<LoRA<Attn>>(at::kBFloat16), 2e-2, 8e-2, padded);
}

TEST_F(ModelOnCuda, Recomputed) {
  auto model = opened<LoRA<Attn>>();
  model.recompute = {.every = 1};
  expect_the_same(model, 1e-5, 1e-4);
  expect_the_same(model, 1e-5, 1e-4, false);
}

TEST_F(ModelOnCuda, QuantizedBases) {
  const auto plain = opened<LoRA<Attn>>();
  auto four = quantized<TinyVlm<Quantized<NF4, LoRA<Attn>>>>(plain);
  expect_the_same(four, 1e-5, 1e-4);
  auto eight = quantized<TinyVlm<Quantized<Int8, LoRA<Attn>>>>(plain);
  expect_the_same(eight, 1e-5, 1e-4);
}

template <LanguageModel L>
struct LanguageOnCuda : testing::OnCuda {};
using Languages = ::testing::Types<MPT, GPTNeoX, BioGPT>;
TYPED_TEST_SUITE(LanguageOnCuda, Languages);

TYPED_TEST(LanguageOnCuda, LossAndGradients) {
  using Model = VLM<ClipViT, Perceiver, TypeParam, LoRA<Attn>>;
  const auto like = testing::tiny_config<TinyVlm<LoRA<Attn>>>();
  typename Model::Config c{.vision = like.vision,
                           .perceiver = like.perceiver,
                           .cross_attention = like.cross_attention,
                           .adapter = like.adapter,
                           .media_token_id = like.media_token_id,
                           .eoc_token_id = like.eoc_token_id};
  auto& l = c.language;
  l.vocab_size = testing::kTinyVocabulary;
  if constexpr (std::is_same_v<TypeParam, MPT>) {
    l.d_model = 32;
    l.n_layers = l.n_heads = 4;
  } else {
    l.hidden_size = 32;
    l.intermediate_size = 44;
    l.num_hidden_layers = l.num_attention_heads = 4;
  }
  auto model = Model::init(c, {at::kFloat, make_generator(4)});
  set_trainable_parts(model, {.perceiver = true});
  testing::wake_adapters(model, 3);
  for (const bool padded : {true, false}) expect_the_same(model, 1e-5, 1e-4, padded);
}

// Ids that a model writes on a device.
template <class Model>
Tensor written(Model model, c10::Device device, GenerateConfig how) {
  convert(model, at::TensorOptions().device(device));
  at::NoGradGuard no_grad;
  const Tensor ids =
      at::tensor(std::vector<std::int64_t>{7, 7, testing::kTinyMedia, 5, 9, testing::kTinyMedia, 3, 8, 2, 6})
          .view({2, 5});
  Tensor mask = at::ones({2, 5}, at::kLong);
  mask[0].slice(0, 0, 2).zero_();
  const TextInput text{.ids = ids, .attention_mask = mask};
  const auto dtype = model.vision_encoder.positional_embedding.scalar_type();
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 2, 2).to(device, dtype)));
  how.eos_token_id = testing::kTinyEnd;
  return generate(model, text.to(device), latents, how).ids.cpu();
}

TEST_F(ModelOnCuda, WritesTheSameTokens) {
  const auto model = testing::tiny_model<TinyVlm<NoAdapter>>(5);
  for (const std::int64_t beams : {1, 3}) {
    const GenerateConfig how{.max_new_tokens = 12, .num_beams = beams};
    const Tensor here = written(model, c10::kCPU, how);
    EXPECT_TRUE(written(model, kCuda, how).equal(here)) << beams;
    auto plain = how;
    plain.use_graph = false;
    EXPECT_TRUE(written(model, kCuda, plain).equal(here)) << beams;
  }
}

// The logits after each of some tokens behind a text with a picture.
template <class Model>
Tensor read_with(const Model& model, Reading reading) {
  at::NoGradGuard no_grad;
  const Tensor ids = at::tensor({7, int{testing::kTinyMedia}, 5, 9}, at::kLong).view({1, 4}).to(kCuda);
  const auto dtype = model.vision_encoder.positional_embedding.scalar_type();
  VlmCache cache;
  model.hidden({.ids = ids}, model.resample(model.encode_vision(testing::tiny_pixels(3, 1).to(kCuda, dtype))),
               &cache);
  constexpr std::int64_t kSteps = 6;
  TokenReader<Model> reader(model, cache, {}, kSteps, reading);
  std::vector<Tensor> logits;
  for (std::int64_t token = 0; token < kSteps; ++token)
    logits.push_back(reader.read(at::full({1, 1}, 3 + token, ids.options())).clone());
  return at::cat(logits);
}

// Our kernels, launched one by one and from a graph, against LibTorch's operators.
TEST_F(ModelOnCuda, ReadsTheSameInBf16AndFourBits) {
  const auto expect_same = [](auto model) {
    convert(model, at::TensorOptions().device(kCuda));
    const Tensor fixed = read_with(model, Reading::fixed);
    EXPECT_TRUE(read_with(model, Reading::recorded).equal(fixed));
    const testing::WithoutOwnKernels guard;
    EXPECT_LT(testing::relative_error(fixed.cpu(), read_with(model, Reading::growing).cpu()), 2e-2);
  };
  auto config = testing::tiny_config<TinyVlm<NoAdapter>>();
  config.language.hidden_size = 64;
  config.language.intermediate_size = 128;
  const auto model = testing::tiny_model<TinyVlm<NoAdapter>>(5, config, at::kBFloat16);
  expect_same(model);
  expect_same(quantized<TinyVlm<Quantized<NF4>>>(model));
  const auto on_host = quantized<TinyVlm<Streamed<>>>(model, kCuda);
  EXPECT_THAT(testing::message_of([&] { read_with(on_host, Reading::recorded); }),
              ::testing::HasSubstr("needs a WeightStream"));
  const WeightStream stream;
  expect_same(on_host);
}

TEST_F(ModelOnCuda, RanksTheSame) {
  const auto model = testing::tiny_model<TinyVlm<NoAdapter>>(5);
  const RankedQuery query{.query = {testing::kTinyMedia, 4, 5}, .choices = {{6, 7}, {8}, {9, 1, 2}}};
  const auto scores = [&](c10::Device device) {
    at::NoGradGuard no_grad;
    auto there = model;
    convert(there, at::TensorOptions().device(device));
    return choice_scores(there, query,
                         there.resample(there.encode_vision(testing::tiny_pixels(3, 1).to(device))));
  };
  const auto here = scores(c10::kCPU), there = scores(kCuda);
  for (std::size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(there[i], here[i], 1e-4);
}

}  // namespace
}  // namespace morphvlm
