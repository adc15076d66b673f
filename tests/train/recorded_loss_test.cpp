// Without a card a recorded loss is computed as ever; with one: tests/cuda/train_test.cpp.
#include "morphvlm/train/recorded_loss.hpp"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::recorded_loss {
namespace {

using testing::TinyVlm;

TEST(RecordedLoss, IsThePlannedLoss) {
  const auto model = testing::open_model();
  RecordedLoss<TinyVlm<LoRA<Attn>>> loss_of(model);
  const TextInput text{.ids = at::tensor({int{testing::kTinyMedia}, 4, 9, 5}, at::kLong).view({1, 4})};
  const Tensor positions = at::tensor({1, 2}, at::kLong), wanted = at::tensor({9, 5}, at::kLong);
  const Tensor pixels = testing::tiny_pixels(3, 1), latents = model.resample(model.encode_vision(pixels));
  const Tensor expected = planned_loss(model, text, latents, positions, wanted);
  for (int time = 0; time < 3; ++time) {
    EXPECT_TRUE(loss_of(text, latents, positions, wanted).equal(expected));
    EXPECT_TRUE(loss_of.from_pixels(text, pixels, positions, wanted).equal(expected));
  }
}

TEST(RecordedLoss, NeedsSomethingToTrain) {
  const auto model = testing::tiny_model<TinyVlm<NoAdapter>>(5);
  EXPECT_THAT(testing::message_of([&] { RecordedLoss<TinyVlm<NoAdapter>> loss(model); }),
              ::testing::HasSubstr("no parameter of the model is trainable"));
}

}  // namespace
}  // namespace morphvlm::recorded_loss
