// What is planned against what is measured, on the CPU.
#include "morphvlm/plan/plan.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "morphvlm/core/rng.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::plan_test {
namespace {

using testing::TinyVlm;

// A model whose activations are large against what LibTorch's kernels allocate for themselves.
template <class Model>
typename Model::Config roomy_config() {
  auto c = testing::tiny_config<Model>();
  c.vision.image_size = 28;
  c.language.hidden_size = 64;
  c.language.intermediate_size = 172;
  c.language.vocab_size = 1000;
  return c;
}

struct Measured {
  std::int64_t peak = 0, kept = 0, gradients = 0, optimizer = 0, copied = 0;
  double flops = 0, vision_flops = 0, forward_flops = 0;
};

template <class Model>
Measured measure_step(const Model& model, const PlanSetup& setup, const StepShape& work,
                      MemoryMeter& memory) {
  const FlopMeter operations;
  memory.restart_peak();
  const auto side = model.config.vision.image_size;
  Tensor latents;
  if (work.images > 0)
    latents =
        model.resample(model.encode_vision(at::zeros({work.batch, work.images, 3, side, side}, setup.dtype)));
  Tensor ids = at::full({work.batch, work.seq}, 5, at::kLong);
  ids.slice(1, 0, work.images).fill_(testing::kTinyMedia);
  const auto positions = at::arange(work.batch * work.supervised, at::kLong);
  Measured out{.vision_flops = operations.flops()};
  TextInput text{.ids = ids};
  if (!work.packed) text.attention_mask = at::ones(ids.sizes(), at::kLong);
  const auto before = memory.use().live;
  const Tensor loss = planned_loss(model, text, latents, positions, positions, setup.loss);
  out.kept = memory.use().live - before;
  out.forward_flops = operations.flops() - out.vision_flops;
  backward(loss);
  visit(model, [&](const std::string&, const Tensor& t) {
    if (t.grad().defined()) out.gradients += static_cast<std::int64_t>(t.grad().nbytes());
  });
  out.peak = memory.use().peak;
  out.flops = operations.flops();
  return out;
}

template <class Model>
Measured measure(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work) {
  MemoryMeter memory(c10::kCPU);
  Model model = trainable_model<Model>(config, setup, c10::Device(c10::kCPU), make_generator(3));
  const auto weights = memory.use().live;
  AdamW optimizer = AdamW::over(model, {});
  const auto moments = memory.use().live - weights;
  const WeightStream stream;
  // Which weights are on their way when is settled after two steps.
  for (int i = 0; i < (host_bytes(model) > 0 ? 2 : 0); ++i) {
    measure_step(model, setup, work, memory);
    optimizer.zero_grad();
  }
  const auto copied = stream.copied();
  Measured out = measure_step(model, setup, work, memory);
  out.copied = stream.copied() - copied;
  out.optimizer = moments;
  return out;
}

void expect_within(double planned, double measured, double tolerance, const std::string& what) {
  EXPECT_LE(std::abs(planned - measured), tolerance * measured)
      << what << ": " << planned << " against " << measured;
}

template <class Model>
void expect_as_planned(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work) {
  const Plan planned = plan<Model>(config, setup, work);
  const Measured measured = measure<Model>(config, setup, work);
  expect_within(static_cast<double>(planned.peak_bytes), static_cast<double>(measured.peak), 0.01, "peak");
  expect_within(static_cast<double>(planned.kept_bytes), static_cast<double>(measured.kept), 0.01, "kept");
  EXPECT_EQ(planned.flops(), measured.flops);
  EXPECT_EQ(planned.vision_flops, measured.vision_flops);
  EXPECT_EQ(planned.forward_flops, measured.forward_flops);
  EXPECT_EQ(planned.gradient_bytes, measured.gradients);
  EXPECT_EQ(planned.optimizer_bytes, measured.optimizer);
  EXPECT_EQ(planned.copied_bytes, measured.copied);
}

template <class Policy>
void expect_planned(const PlanSetup& setup, const StepShape& work, std::int64_t hidden_size = 64) {
  auto config = roomy_config<TinyVlm<Policy>>();
  config.language.hidden_size = hidden_size;
  config.language.intermediate_size = hidden_size * 43 / 16;
  expect_as_planned<TinyVlm<Policy>>(config, setup, work);
}

constexpr StepShape kWork{.batch = 6, .seq = 150, .images = 2, .supervised = 9};

TEST(Plan, AttentionAdapters) { expect_planned<LoRA<Attn>>({}, kWork); }
TEST(Plan, RowsWithoutPaddingHaveNoMask) {
  auto packed = kWork;
  packed.packed = true;
  expect_planned<LoRA<Attn>>({}, packed);
  using Model = TinyVlm<LoRA<Attn>>;
  const auto config = roomy_config<Model>();
  EXPECT_LT(plan<Model>(config, {}, packed).kept_bytes, plan<Model>(config, {}, kWork).kept_bytes);
}
TEST(Plan, AdaptersThatReadTheWeight) {
  expect_planned<DoRA<Attn>>({}, kWork);
  expect_planned<Quantized<NF4, DoRA<Attn>>>({.dtype = at::kBFloat16}, kWork);
}
TEST(Plan, CrossAttentionAlone) { expect_planned<LoRA<CrossAttn>>({}, kWork); }
TEST(Plan, MultimodalGptsPlacement) { expect_planned<LoRA<Attn, CrossMlp>>({}, kWork); }
TEST(Plan, AllFeedForward) { expect_planned<LoRA<Attn, FeedForward>>({}, kWork); }
TEST(Plan, Bf16) { expect_planned<LoRA<Attn>>({.dtype = at::kBFloat16}, kWork); }
TEST(Plan, Recomputed) { expect_planned<LoRA<Attn>>({.recompute = {.every = 1}}, kWork); }
TEST(Plan, FeedForwardsRecomputed) {
  expect_planned<LoRA<Attn>>({.recompute = {.feed_forward = true}}, kWork);
  expect_planned<LoRA<Attn, FeedForward>>({.dtype = at::kBFloat16, .recompute = {.feed_forward = true}},
                                          kWork);
}
TEST(Plan, RecomputedInPartAndBf16) {
  expect_planned<LoRA<Attn>>({.dtype = at::kBFloat16, .recompute = {.every = 2, .layers = 2}}, kWork);
}
TEST(Plan, FourBitBase) { expect_planned<Quantized<NF4, LoRA<Attn>>>({.dtype = at::kBFloat16}, kWork); }
// What a weight is unpacked into is then most of what comes and goes.
TEST(Plan, FourBitBaseOfFewTokens) {
  expect_planned<Quantized<NF4, LoRA<Attn>>>({.dtype = at::kBFloat16},
                                             {.batch = 1, .seq = 24, .images = 1, .supervised = 3}, 1024);
}
TEST(Plan, EightBitBaseRecomputed) {
  expect_planned<Quantized<Int8, LoRA<Attn>>>({.recompute = {.every = 1}}, kWork);
}
// Weights on the host, and the buffers that they are copied to, are most of what there is.
TEST(Plan, StreamedBase) {
  const StepShape few{.batch = 1, .seq = 24, .images = 1, .supervised = 3};
  for (const auto& [work, width] : {std::pair{kWork, 512}, std::pair{few, 1024}}) {
    expect_planned<Streamed<LoRA<Attn>>>({.dtype = at::kBFloat16}, work, width);
    expect_planned<Streamed<LoRA<Attn>, NF4>>({.recompute = {.every = 1}}, work, width);
  }
}
TEST(Plan, PlainLoss) { expect_planned<LoRA<Attn>>({.loss = LossPath::plain}, kWork); }
TEST(Plan, TrainedPerceiver) { expect_planned<LoRA<Attn>>({.parts = {.perceiver = true}}, kWork); }
TEST(Plan, TrainedGatedBlocksAndVision) {
  expect_planned<LoRA<Attn>>({.parts = {.gated_cross_attention = true, .vision = true}}, kWork);
}
TEST(Plan, EverythingTrained) {
  expect_planned<LoRA<Attn>>(
      {.parts = {.perceiver = true, .gated_cross_attention = true, .vision = true, .language = true}}, kWork);
}
TEST(Plan, ManySupervisedTokens) {
  expect_planned<LoRA<Attn>>({}, {.batch = 5, .seq = 40, .images = 1, .supervised = 40});
}

TEST(Plan, TextAlone) {
  expect_planned<LoRA<Attn>>({}, {.batch = 6, .seq = 150, .images = 0, .supervised = 9});
  const auto p = plan<TinyVlm<LoRA<Attn>>>(roomy_config<TinyVlm<LoRA<Attn>>>(), {}, {.images = 0});
  EXPECT_EQ(p.vision_flops, 0);
}
TEST(Plan, EfficientNetTower) {
  using Model = VLM<EfficientNetLite0, Perceiver, OpenLLaMA, LoRA<Attn>>;
  const auto tiny = roomy_config<TinyVlm<LoRA<Attn>>>();
  const Model::Config config{.vision = {.image_size = 64},
                             .perceiver = tiny.perceiver,
                             .language = tiny.language,
                             .cross_attention = tiny.cross_attention,
                             .adapter = tiny.adapter,
                             .media_token_id = tiny.media_token_id,
                             .eoc_token_id = tiny.eoc_token_id};
  expect_as_planned<Model>(config, {}, kWork);
  expect_as_planned<Model>(config, {.parts = {.vision = true}}, kWork);
}

// In 16 bits parts that may be trained whole are made as masters; what is frozen after all is not kept so.
TEST(Plan, FrozenPartsAreKeptInSixteenBits) {
  using Model = TinyVlm<LoRA<Attn>>;
  const PlanSetup setup{.dtype = at::kBFloat16, .parts = {.perceiver = true}};
  const auto model = trainable_model<Model>(roomy_config<Model>(), setup, c10::Device(c10::kMeta));
  std::int64_t trained = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    EXPECT_EQ(t.scalar_type(), t.requires_grad() ? at::kFloat : at::kBFloat16) << name;
    EXPECT_EQ(t.requires_grad(), name.starts_with("perceiver.") || matches(name, kAdapterParameters)) << name;
    trained += t.requires_grad();
  });
  EXPECT_GT(trained, 10);
}

TEST(Plan, AddsUp) {
  using Model = TinyVlm<LoRA<Attn>>;
  const Plan p = plan<Model>(roomy_config<Model>(), {}, kWork);
  EXPECT_EQ(p.frozen_bytes, (p.parameters - p.trainable) * 4);
  EXPECT_EQ(p.trained_bytes, p.trainable * 4);
  EXPECT_EQ(p.gradient_bytes, p.trained_bytes);
  EXPECT_GE(p.optimizer_bytes, 2 * p.trained_bytes);
  EXPECT_GE(p.peak_bytes, p.frozen_bytes + p.trained_bytes + p.optimizer_bytes + p.kept_bytes);
}

TEST(Plan, AStreamedBaseTakesRoomForAFewWeights) {
  using Near = TinyVlm<LoRA<Attn>>;
  using Far = TinyVlm<Streamed<LoRA<Attn>>>;
  auto config = roomy_config<Near>();
  config.language.num_hidden_layers = 40;
  const auto far_config = [&] {
    auto c = roomy_config<Far>();
    c.language.num_hidden_layers = 40;
    return c;
  }();
  const PlanSetup setup{.device = c10::kCUDA};
  const Plan near = plan<Near>(config, setup, kWork), far = plan<Far>(far_config, setup, kWork);
  EXPECT_EQ(far.parameters, near.parameters);
  EXPECT_EQ(far.flops(), near.flops());
  EXPECT_EQ(near.host_bytes, 0);
  EXPECT_EQ(near.copied_bytes, 0);
  // What lies between the weights' ends on the host is a part of the host's bytes.
  EXPECT_NEAR(static_cast<double>(far.frozen_bytes + far.host_bytes), static_cast<double>(near.frozen_bytes),
              1e-3 * static_cast<double>(near.frozen_bytes));
  constexpr std::int64_t kLargest = 64 * 172 * 4, kAtOnce = WeightStream::kAhead + 2;
  EXPECT_LE(far.peak_bytes, near.peak_bytes - far.host_bytes + kAtOnce * kLargest);
  EXPECT_GT(far.copied_bytes, far.host_bytes);
}

TEST(Plan, RecomputingBuysMemoryWithOperations) {
  using Model = TinyVlm<LoRA<Attn>>;
  const auto config = roomy_config<Model>();
  const Plan plain = plan<Model>(config, {}, kWork),
             lean = plan<Model>(config, {.recompute = {.every = 1}}, kWork);
  EXPECT_LT(lean.kept_bytes, plain.kept_bytes / 2);
  EXPECT_LT(lean.peak_bytes, plain.peak_bytes);
  EXPECT_GT(lean.backward_flops, plain.backward_flops);
  EXPECT_EQ(lean.forward_flops, plain.forward_flops);
}

TEST(Plan, CachedLatentsSpareTheTower) {
  using Model = TinyVlm<LoRA<Attn>>;
  auto work = kWork;
  work.cached_latents = true;
  EXPECT_EQ(plan<Model>(roomy_config<Model>(), {}, work).vision_flops, 0);
}

TEST(Plan, RefusesWhatCannotBe) {
  using Model = TinyVlm<LoRA<Attn>>;
  const auto error = [](const PlanSetup& setup, const StepShape& work) {
    return testing::message_of([&] { plan<Model>(roomy_config<Model>(), setup, work); });
  };
  EXPECT_THAT(error({}, {.seq = 4, .supervised = 5}), ::testing::HasSubstr("5 supervised tokens do not fit"));
  EXPECT_THAT(error({}, {.images = -1}), ::testing::HasSubstr("images: expected 0 or more"));
  EXPECT_THAT(error({.parts = {.adapters = false}}, {}),
              ::testing::HasSubstr("no parameter of the model is trainable"));
}

}  // namespace
}  // namespace morphvlm::plan_test
