// The loss at supervised positions alone is the loss over all of them.
#include <gtest/gtest.h>

#include <ATen/ops/cross_entropy_loss.h>

#include <cmath>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/train/loss.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::loss_test {
namespace {

// Counts the rows that the head was asked for.
struct Head {
  Tensor weight = at::empty({11, 8}, at::kFloat).normal_(0, 1, make_generator(1));
  mutable std::int64_t rows = 0;

  Tensor logits(const Tensor& x, const Tensor& tokens = {}) const {
    rows += x.numel() / x.size(-1);
    const Tensor chosen = tokens.defined() ? weight.index_select(0, tokens) : weight;
    return at::linear(x, chosen.to(x.scalar_type()));
  }
};

struct NextTokenLoss : ::testing::Test {
  Head head;
  Tensor hidden = at::empty({2, 5, 8}, at::kFloat).normal_(0, 1, make_generator(2)).set_requires_grad(true);
  // The first label of a row is never predicted.
  Tensor labels = at::tensor({7, -100, 3, 10, -100, /**/ -100, 0, -100, -100, 5}, at::kLong).view({2, 5});

  Tensor whole() const {
    const Tensor logits = head.logits(hidden).slice(1, 0, -1).flatten(0, 1);
    return at::cross_entropy_loss(logits, labels.slice(1, 1).flatten(), {}, at::Reduction::Mean, -100);
  }
};

TEST_F(NextTokenLoss, EqualsCrossEntropyOverAllLogits) {
  const Tensor loss = next_token_loss(head, hidden, labels);
  EXPECT_EQ(head.rows, 4);
  const Tensor expected = whole();
  EXPECT_CLOSE(loss, expected, 1e-6);
  const Tensor one = at::ones({}, at::kFloat);
  EXPECT_CLOSE(gradients(loss, {hidden}, one)[0], gradients(expected, {hidden}, one)[0], 1e-6);
}

TEST_F(NextTokenLoss, WhatIsIgnoredHasNoGradient) {
  const Tensor grad = gradients(next_token_loss(head, hidden, labels), {hidden}, at::ones({}, at::kFloat))[0];
  const Tensor moved = grad.ne(0).any(-1);
  const Tensor expected =
      at::tensor({0, 1, 1, 0, 0, /**/ 1, 0, 0, 1, 0}, at::kLong).view({2, 5}).to(at::kBool);
  EXPECT_TRUE(moved.equal(expected)) << moved;
}

TEST_F(NextTokenLoss, HalfPrecisionIsReducedInFloat) {
  EXPECT_EQ(next_token_loss(head, hidden.to(at::kBFloat16), labels).scalar_type(), at::kFloat);
  EXPECT_EQ(next_token_loss(head, hidden.to(at::kDouble), labels).scalar_type(), at::kDouble);
}

TEST_F(NextTokenLoss, CandidatesAloneCompete) {
  const Tensor candidates = at::tensor({10, 3, 0, 5, 7}, at::kLong);
  const Tensor loss = target_loss(head, hidden.slice(1, 0, -1), labels.slice(1, 1), candidates);
  // Position by position, by hand: -log softmax over the candidates' logits.
  const Tensor logits = head.logits(hidden).slice(1, 0, -1).flatten(0, 1).exp();
  const Tensor targets = labels.slice(1, 1).flatten();
  double sum = 0, count = 0;
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    const auto target = targets[i].item<std::int64_t>();
    if (target == kIgnoredLabel) continue;
    const double others = logits[i].index_select(0, candidates).sum().item<double>();
    sum -= std::log(logits[i][target].item<double>() / others);
    ++count;
  }
  EXPECT_NEAR(loss.item<double>(), sum / count, 1e-5);
  EXPECT_THAT(testing::message_of([&] {
                target_loss(head, hidden.slice(1, 0, -1), labels.slice(1, 1), at::tensor({10, 3}, at::kLong));
              }),
              ::testing::HasSubstr("not among the candidates"));
}

TEST_F(NextTokenLoss, NothingSupervisedIsAnError) {
  const Tensor first_only = at::full({2, 5}, kIgnoredLabel, at::kLong);
  first_only.select(1, 0).fill_(3);
  EXPECT_THAT(testing::message_of([&] { next_token_loss(head, hidden, first_only); }),
              ::testing::HasSubstr("no position of the batch is supervised"));
}

}  // namespace
}  // namespace morphvlm::loss_test
