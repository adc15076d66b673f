// Training and its plan on a CUDA device.
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "morphvlm/plan/plan.hpp"
#include "morphvlm/train/recorded_loss.hpp"
#include "morphvlm/vlm/quantized_model.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/cuda.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm {
namespace {

using testing::kCuda;
using testing::message_of;
using testing::TinyVlm;

struct TrainingOnCuda : testing::OnCuda {};

// As tiny_training's, wherever the model is.
template <class M>
Tensor loss_there(const M& model, std::int64_t index) {
  const auto device = device_of(model.perceiver);
  const Batch batch =
      collate(std::span(testing::rows()).subspan(static_cast<std::size_t>(index % 4), 1), 0).to(device);
  const Tensor pixels = testing::tiny_pixels(5, 4).slice(0, index % 4, index % 4 + 1).to(device);
  return next_token_loss(model, model.hidden(batch.text, model.resample(model.encode_vision(pixels))),
                         batch.labels);
}

std::vector<double> losses(const std::vector<TrainStep>& history) {
  std::vector<double> out;
  for (const auto& step : history) out.push_back(step.loss);
  return out;
}

const TrainConfig kConfig{.steps = 8, .accumulate = 2, .lr = 3e-3};

TEST_F(TrainingOnCuda, LossesAreTheCpus) {
  auto here = testing::open_model(), there = testing::on_cuda(testing::open_model());
  const auto train_it = [](auto& model) {
    return losses(train(
        model, kConfig, [](const auto& m, std::int64_t i) { return loss_there(m, i); }, testing::kQuiet));
  };
  const auto a = train_it(here), b = train_it(there);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i], a[i], 1e-4 * std::abs(a[i])) << i;
  EXPECT_LT(b.back(), b.front());
}

TEST_F(TrainingOnCuda, ABaseOnTheHostTrainsAsOneOnTheCard) {
  const auto train_it = [](auto model) {
    set_trainable_parts(model, {});
    return losses(train(
        model, kConfig, [](const auto& m, std::int64_t i) { return loss_there(m, i); }, testing::kQuiet));
  };
  const auto near = train_it(testing::on_cuda(testing::open_model()));
  const auto far = [&] { return quantized<TinyVlm<Streamed<LoRA<Attn>>>>(testing::open_model(), kCuda); };
  const auto expect_same = [&](const std::vector<double>& found) {
    ASSERT_EQ(found.size(), near.size());
    for (std::size_t i = 0; i < near.size(); ++i)
      EXPECT_NEAR(found[i], near[i], 1e-5 * std::abs(near[i])) << i;
  };
  expect_same(train_it(far()));
  WeightStream stream;
  expect_same(train_it(far()));
  EXPECT_GT(stream.copied(), 0);
}

// Products that wait for a weight that has not come yet would show: the room holds another one.
TEST_F(TrainingOnCuda, WeightsAreThereWhenTheyAreUsed) {
  WeightStream stream;
  std::vector<HostOffloaded<Dense>::Packed> weights;
  for (int i = 0; i < 12; ++i) {
    const Tensor w = at::full({1500, 1500}, i, at::kFloat);
    weights.push_back(HostOffloaded<Dense>::pack(w));
    convert(weights.back(), at::TensorOptions().device(kCuda));
  }
  const Tensor x = at::ones({1500, 1500}, at::TensorOptions(at::kFloat).device(kCuda));
  std::vector<Tensor> sums;
  for (int round = 0; round < 6; ++round)
    for (const auto& w : weights) sums.push_back(x.mm(HostOffloaded<Dense>::unpack(w, at::kFloat)).sum());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double each = static_cast<double>(i % weights.size());
    EXPECT_NEAR(sums[i].item<double>(), each * 1500.0 * 1500 * 1500, 1e-3 * each * 1500 * 1500 * 1500) << i;
  }
}

TEST_F(TrainingOnCuda, GoesOnFromACheckpoint) {
  const testing::ScratchFolder folder;
  const auto train_it = [&](std::int64_t steps, bool resume) {
    auto model = testing::on_cuda(testing::open_model());
    TrainConfig config = kConfig;
    std::int64_t calls = 0;
    const TrainCheckpoints checkpoints{.folder = folder.path / "run", .every = 2, .resume = resume};
    const auto loss = [&](const auto& m, std::int64_t i) {
      if (calls++ == steps * config.accumulate) fail("stopped by the test");
      return loss_there(m, i);
    };
    return losses(train(model, config, loss, testing::kQuiet, checkpoints));
  };
  EXPECT_THAT(message_of([&] { train_it(5, false); }), ::testing::HasSubstr("stopped by the test"));
  const auto resumed = train_it(100, true);
  auto model = testing::on_cuda(testing::open_model());
  const auto whole = losses(train(
      model, kConfig, [](const auto& m, std::int64_t i) { return loss_there(m, i); }, testing::kQuiet));
  ASSERT_EQ(resumed.size(), whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i)
    EXPECT_NEAR(resumed[i], whole[i], 1e-5 * std::abs(whole[i])) << i;
}

// Batches of two shapes in turn, each of its own numbers.
struct PlannedBatch {
  TextInput text = {};
  Tensor pixels = {}, latents = {}, positions = {}, wanted = {};
};

template <class Model>
PlannedBatch planned_batch(const Model& model, std::int64_t index) {
  at::NoGradGuard no_grad;
  const auto there = at::TensorOptions(at::kLong).device(kCuda);
  const auto time = 9 + 4 * (index % 2);
  Tensor ids = at::arange(2 * time, there).mul(index + 1).remainder(11).add(3).view({2, time});
  ids.slice(1, 0, 1).fill_(testing::kTinyMedia);
  Tensor mask;
  if (index % 2 == 1) {
    mask = at::ones({2, time}, there);
    mask[0].slice(0, time - 1 - index % 3).zero_();
  }
  const Tensor positions = at::arange(2, 6, there);
  const Tensor pixels = testing::tiny_pixels(static_cast<std::uint64_t>(index), 2).to(kCuda);
  return {.text = {.ids = ids, .attention_mask = mask},
          .pixels = pixels,
          .latents = model.resample(model.encode_vision(pixels)),
          .positions = positions,
          .wanted = ids.flatten().index_select(0, positions.add(1))};
}

TEST_F(TrainingOnCuda, ARecordedLossIsTheLoss) {
  if (!kHasCudaGraphs) GTEST_SKIP() << "built without MORPHVLM_CUDA";
  auto plain = testing::on_cuda(testing::open_model()), recorded = testing::on_cuda(testing::open_model());
  RecordedLoss<TinyVlm<LoRA<Attn>>> loss_of(recorded);
  AdamW of_plain = AdamW::over(plain, {}), of_recorded = AdamW::over(recorded, {});
  for (std::int64_t i = 0; i < 12; ++i) {  // from 6 on from pixels
    const auto batch = planned_batch(plain, i);
    of_plain.zero_grad();
    of_recorded.zero_grad();
    const Tensor expected = planned_loss(plain, batch.text, batch.latents, batch.positions, batch.wanted);
    const Tensor loss = i < 6 ? loss_of(batch.text, batch.latents, batch.positions, batch.wanted)
                              : loss_of.from_pixels(batch.text, batch.pixels, batch.positions, batch.wanted);
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-5 * expected.item<double>()) << i;
    backward(expected);
    backward(loss.mul(1.0));
    StateDict gradients;
    visit(plain, [&](const std::string& name, const Tensor& t) { gradients.emplace_back(name, t.grad()); });
    std::size_t at = 0;
    visit(recorded, [&](const std::string& name, const Tensor& t) {
      const Tensor& g = gradients[at++].second;
      ASSERT_EQ(t.grad().defined(), g.defined()) << name;
      if (g.defined()) {
        EXPECT_LE(testing::relative_error(t.grad().cpu(), g.cpu()), 1e-4) << name << ' ' << i;
      }
    });
    of_plain.step(1e-2);
    of_recorded.step(1e-2);
  }
}

TEST_F(TrainingOnCuda, ARecordedLossIsOfOneBatchAtATime) {
  if (!kHasCudaGraphs) GTEST_SKIP() << "built without MORPHVLM_CUDA";
  auto model = testing::on_cuda(testing::open_model());
  RecordedLoss<TinyVlm<LoRA<Attn>>> loss_of(model);
  const auto batch = planned_batch(model, 0);
  const auto loss = [&] { return loss_of(batch.text, batch.latents, batch.positions, batch.wanted); };
  backward(loss());
  const Tensor first = loss();
  loss();
  EXPECT_THAT(message_of([&] { backward(first); }), ::testing::HasSubstr("another batch came after"));
}

template <class Model>
typename Model::Config roomy_config() {
  auto c = testing::tiny_config<Model>();
  c.vision.image_size = 56;
  c.language = {.vocab_size = 4000,
                .hidden_size = 320,
                .intermediate_size = 864,
                .num_hidden_layers = 8,
                .num_attention_heads = 4};
  return c;
}

// Twice: libraries allocate what they work in the first time.
template <class Model>
std::int64_t measured_peak(const typename Model::Config& config, const PlanSetup& setup,
                           const StepShape& work) {
  std::int64_t peak = 0;
  for (int time = 0; time < 2; ++time) {
    MemoryMeter memory(c10::kCUDA);
    Model model = trainable_model<Model>(config, setup, kCuda, make_generator(3, kCuda));
    AdamW optimizer = AdamW::over(model, {});
    const WeightStream stream;
    // Which weights are on their way when is settled after two steps.
    for (int step = 0; step < (host_bytes(model) > 0 ? 3 : 1); ++step) {
      optimizer.zero_grad();
      memory.restart_peak();
      const auto side = config.vision.image_size;
      const auto there = at::TensorOptions(at::kLong).device(kCuda);
      const Tensor latents = model.resample(
          model.encode_vision(at::zeros({work.batch, work.images, 3, side, side}, there.dtype(setup.dtype))));
      Tensor ids = at::full({work.batch, work.seq}, 5, there);
      ids.slice(1, 0, work.images).fill_(testing::kTinyMedia);
      const auto positions = at::arange(work.batch * work.supervised, there);
      TextInput text{.ids = ids};
      if (!work.packed) text.attention_mask = at::ones(ids.sizes(), there);
      const Tensor loss = planned_loss(model, text, latents, positions, positions, setup.loss);
      backward(loss);
      peak = memory.use().peak;
    }
  }
  return peak;
}

template <class Policy>
void expect_planned(const std::string& what, const PlanSetup& asked, const StepShape& work) {
  using Model = TinyVlm<Policy>;
  PlanSetup setup = asked;
  setup.device = c10::kCUDA;
  const auto config = roomy_config<Model>();
  const auto planned = static_cast<double>(plan<Model>(config, setup, work).peak_bytes),
             measured = static_cast<double>(measured_peak<Model>(config, setup, work));
  std::cout << what << ": planned " << planned / 0x1p20 << " MiB, measured " << measured / 0x1p20
            << " MiB, ratio " << planned / measured << '\n';
  EXPECT_NEAR(planned / measured, 1, 0.05) << what;
}

TEST_F(TrainingOnCuda, PeaksAreAsPlanned) {
  const StepShape work{.batch = 4, .seq = 512, .images = 2, .supervised = 16};
  StepShape packed = work;
  packed.packed = true;
  const PlanSetup fp32{}, bf16{.dtype = at::kBFloat16};
  expect_planned<LoRA<Attn>>("fp32", fp32, work);
  expect_planned<LoRA<Attn>>("bf16", bf16, work);
  expect_planned<LoRA<Attn>>("fp32, packed", fp32, packed);
  expect_planned<LoRA<Attn>>("bf16, packed", bf16, packed);
  expect_planned<LoRA<CrossAttn>>("bf16, cross-attention", bf16, work);
  expect_planned<LoRA<Attn, CrossMlp>>("bf16, Multimodal-GPT's sites", bf16, work);
  expect_planned<LoRA<Attn, FeedForward>>("bf16, all sites", bf16, packed);
  expect_planned<LoRA<Attn>>("bf16, recomputed", {.dtype = at::kBFloat16, .recompute = {.every = 1}}, work);
  expect_planned<LoRA<Attn>>("fp32, recomputed in part", {.recompute = {.every = 2, .layers = 4}}, work);
  expect_planned<LoRA<Attn>>("bf16, plain loss", {.dtype = at::kBFloat16, .loss = LossPath::plain}, work);
  expect_planned<LoRA<Attn>>("bf16, trained perceiver",
                             {.dtype = at::kBFloat16, .parts = {.perceiver = true}}, work);
  expect_planned<Quantized<NF4, LoRA<Attn>>>("NF4", bf16, work);
  expect_planned<Quantized<Int8, LoRA<Attn>>>("Int8, packed", bf16, packed);
  expect_planned<Streamed<LoRA<Attn>>>("fp32, on the host", fp32, work);
  expect_planned<Streamed<LoRA<Attn>, NF4>>("NF4, on the host, packed", bf16, packed);
  expect_planned<LoRA<Attn>>(
      "fp32, everything trained",
      {.parts = {.perceiver = true, .gated_cross_attention = true, .vision = true, .language = true}}, work);
}

TEST_F(TrainingOnCuda, MemoryHasALimit) {
#ifndef MORPHVLM_CUDA
  GTEST_SKIP() << "built without MORPHVLM_CUDA";
#else
  constexpr std::int64_t kLimit = std::int64_t{1} << 30;
  forget_cuda_peak(kCuda);
  limit_cuda_memory(kCuda, kLimit);
  EXPECT_THROW(at::zeros({kLimit}, at::TensorOptions(at::kFloat).device(kCuda)), c10::Error);
  EXPECT_LE(peak_cuda_reserved(kCuda), kLimit);
  limit_cuda_memory(kCuda, std::int64_t{1} << 60);
  EXPECT_NO_THROW(at::zeros({kLimit / 2}, at::TensorOptions(at::kFloat).device(kCuda)));
#endif
}

TEST_F(TrainingOnCuda, DevicesHaveNames) {
  EXPECT_EQ(device_named("cuda"), kCuda);
  EXPECT_EQ(device_named("cuda:0"), kCuda);
  EXPECT_THAT(message_of([] { device_named("cuda:99"); }), ::testing::HasSubstr("expected a number below"));
}

TEST(Device, NamesAreChecked) {
  EXPECT_EQ(device_named("cpu"), c10::Device(c10::kCPU));
  EXPECT_THAT(message_of([] { device_named("gpu"); }), ::testing::HasSubstr("expected cpu, cuda or cuda:N"));
  if (has_cuda()) return;
  EXPECT_THAT(message_of([] { device_named("cuda"); }), ::testing::HasSubstr("there is no CUDA device"));
}

}  // namespace
}  // namespace morphvlm
