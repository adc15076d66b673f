// Gradients leave in buckets during the backward pass, and none is lost, doubled or sent too early.
#include "morphvlm/train/gradient_sums.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::gradient_sums_test {
namespace {

using ::testing::ElementsAre;

// The first of two processes whose other one always has the same; notes which gradients there were when a
// sum was started.
struct Twin : Communicator {
  std::int64_t rank() const override { return 0; }
  std::int64_t size() const override { return 2; }
  Wait start_sum(Tensor t) override {
    started(t);
    t.mul_(2);
    return [] {};
  }
  Wait start_gather(Tensor, Tensor) override {
    return [] {};
  }
  void broadcast(Tensor&) override {}

  std::function<void(const Tensor&)> started = [](const Tensor&) {};
};

Tensor parameter(double value) { return at::full({3}, value).requires_grad_(); }

struct Pair {
  Tensor first = parameter(2), last = parameter(3), unused = parameter(5);
};

AdamW over(Pair& pair) { return AdamW::over(pair, {}); }

constexpr std::int64_t kOneEach = 3 * 4;

TEST(GradientSums, LeaveWhileTheBackwardPassGoesOn) {
  Pair pair;
  pair.unused.requires_grad_(false);  // as the first bucket it would hold the others up
  AdamW optimizer = over(pair);
  Twin twin;
  std::vector<bool> first_was_there;
  twin.started = [&](const Tensor&) { first_was_there.push_back(pair.first.grad().defined()); };
  GradientSums sums(optimizer, twin, kOneEach);
  ASSERT_EQ(sums.buckets(), 2u);
  backward(pair.last.sum());
  EXPECT_EQ(sums.started(), 0u);  // not the step's last pass
  sums.expect_last();
  backward(pair.first.sin().mul(pair.last).sum());
  EXPECT_EQ(sums.started(), 2u);
  ASSERT_EQ(first_was_there.size(), 2u);
  EXPECT_FALSE(first_was_there[0]);
  EXPECT_TRUE(first_was_there[1]);
}

TEST(GradientSums, AreTheSumsAndNumbersBeside) {
  for (const std::int64_t bytes : {kOneEach, 2 * kOneEach, kGradientBucket}) {
    Pair pair;
    AdamW optimizer = over(pair);
    Twin twin;
    GradientSums sums(optimizer, twin, bytes);
    backward(pair.first.mul(pair.last).sum());
    sums.expect_last();
    backward(pair.first.mul(pair.last).sum());
    std::vector<double> numbers{0.5, 7};
    sums.finish(numbers);
    EXPECT_THAT(numbers, ElementsAre(1, 14));
    EXPECT_TRUE(pair.first.grad().equal(at::full({3}, 12)));  // (3 + 3) in each of two processes
    EXPECT_TRUE(pair.last.grad().equal(at::full({3}, 8)));
    EXPECT_FALSE(pair.unused.grad().defined());
  }
}

// Segments that run again in the backward pass may add to a parameter more than once.
TEST(GradientSums, WhatComesAfterItsBucketLeftIsNotLost) {
  Pair pair;
  AdamW optimizer = over(pair);
  Twin twin;
  GradientSums sums(optimizer, twin, kOneEach);
  sums.expect_last();
  backward(pair.first.mul(2).sum().add(pair.unused.sum()).add(pair.last.sum()));
  ASSERT_EQ(sums.started(), 3u);
  backward(pair.first.mul(5).sum());
  std::vector<double> numbers;
  sums.finish(numbers);
  EXPECT_TRUE(pair.first.grad().equal(at::full({3}, 14)));
  EXPECT_TRUE(pair.last.grad().equal(at::full({3}, 2)));
  // And the next step begins anew.
  optimizer.zero_grad();
  sums.expect_last();
  backward(pair.first.sum());
  sums.finish(numbers);
  EXPECT_TRUE(pair.first.grad().equal(at::full({3}, 2)));
  EXPECT_FALSE(pair.last.grad().defined());
}

TEST(GradientSums, EndWithTheirObject) {
  Pair pair;
  AdamW optimizer = over(pair);
  Twin twin;
  int started = 0;
  twin.started = [&](const Tensor&) { ++started; };
  { GradientSums(optimizer, twin).expect_last(); }
  backward(pair.first.sum());
  EXPECT_EQ(started, 0);
}

TEST(SharedIndices, AllOnceAndAsManyCallsInEachProcess) {
  struct Place : Twin {
    std::int64_t place = 0;
    std::int64_t rank() const override { return place; }
    std::int64_t size() const override { return 3; }
  } place;
  for (const std::int64_t count : {0, 1, 3, 7}) {
    std::vector<int> seen(static_cast<std::size_t>(count), 0);
    for (place.place = 0; place.place < 3; ++place.place) {
      std::int64_t calls = 0;
      for_each_shared(count, &place, [&](std::int64_t i, bool again) {
        ++calls;
        if (!again) ++seen.at(static_cast<std::size_t>(i));
      });
      EXPECT_EQ(calls, (count + 2) / 3);
    }
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
  }
  std::int64_t alone = 0;
  for_each_shared(4, nullptr, [&](std::int64_t i, bool again) { alone += again ? 100 : i; });
  EXPECT_EQ(alone, 6);
}

TEST(JoinTexts, TwoWhoKnowTheSameAreAnError) {
  Twin twin;
  std::vector<std::string> texts{"", "ab"};
  EXPECT_THAT(testing::message_of([&] { join_texts(texts, &twin); }), ::testing::HasSubstr("text 1"));
}

}  // namespace
}  // namespace morphvlm::gradient_sums_test
