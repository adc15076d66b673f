// Training a tiny VLM: what it learns, what it leaves alone, what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <span>

#include "morphvlm/data/collate.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/trainer.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::trainer_test {
namespace {

using ::testing::AllOf;
using testing::changed;
using ::testing::HasSubstr;
using testing::kQuiet;
using testing::kWholeBatch;
using testing::loss_of_rows;
using ::testing::Not;
using testing::open_model;
using testing::TinyVlm;
using Model = testing::TinyAdapted;
using CrossModel = TinyVlm<LoRA<CrossAttn, CrossMlp>>;

template <class M>
StateDict snapshot(const M& model, std::string_view pattern = "*") {
  StateDict copy = state_dict(model, pattern);
  for (auto& [name, t] : copy) t = t.clone();
  return copy;
}

TEST(Trainer, OverfitsOneBatch) {
  auto model = open_model();
  const auto history =
      train(model, {.steps = 150, .lr = 2e-2, .schedule = Cosine{.warmup = 5}}, kWholeBatch, kQuiet);
  ASSERT_EQ(history.size(), 150u);
  EXPECT_GT(history.front().loss, 1);
  EXPECT_LT(history.back().loss, 0.01);
  // Rows 0 and 3 ask the same question of different pictures.
  EXPECT_LT(kWholeBatch(model, 0).item<double>(), 0.01);
}

TEST(Trainer, TwoHalfBatchesHaveTheGradientOfTheWhole) {
  auto model = open_model();
  testing::wake_adapters(model, 3);
  auto optimizer = AdamW::over(model, {});
  const auto gradients_of = [&](std::int64_t accumulate, auto loss_of) {
    optimizer.zero_grad();
    const double loss = detail::accumulate_gradients(model, {.accumulate = accumulate}, 0, loss_of).loss;
    std::vector<Tensor> grads{at::tensor({loss}, at::kDouble)};
    for (const auto& p : optimizer.groups.front().parameters) grads.push_back(p.grad());
    return grads;
  };
  const auto whole = gradients_of(1, kWholeBatch);
  const auto halves =
      gradients_of(2, [](const auto& m, std::int64_t index) { return loss_of_rows(m, 2 * index, 2); });
  ASSERT_EQ(whole.size(), halves.size());
  ASSERT_GT(whole.size(), 10u);
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_CLOSE(halves[i], whole[i], 1e-5);
}

// AdamW's first step is as long as the rate.
TEST(Trainer, LoraPlusIsAFactorOnTheRateOfB) {
  for (const double ratio : {1.0, 8.0}) {
    auto model = open_model();
    const StateDict before = snapshot(model, "*.lora_B");
    train(model, {.steps = 1, .lr = 1e-3, .lora_plus_ratio = ratio}, kWholeBatch, kQuiet);
    const StateDict after = state_dict(model, "*.lora_B");
    ASSERT_GT(after.size(), 10u);
    double moved = 0;
    for (std::size_t i = 0; i < after.size(); ++i)
      moved = std::max(moved, after[i].second.sub(before[i].second).abs().max().item<double>());
    EXPECT_NEAR(moved, ratio * 1e-3, 1e-5 * ratio);
  }
}

TEST(Trainer, AccumulationCountsBatchesThroughSteps) {
  auto model = open_model();
  std::vector<std::int64_t> asked;
  train(
      model, {.steps = 2, .accumulate = 3},
      [&](const auto& m, std::int64_t index) {
        asked.push_back(index);
        return loss_of_rows(m, index % 4, 1);
      },
      kQuiet);
  EXPECT_EQ(asked, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
}

// With a large eps AdamW's first step is lr * gradient / eps, so its length shows the clipped norm.
TEST(Trainer, ClipsTheGradientAndLogsItsNormBefore) {
  const auto step_length = [](double clip, double& logged) {
    auto model = open_model();
    testing::wake_adapters(model, 3);
    const StateDict before = snapshot(model, kAdapterParameters);
    logged = train(model, {.steps = 1, .lr = 1e5, .eps = 1e8, .clip = clip}, kWholeBatch, kQuiet)
                 .front()
                 .grad_norm;
    double sum = 0;
    const StateDict after = state_dict(model, kAdapterParameters);
    for (std::size_t i = 0; i < after.size(); ++i) {
      sum += after[i].second.sub(before[i].second).to(at::kDouble).square().sum().item<double>();
    }
    return std::sqrt(sum) * 1e3;
  };
  double free_norm = 0, clipped_norm = 0;
  EXPECT_NEAR(step_length(0, free_norm) / free_norm, 1, 0.01);
  EXPECT_NEAR(step_length(free_norm / 4, clipped_norm) / (free_norm / 4), 1, 0.01);
  EXPECT_EQ(clipped_norm, free_norm);
}

TEST(Trainer, RunsRepeatToTheLastBit) {
  auto first = open_model(), second = open_model();
  const TrainConfig config{.steps = 6, .accumulate = 2, .lr = 1e-2};
  const auto loss = [](const auto& m, std::int64_t index) { return loss_of_rows(m, index % 3, 2); };
  const auto a = train(first, config, loss, kQuiet), b = train(second, config, loss, kQuiet);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].loss, b[i].loss);
    EXPECT_EQ(a[i].grad_norm, b[i].grad_norm);
  }
  EXPECT_TRUE(changed(first, state_dict(second)).empty());
}

template <class M>
void expect_only_opened_change(const TrainableParts& parts, typename M::Config config) {
  auto model = open_model<M>(parts, config);
  const StateDict before = snapshot(model);
  std::set<std::string> opened;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.requires_grad()) opened.insert(name);
  });
  ASSERT_FALSE(opened.empty());
  ASSERT_LT(opened.size(), before.size());
  train(model, {.steps = 4, .lr = 1e-2, .weight_decay = 0.1}, kWholeBatch, kQuiet);
  EXPECT_EQ(changed(model, before), opened);
  visit(model, [](const std::string& name, const Tensor& t) { EXPECT_FALSE(t.grad().defined()) << name; });
}

TEST(Trainer, ChangesWhatIsOpenedAndNothingElse) {
  auto config = testing::tiny_config<Model>();
  expect_only_opened_change<Model>({.adapters = true}, config);
  config.cross_attention.gates = GatePolicy::trainable;
  expect_only_opened_change<Model>({.adapters = false, .perceiver = true, .gated_cross_attention = true},
                                   config);
}

TEST(Trainer, SixteenBitBaseKeepsFloatMasters) {
  auto model = open_model<Model>({.perceiver = true}, testing::tiny_config<Model>(), at::kBFloat16);
  std::size_t sixteen = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    const bool trained = t.requires_grad();
    sixteen += t.scalar_type() == at::kBFloat16;
    EXPECT_TRUE(!trained || t.scalar_type() == at::kFloat) << name;
  });
  EXPECT_GT(sixteen, 0u);
  const StateDict before = snapshot(model);
  // A change of 1e-6 is below bfloat16's resolution of all these weights but those next to zero.
  train(model, {.steps = 4, .lr = 1e-6}, kWholeBatch, kQuiet);
  EXPECT_TRUE(changed(model, before).contains("perceiver.norm.weight"));
  EXPECT_TRUE(model.perceiver.norm.weight.sub(1).abs().max().item<double>() > 0);
  const auto history = train(model, {.steps = 60, .lr = 1e-2}, kWholeBatch, kQuiet);
  EXPECT_LT(history.back().loss, history.front().loss / 4);
}

TEST(Trainer, LogsOneJsonLineAStep) {
  const testing::ScratchFolder folder;
  auto model = open_model();
  const auto history = train(model, {.steps = 5, .lr = 1e-2, .schedule = LinearDecay{}}, kWholeBatch,
                             {.file = folder / "log.jsonl", .title = ""});
  std::ifstream in(folder / "log.jsonl");
  std::size_t count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    const Json record = parse_json(line, "log");
    ASSERT_LT(count, history.size());
    EXPECT_EQ(record.at("step"), count);
    EXPECT_EQ(record.at("loss"), history[count].loss);
    EXPECT_EQ(record.at("grad_norm"), history[count].grad_norm);
    EXPECT_NEAR(record.at("lr"), 1e-2 * (1 - static_cast<double>(count) / 5), 1e-12);
    EXPECT_GE(record.at("seconds"), 0);
  }
  EXPECT_EQ(count, 5u);
}

TEST(Trainer, WritesEventsForTensorBoard) {
  const testing::ScratchFolder folder;
  auto model = open_model();
  train(model, {.steps = 3, .lr = 1e-2}, kWholeBatch, {.title = "", .events = folder / "events"});
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "events")) {
    ++files;
    const std::string bytes = testing::contents(entry.path());
    std::map<std::string, int> tags;
    for (const std::string tag : {"train/loss", "train/lr", "train/grad_norm", "trained/norms"})
      for (auto at = bytes.find(tag); at != std::string::npos; at = bytes.find(tag, at + 1)) ++tags[tag];
    EXPECT_THAT(
        tags, ::testing::ElementsAre(::testing::Pair("train/grad_norm", 3), ::testing::Pair("train/loss", 3),
                                     ::testing::Pair("train/lr", 3), ::testing::Pair("trained/norms", 2)));
  }
  EXPECT_EQ(files, 1u);
}

// The loss of a batch, and no number for the batches from `first` on, `count` of them.
auto broken_loss(std::int64_t first, std::int64_t count) {
  return [=](const auto& m, std::int64_t index) {
    const bool bad = index >= first && index < first + count;
    return loss_of_rows(m, 0, 4).mul(bad ? std::numeric_limits<double>::quiet_NaN() : 1.0);
  };
}

TEST(Trainer, LossesThatAreNoNumberInARowStopTheRun) {
  auto model = open_model();
  TrainLog log = kQuiet;
  log.describe = [](std::int64_t index) { return "question " + std::to_string(100 + index); };
  EXPECT_ERROR(train(model, {.steps = 9, .accumulate = 2, .skip_at_most = 0}, broken_loss(3, 9), kQuiet),
               HasSubstr("batch 3"), HasSubstr("step 1"), HasSubstr("nan"));
  EXPECT_ERROR(train(model, {.steps = 9, .skip_at_most = 2}, broken_loss(3, 9), log), HasSubstr("batch 5"),
               HasSubstr("step 5"), HasSubstr("as in the 2 steps before"), HasSubstr("question 105"));
}

TEST(Trainer, AStepWhoseLossIsNoNumberIsSkipped) {
  auto model = open_model();
  const TrainConfig config{.steps = 9, .lr = 1e-2, .skip_at_most = 2};
  const auto history = train(model, config, broken_loss(4, 2), kQuiet);
  ASSERT_EQ(history.size(), 9u);
  for (const auto& step : history) EXPECT_EQ(step.skipped, step.step == 4 || step.step == 5) << step.step;
  visit(model, [](const std::string& name, const Tensor& t) {
    EXPECT_TRUE(t.isfinite().all().item<bool>()) << name;
  });
  // Nothing but the rate's own course knows of a skipped step.
  auto other = open_model();
  train(other, {.steps = 7, .lr = 1e-2}, kWholeBatch, kQuiet);
  EXPECT_TRUE(changed(model, state_dict(other)).empty());
}

TEST(Trainer, SkippedStepsThatAreApartDoNotAddUp) {
  auto model = open_model();
  const auto every_second = [](const auto& m, std::int64_t index) {
    return loss_of_rows(m, 0, 4).mul(index % 2 == 1 ? std::numeric_limits<double>::quiet_NaN() : 1.0);
  };
  const auto history = train(model, {.steps = 9, .lr = 1e-2, .skip_at_most = 1}, every_second, kQuiet);
  ASSERT_EQ(history.size(), 9u);
  for (const auto& step : history) EXPECT_EQ(step.skipped, step.step % 2 == 1) << step.step;
}

TEST(Trainer, AGradientThatIsNoNumberIsSkipped) {
  auto model = open_model();
  const auto steep = [](const auto& m, std::int64_t index) {
    const Tensor loss = loss_of_rows(m, 0, 4);
    // Infinite slope at a finite value.
    return index == 2 ? loss.sub(loss.detach()).sqrt().add(1) : loss;
  };
  const auto history = train(model, {.steps = 4, .lr = 1e-2}, steep, kQuiet);
  EXPECT_TRUE(history.at(2).skipped);
  EXPECT_FALSE(history.at(3).skipped);
}

TEST(Trainer, ARunWhoseLastStepsWereSkippedFails) {
  auto model = open_model();
  EXPECT_ERROR(train(model, {.steps = 9, .lr = 1e-2, .skip_at_most = 2}, broken_loss(7, 2), kQuiet),
               HasSubstr("ends with 2 of 9 steps skipped"), HasSubstr("loss nan"));
  const auto history = train(model, {.steps = 9, .lr = 1e-2, .skip_at_most = 2}, broken_loss(6, 2), kQuiet);
  EXPECT_EQ(history.size(), 9u);
}

TEST(Trainer, ANumberOutOfItsRangeIsNamed) {
  auto model = open_model();
  const auto message = [&](const TrainConfig& config) {
    return testing::message_of([&] { train(model, config, kWholeBatch, kQuiet); });
  };
  EXPECT_EQ(message({.lr = -1}), "train.lr: expected 0 to 1000000, found -1");
  EXPECT_EQ(message({.lr = 1e300}), "train.lr: expected 0 to 1000000, found 1e+300");
  EXPECT_EQ(message({.weight_decay = -0.1}), "train.weight_decay: expected 0 to 1000000, found -0.1");
  EXPECT_EQ(message({.beta2 = 1}), "train.beta2: expected 0 or more and less than 1, found 1");
  EXPECT_EQ(message({.eps = 0}), "train.eps: expected 1e-30 to 10000000000, found 0");
  EXPECT_EQ(message({.accumulate = 0}), "train.accumulate: expected 1 or more, found 0");
  EXPECT_EQ(message({.schedule = LinearDecay{.hold = 1}}),
            "train.schedule.linear.hold: expected 0 or more and less than 1, found 1");
  EXPECT_EQ(message({.schedule = Cosine{.warmup = -1}}),
            "train.schedule.cosine.warmup: expected 0 or more, found -1");
  EXPECT_EQ(message({.rules = {{.pattern = "*", .lr_scale = -1}}}),
            "train.rules.0.lr_scale: expected 0 to 1000000, found -1");
  const testing::ScratchFolder folder;
  EXPECT_EQ(testing::message_of([&] {
              train(model, {.steps = 1}, kWholeBatch, kQuiet, {.folder = folder.path, .keep = {.last = -1}});
            }),
            "checkpoints.keep.last: expected 1 or more, found -1");
}

TEST(Trainer, NothingToTrainIsAnError) {
  auto model = open_model({.adapters = false});
  EXPECT_ERROR(train(model, {}, kWholeBatch, kQuiet), HasSubstr("no parameter of the model is trainable"));
}

CrossModel::Config shut_gates(GatePolicy gates) {
  auto config = testing::tiny_config<CrossModel>();
  config.cross_attention.gates = gates;
  config.cross_attention.gate_value = 0;
  return config;
}

TEST(Trainer, AdaptersBehindShutGatesAreReported) {
  auto model = open_model<CrossModel>({}, shut_gates(GatePolicy::frozen));
  EXPECT_ERROR(train(model, {.steps = 10}, kWholeBatch, kQuiet), HasSubstr("dead parameters"),
               HasSubstr("\n  gated_cross_attn.0.attn.to_q.adapter.lora_A"),
               HasSubstr("\n  gated_cross_attn.1.ff.fc_out.adapter.lora_B"),
               HasSubstr("\n  gated_cross_attn.1.attn_gate"), HasSubstr("\n  gated_cross_attn.0.ff_gate"),
               HasSubstr("allow_dead"));
}

TEST(Trainer, OnlyDeadParametersAreReported) {
  auto model = open_model<CrossModel>({}, shut_gates(GatePolicy::loaded));
  {
    at::NoGradGuard no_grad;
    model.gated_cross_attn[0].attn_gate.fill_(0.5);
    model.gated_cross_attn[1].attn_gate.fill_(0.5);
    model.gated_cross_attn[1].ff_gate.fill_(0.5);
  }
  EXPECT_ERROR(train(model, {.steps = 10, .lr = 1e-3}, kWholeBatch, kQuiet),
               HasSubstr("\n  gated_cross_attn.0.ff.fc_in.adapter.lora_A"),
               HasSubstr("\n  gated_cross_attn.0.ff_gate"), Not(HasSubstr("to_q")),
               Not(HasSubstr("cross_attn.1.")));
}

TEST(Trainer, DeadParametersMayBeAllowed) {
  auto model = open_model<CrossModel>({.perceiver = true}, shut_gates(GatePolicy::frozen));
  const StateDict before = snapshot(model);
  const TrainConfig config{.steps = 5, .lr = 1e-2, .allow_dead = {"*.adapter.*", "perceiver.*"}};
  EXPECT_EQ(train(model, config, kWholeBatch, kQuiet).size(), 5u);
  EXPECT_TRUE(changed(model, before).empty());
}

TEST(Trainer, GatesThatOpenThemselvesAreAlive) {
  for (const std::int64_t warmup : {0, 3}) {
    auto model = open_model<CrossModel>({}, shut_gates(GatePolicy::trainable));
    const TrainConfig config{.steps = 8, .lr = 1e-2, .schedule = Constant{.warmup = warmup}};
    EXPECT_EQ(train(model, config, kWholeBatch, kQuiet).size(), 8u);
    EXPECT_NE(model.gated_cross_attn[0].attn_gate.item<double>(), 0);
  }
}

}  // namespace
}  // namespace morphvlm::trainer_test
