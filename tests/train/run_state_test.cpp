// A run's state in a checkpoint and back, and what a forged one gets.
#include "morphvlm/train/run_state.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

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

TEST(RunState, ComesBackFromACheckpoint) {
  OneStep from, to;
  RunCheckpoint c = capture(from.state, kConfig, 1);
  entry(c, "parameter.weight") = at::full({3, 2}, 7.0);
  restore(to.state, c, kConfig, "here");
  EXPECT_TRUE(to.part.weight.equal(at::full({3, 2}, 7.0)));
  ASSERT_EQ(to.state.history.size(), 2u);
  EXPECT_EQ(to.state.history[1].step, 1);
  EXPECT_TRUE(std::isnan(to.state.history[1].loss));
  EXPECT_EQ(to.state.moved, 1);
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
