// Without a card a recorded loss is computed as ever; with one: tests/cuda/train_test.cpp.
#include "morphvlm/train/recorded_loss.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::recorded_loss {
namespace {

using Model = testing::TinyAdapted;

// Two rows of `time` tokens, all but the picture's predicted: as a recorded loss is told of them, and as
// loss_by_hand is.
struct Rows {
  Batch batch = {};
  Tensor pixels = {}, positions = {}, wanted = {};

  Rows(std::int64_t time, std::uint64_t seed) {
    Tensor ids = at::arange(2 * time, at::kLong).add(static_cast<std::int64_t>(seed)).remainder(40);
    ids = ids.view({2, time});
    ids.select(1, 0).fill_(testing::kTinyMedia);
    batch = {{.ids = ids}, ids};
    pixels = testing::tiny_pixels(seed, 2);
    const Tensor columns = at::arange(time - 1, at::kLong);
    positions = at::cat({columns, columns.add(time)});
    wanted = ids.slice(1, 1).flatten();
  }
};

// Gradients of what is trained, which are then dropped.
StateDict gradients_after(Model& model, const Tensor& loss) {
  backward(loss);
  StateDict out;
  visit(model, [&](const std::string& name, Tensor& t) {
    if (t.grad().defined()) out.emplace_back(name, t.grad().clone());
    t.mutable_grad().reset();
  });
  return out;
}

TEST(RecordedLoss, IsTheLossOfWhateverBatchComes) {
  auto model = testing::open_model();
  testing::wake_adapters(model, 3);
  const auto latents_of = [&](const Tensor& pixels) { return model.resample(model.encode_vision(pixels)); };
  RecordedLoss<Model> loss_of(model), plain(model, LossPath::plain);
  // Shapes that come again with other contents, and texts that are read without gated blocks in between.
  for (std::uint64_t time = 0; time < 6; ++time) {
    Rows rows(time % 2 == 0 ? 4 : 6, time);
    rows.batch.text.without_gated_blocks = time == 3;
    const auto& text = rows.batch.text;
    const Tensor latents = latents_of(rows.pixels);
    const double expected = testing::loss_by_hand(model, rows.batch, latents);
    const Tensor loss = loss_of(text, latents, rows.positions, rows.wanted);
    EXPECT_NEAR(loss.item<double>(), expected, 1e-4) << time;
    EXPECT_NEAR(loss_of.from_pixels(text, rows.pixels, rows.positions, rows.wanted).item<double>(), expected,
                1e-4)
        << time;
    const Tensor other = plain(text, latents, rows.positions, rows.wanted);
    EXPECT_NEAR(other.item<double>(), expected, 1e-4);
    // Against autograd's own cross-entropy, which knows nothing of a frozen head.
    const auto found = gradients_after(model, loss), theirs = gradients_after(model, other);
    ASSERT_EQ(found.size(), theirs.size());
    ASSERT_GT(found.size(), 10u);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].first, theirs[i].first);
      EXPECT_LE(testing::relative_error(found[i].second, theirs[i].second), 1e-4) << found[i].first;
    }
  }
}

TEST(RecordedLoss, PassesAGradientOnToTheResampler) {
  auto model = testing::open_model<Model>({.perceiver = true});
  RecordedLoss<Model> loss_of(model);
  const Rows rows(4, 1);
  const auto found =
      gradients_after(model, loss_of.from_pixels(rows.batch.text, rows.pixels, rows.positions, rows.wanted));
  EXPECT_TRUE(std::ranges::any_of(found, [](const auto& entry) {
    return entry.first == "perceiver.latents" && entry.second.abs().max().template item<double>() > 0;
  }));
}

TEST(RecordedLoss, NeedsSomethingToTrain) {
  const auto model = testing::tiny_model<testing::TinyVlm<NoAdapter>>(5);
  EXPECT_THAT(testing::message_of([&] { RecordedLoss<testing::TinyVlm<NoAdapter>> loss(model); }),
              ::testing::HasSubstr("no parameter of the model is trainable"));
}

}  // namespace
}  // namespace morphvlm::recorded_loss
