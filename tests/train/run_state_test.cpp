// A run's state in a checkpoint and back, and what a forged one gets.
#include "morphvlm/train/run_state.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "morphvlm/core/module.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/linear.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::run_state_test {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

const Json kConfig{{"steps", 3}};

// A run of one projection after a step.
struct OneStep {
  Linear<> part = Linear<>::init(2, 3, true, {at::kFloat, make_generator(1)});
  RunState state = {};

  OneStep() {
    set_trainable(part, "*", true);
    state = {.optimizer = AdamW::over(part, {}), .moved = 1, .generators = {make_generator(2)}};
    state.history = {{.step = 0, .loss = 1.5}, {.step = 1, .loss = std::nan("")}};
    state.note_generators();
  }
};

Tensor& entry(RunCheckpoint& c, const std::string& key) {
  return std::ranges::find(c.tensors, key, [](const auto& item) { return item.first; })->second;
}

// All tensors that decide the next step, one by one.
std::vector<Tensor> optimizer_tensors(const RunState& state) {
  std::vector<Tensor> out;
  for (const auto& g : state.optimizer.groups)
    for (const auto* list : {&g.parameters, &g.exp_avg, &g.exp_avg_sq, &g.steps})
      out.insert(out.end(), list->begin(), list->end());
  return out;
}

TEST(RunState, ComesBackFromACheckpoint) {
  OneStep from, to;
  // Nothing of it is what a fresh one has.
  double value = 3;
  for (auto& t : optimizer_tensors(from.state)) t.detach().fill_(value++);
  from.state.moved = 5;
  from.state.skipped = 2;
  from.state.life.silent = {"weight"};
  from.state.history = {
      {.step = 0, .loss = 1.5, .lr = 0.25, .grad_norm = 7, .seconds = 11},
      {.step = 1, .loss = std::nan(""), .lr = 0.5, .grad_norm = 9, .seconds = 13, .skipped = true}};
  at::empty({5}, at::kFloat).normal_(0, 1, from.state.generators[0]);
  from.state.note_generators();
  to.state.history.clear();
  const RunCheckpoint c = capture(from.state, kConfig, 1);
  EXPECT_EQ(c.step, 2);
  EXPECT_EQ(c.score, 1);
  restore(to.state, c, kConfig, "here");
  const auto found = optimizer_tensors(to.state), expected = optimizer_tensors(from.state);
  ASSERT_EQ(found.size(), 8u);
  ASSERT_EQ(expected.size(), 8u);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_FALSE(found[i].is_same(expected[i]));
    EXPECT_TRUE(found[i].equal(expected[i])) << i;
    EXPECT_EQ(found[i].detach().max().item<double>(), 3 + static_cast<double>(i)) << i;
  }
  EXPECT_EQ(to.state.moved, 5);
  EXPECT_EQ(to.state.skipped, 2);
  EXPECT_EQ(to.state.life.silent, std::vector<std::string>{"weight"});
  ASSERT_EQ(to.state.history.size(), 2u);
  const auto &first = to.state.history[0], &second = to.state.history[1];
  EXPECT_EQ(first.step, 0);
  EXPECT_EQ(first.loss, 1.5);
  EXPECT_EQ(first.lr, 0.25);
  EXPECT_EQ(first.grad_norm, 7);
  EXPECT_EQ(first.seconds, 11);
  EXPECT_FALSE(first.skipped);
  EXPECT_EQ(second.step, 1);
  EXPECT_TRUE(std::isnan(second.loss));
  EXPECT_TRUE(second.skipped);
  const auto next = [](const OneStep& run) {
    return at::empty({5}, at::kFloat).normal_(0, 1, run.state.generators[0]);
  };
  EXPECT_TRUE(next(to).equal(next(from)));
}

TEST(RunState, AScoreThatIsNoNumberIsTheWorst) {
  OneStep run;
  for (const double score : {std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_EQ(capture(run.state, kConfig, score).score, std::numeric_limits<double>::max());
}

TEST(RunState, AForgedOneIsRefusedByName) {
  const auto with = [](const std::string& key, const Tensor& value) {
    OneStep from, to;
    RunCheckpoint c = capture(from.state, kConfig, 1);
    entry(c, key) = value;
    return message_of([&] { restore(to.state, c, kConfig, "here"); });
  };
  EXPECT_THAT(with("parameter.bias", at::ones({4})), HasSubstr("here: parameter.bias: expected"));
  EXPECT_THAT(with("history", at::ones({2, 5}, at::kDouble)), HasSubstr("history: expected float64"));
  EXPECT_THAT(with("history", at::ones({2, 6})), HasSubstr("history: expected float64"));
  for (const double step : {1e300, -1.0, 0.5, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THAT(with("history", at::full({1, 6}, step, at::kDouble)), HasSubstr("expected step 0, found"));
  const Tensor state = make_generator(2).get_state();
  for (const Tensor& forged : {at::ones({3}, at::kByte), state.to(at::kLong), at::full_like(state, 255)})
    EXPECT_THAT(with("generator.0", forged), HasSubstr("here: generator.0: expected a state of"));
}

TEST(RunState, AnotherConfigIsRefused) {
  OneStep from, to;
  const RunCheckpoint c = capture(from.state, kConfig, 1);
  auto other = kConfig;
  other["rate"] = {{"cosine", 0.5}};
  const auto said = message_of([&] { restore(to.state, c, other, "here"); });
  EXPECT_EQ(said,
            "here: the checkpoint is of a run with another config:\n  /rate/cosine: nothing there, 0.5 here");
}

}  // namespace
}  // namespace morphvlm::run_state_test
