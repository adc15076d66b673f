// Plans of published models by name, and how they are read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "experiments/programs/model_registry.hpp"
#include "experiments/programs/plan_text.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::experiments {
namespace {

using ::testing::HasSubstr;

TEST(ParseBytes, KnowsBothKindsOfUnits) {
  EXPECT_EQ(parse_bytes("12GB"), 12'000'000'000);
  EXPECT_EQ(parse_bytes("1.5 GiB"), 1'610'612'736);
  EXPECT_EQ(parse_bytes("600MiB"), 629'145'600);
  for (const auto* wrong : {"", "12", "GB", "-1GB", "0GB", "12 GBs", "1e300GB", "nanGB"}) {
    EXPECT_THAT(testing::message_of([&] { parse_bytes(wrong); }), HasSubstr("expected a size")) << wrong;
  }
}

TEST(Plannable, HasThePublishedCounts) {
  // A gated block: to_q, to_kv, to_out, the feed-forward's two, three norms' weights and biases, two gates.
  constexpr std::int64_t kDim = 3200, kMedia = 1024, kInner = 512;
  constexpr std::int64_t kGated =
      kDim * kInner + kMedia * 2 * kInner + kInner * kDim + 2 * 4 * kDim * kDim + 2 * 2 * kDim + 2;
  constexpr std::int64_t kLora =
      26 * 4 * 16 * 2 * kDim + 6 * 16 * ((kDim + kInner) + (kMedia + 2 * kInner) + (kInner + kDim));
  const Plan p = plannable({}).plan({.dtype = at::kBFloat16}, {});
  EXPECT_EQ(p.trainable, kLora);
  // Two tokens are new, in the embedding and in the head.
  EXPECT_EQ(p.parameters, 3'426'473'600 + 4 * kDim + 303'966'208 + 63'019'008 + 6 * kGated + kLora);
}

TEST(Plannable, NamesWhatThereIs) {
  EXPECT_THAT(testing::message_of([] { plannable({.model = "gpt"}); }),
              ::testing::AllOf(HasSubstr("--model: expected a model folder"), HasSubstr("open_llama_3b"),
                               HasSubstr("found gpt")));
  EXPECT_THAT(
      testing::message_of([] { plannable({.adapter = "LoRA"}); }),
      ::testing::AllOf(HasSubstr("--adapter"), HasSubstr("LoRA<Attn, CrossMlp>"), HasSubstr("found LoRA")));
}

TEST(Plannable, AFourBitBaseTakesAQuarter) {
  const PlanSetup setup{.dtype = at::kBFloat16, .device = c10::kCUDA};
  const Plan wide = plannable({}).plan(setup, {}), packed = plannable({.base = "nf4"}).plan(setup, {});
  EXPECT_EQ(packed.parameters, wide.parameters);
  EXPECT_EQ(packed.trainable, wide.trainable);
  EXPECT_LT(packed.frozen_bytes, 0.4 * static_cast<double>(wide.frozen_bytes));
  EXPECT_LT(packed.peak_bytes, std::int64_t{6} << 30);
  EXPECT_THAT(testing::message_of([] { plannable({.adapter = "LoRA<Attn, CrossMlp>", .base = "nf4"}); }),
              HasSubstr("--base nf4: compiled for LoRA<Attn>"));
}

TEST(Plannable, ABaseOnTheHostFitsSmallCards) {
  const PlanSetup setup{.dtype = at::kBFloat16, .device = c10::kCUDA};
  const auto model = plannable({.model = "llama_7b", .stream_base = true});
  EXPECT_THAT(model.type, HasSubstr("Streamed<LoRA<Attn>>"));
  const Plan near = plannable({.model = "llama_7b"}).plan(setup, {}), far = model.plan(setup, {}),
             packed = plannable({.model = "llama_7b", .base = "nf4", .stream_base = true}).plan(setup, {});
  EXPECT_GT(near.peak_bytes, std::int64_t{12} << 30);
  EXPECT_LT(far.peak_bytes, std::int64_t{6} << 30);
  EXPECT_GT(far.host_bytes, std::int64_t{12} << 30);
  EXPECT_EQ(packed.parameters, near.parameters);
  EXPECT_LT(packed.copied_bytes, 0.27 * static_cast<double>(far.copied_bytes));
  EXPECT_THAT(plan_text(far), ::testing::AllOf(HasSubstr("weights on the host"), HasSubstr("in a step")));
  EXPECT_THAT(plan_text(near), ::testing::Not(HasSubstr("on the host")));
  EXPECT_THAT(
      testing::message_of([] { plannable({.adapter = "LoRA<Attn, CrossMlp>", .stream_base = true}); }),
      HasSubstr("--stream_base: compiled for LoRA<Attn>"));
}

TEST(Plannable, EveryModelCanBePlannedWithEveryAdapter) {
  for (const auto& model : planned_models()) {
    for (const auto& adapter : planned_adapters()) {
      const auto planned = plannable({.model = model, .adapter = adapter});
      const Plan p = planned.plan({.dtype = at::kBFloat16, .device = c10::kCUDA}, {.seq = 64});
      EXPECT_GT(p.trainable, 0) << model << ' ' << adapter;
      EXPECT_GT(p.peak_bytes, 2 * p.parameters) << model << ' ' << adapter;
      EXPECT_THAT(planned.type, HasSubstr(adapter));
    }
  }
}

TEST(Plannable, AModelFolderIsPlannedByItsConfigs) {
  const testing::ScratchFolder scratch;
  const auto folder = scratch / "model";
  std::filesystem::copy(testing::golden_path("model_dir"), folder, std::filesystem::copy_options::recursive);
  std::int64_t parameters = 0;
  with_model(folder, {}, c10::kCPU,
             [&](auto& model, const WeightSources&) { parameters = parameter_count(model); });
  // Its weights are not needed.
  std::filesystem::remove_all(folder / "flamingo");
  std::filesystem::remove(folder / "language/model.safetensors");
  const auto model = plannable({.model = folder.string(), .lora = {.rank = 4}});
  EXPECT_EQ(model.type, "VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>");
  const Plan p = model.plan({}, {.seq = 20});
  EXPECT_GT(p.trainable, 0);
  EXPECT_EQ(p.parameters - p.trainable, parameters);
  testing::put(folder / "config.json", "{}");
  EXPECT_THAT(testing::message_of([&] { plannable({.model = folder.string()}); }), HasSubstr("config.json"));
}

TEST(PlanText, SaysWhatFits) {
  const auto model = plannable({.model = "biogpt"});
  const StepShape work{.batch = 4, .seq = 128};
  const Plan p = model.plan({}, work);
  EXPECT_THAT(plan_text(p), HasSubstr("AdamW's moments"));
  const auto fits = ways_to_fit(model.plan, {}, work, model.layers, p.peak_bytes);
  EXPECT_THAT(fit_text(fits, p, p.peak_bytes), HasSubstr("fits, with 0 B to spare"));
  const auto less = p.peak_bytes - (std::int64_t{64} << 20);
  EXPECT_THAT(fit_text(ways_to_fit(model.plan, {}, work, model.layers, less), p, less),
              ::testing::AllOf(HasSubstr("does not fit: 64.0 MiB too much"), HasSubstr("bf16")));
  EXPECT_THAT(fit_text({}, p, 1 << 20), HasSubstr("not enough together"));
}

}  // namespace
}  // namespace morphvlm::experiments
