// A run's state as rank 0 has it, in a process that has another one.
#include "morphvlm/train/share_state.hpp"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/linear.hpp"

namespace morphvlm::share_state_test {
namespace {

// A process of two: what rank 0 sends is kept, and rank 1 finds it there.
struct Mailbox : Communicator {
  std::deque<Tensor>& sent;
  std::int64_t place;

  Mailbox(std::deque<Tensor>& all, std::int64_t which) : sent(all), place(which) {}
  std::int64_t rank() const override { return place; }
  std::int64_t size() const override { return 2; }
  Wait start_sum(Tensor) override {
    return [] {};
  }
  Wait start_gather(Tensor, Tensor) override {
    return [] {};
  }
  void broadcast(Tensor& t) override {
    if (place == 0) {
      sent.push_back(t.clone());
      return;
    }
    ASSERT_FALSE(sent.empty());
    ASSERT_EQ(t.sizes(), sent.front().sizes());
    ASSERT_EQ(t.scalar_type(), sent.front().scalar_type());
    t.copy_(sent.front());
    sent.pop_front();
  }
};

struct ARun {
  Linear<> part;
  RunState state = {};

  explicit ARun(std::uint64_t seed) : part(Linear<>::init(2, 3, true, {at::kFloat, make_generator(seed)})) {
    set_trainable(part, "*", true);
    state = {.optimizer = AdamW::over(part, {})};
    state.life = GradientWatch::over(state.optimizer, {});
  }
  // Weights, moments and numbers of updates.
  std::vector<Tensor> tensors() const {
    const auto& g = state.optimizer.groups.front();
    std::vector<Tensor> out;
    for (const auto* list : {&g.parameters, &g.exp_avg, &g.exp_avg_sq, &g.steps})
      out.insert(out.end(), list->begin(), list->end());
    return out;
  }
};

void expect_shared(ARun& first, ARun& second) {
  std::deque<Tensor> sent;
  Mailbox zero(sent, 0), one(sent, 1);
  share_state(first.state, zero);
  share_state(second.state, one);
  EXPECT_TRUE(sent.empty()) << "rank 1 asked for less than was sent";
  const auto a = first.tensors(), b = second.tensors();
  ASSERT_EQ(a.size(), 8u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_FALSE(a[i].is_same(b[i]));
    EXPECT_TRUE(a[i].equal(b[i])) << i;
  }
  EXPECT_TRUE(second.part.weight.is_same(second.tensors().front())) << "the model's own";
  EXPECT_EQ(second.state.moved, first.state.moved);
  EXPECT_EQ(second.state.skipped, first.state.skipped);
  EXPECT_EQ(second.state.life.silent, first.state.life.silent);
  ASSERT_EQ(second.state.history.size(), first.state.history.size());
  for (std::size_t i = 0; i < first.state.history.size(); ++i) {
    const auto &x = second.state.history[i], &y = first.state.history[i];
    EXPECT_EQ(x.step, y.step);
    EXPECT_EQ(x.loss, y.loss);
    EXPECT_EQ(x.lr, y.lr);
    EXPECT_EQ(x.grad_norm, y.grad_norm);
    EXPECT_EQ(x.skipped, y.skipped);
  }
}

TEST(ShareState, ARunThatGoesOnGoesOnAlikeInAllProcesses) {
  ARun first(1), second(2);
  double value = 1;
  for (auto& t : first.tensors()) t.detach().fill_(value++);
  first.state.moved = 4;
  first.state.skipped = 1;
  first.state.life.silent = {"bias"};
  first.state.history = {{.step = 0, .loss = 2, .lr = 0.5, .grad_norm = 3},
                         {.step = 1, .loss = 1, .lr = 0.25, .grad_norm = 5, .skipped = true}};
  expect_shared(first, second);
  EXPECT_EQ(second.tensors()[0].detach().min().item<double>(), 1);
  EXPECT_EQ(second.tensors()[7].item<double>(), 8);
}

TEST(ShareState, ARunThatBeginsHasNoHistory) {
  ARun first(1), second(2);
  ASSERT_FALSE(first.part.weight.equal(second.part.weight));
  second.state.moved = 9;
  expect_shared(first, second);
  EXPECT_EQ(second.state.life.silent, (std::vector<std::string>{"weight", "bias"}));
}

}  // namespace
}  // namespace morphvlm::share_state_test
