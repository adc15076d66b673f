// Steps on images and on text alone: what the gated blocks do to the second, and that the losses add up.
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/train/loss.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::joint_loss_test {
namespace {

using Model = testing::TinyVlm<LoRA<Attn>>;

Batch batch_of(std::initializer_list<std::int64_t> ids) {
  const Tensor row = at::tensor(ids, at::kLong).unsqueeze(0);
  return {{.ids = row}, row};
}

TEST(JointLoss, TextAloneIsReadByTheLanguageModelAlone) {
  const auto model = testing::tiny_model<Model>(5);
  const Batch text = batch_of({3, 7, 1, 9});
  const auto& language = model.lang_encoder;
  const DecoderContext context = language.context(text.text.ids, {}, nullptr);
  const Tensor plain =
      language.layers(language.embed(text.text.ids, context), context, nullptr, NoHook{}, 0, 4);
  const Tensor without = model.hidden({.ids = text.text.ids, .without_gated_blocks = true}, {});
  EXPECT_TRUE(without.equal(plain));
  // OpenFlamingo's gated feed-forward also acts where there is no image.
  EXPECT_GT(testing::relative_error(model.hidden(text.text, {}), plain), 1e-2);
}

TEST(JointLoss, IsTheSumOfBothAndReachesTheAdapters) {
  auto model = testing::tiny_model<Model>(5);
  testing::wake_adapters(model, 6);
  set_trainable_parts(model, {.adapters = true});
  const Batch seen = batch_of({testing::kTinyMedia, 4, 8, 2}), text = batch_of({3, 7, 1, 9});
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(1, 1)));
  const Tensor loss = joint_loss(model, seen, latents, text);
  const Tensor apart =
      next_token_loss(model, model.hidden(seen.text, latents), seen.labels)
          .add(next_token_loss(model, model.hidden({.ids = text.text.ids, .without_gated_blocks = true}, {}),
                               text.labels));
  EXPECT_TRUE(loss.equal(apart));
  backward(loss);
  visit(model, [](const std::string& name, const Tensor& t) {
    if (t.requires_grad()) {
      EXPECT_TRUE(t.grad().defined()) << name;
    }
  });
}

}  // namespace
}  // namespace morphvlm::joint_loss_test
