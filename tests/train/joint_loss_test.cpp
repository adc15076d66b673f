// Steps on images and on text alone: what the gated blocks do to the second, and that the losses add up.
#include <gtest/gtest.h>

#include <cmath>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/train/loss.hpp"
#include "tests/support/golden.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::joint_loss_test {
namespace {

using Model = testing::TinyAdapted;

Batch batch_of(std::initializer_list<std::int64_t> ids) {
  const Tensor row = at::tensor(ids, at::kLong).unsqueeze(0);
  return {{.ids = row}, row};
}

// What the language model makes of a text that it reads by itself.
Tensor read_alone(const Model& model, const Tensor& ids) {
  const auto& language = model.lang_encoder;
  const DecoderContext context = language.context(ids, {}, nullptr);
  return language.layers(language.embed(ids, context), context, nullptr, NoHook{}, 0, 4);
}

TEST(JointLoss, TextAloneIsReadByTheLanguageModelAlone) {
  const auto model = testing::tiny_model<Model>(5);
  const Batch text = batch_of({3, 7, 1, 9});
  const Tensor plain = read_alone(model, text.text.ids);
  const Tensor without = model.hidden({.ids = text.text.ids, .without_gated_blocks = true}, {});
  EXPECT_TRUE(without.equal(plain));
  // OpenFlamingo's gated feed-forward also acts where there is no image.
  EXPECT_GT(testing::relative_error(model.hidden(text.text, {}), plain), 1e-2);
}

// The language model with its head, as loss_by_hand asks for logits.
struct LanguageAlone {
  const Model& model;
  Tensor hidden(const TextInput& text, const Tensor&) const { return read_alone(model, text.ids); }
  Tensor logits(const Tensor& x) const { return model.logits(x); }
};

TEST(JointLoss, IsTheSumOfBothAndReachesTheAdapters) {
  auto model = testing::tiny_model<Model>(5);
  testing::wake_adapters(model, 6);
  set_trainable_parts(model, {.adapters = true});
  const Batch seen = batch_of({testing::kTinyMedia, 4, 8, 2}), text = batch_of({3, 7, 1, 9, 30});
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(1, 1)));
  const double of_seen = testing::loss_by_hand(model, seen, latents),
               of_text = testing::loss_by_hand(LanguageAlone{model}, text, {});
  EXPECT_GT(std::abs(of_text - testing::loss_by_hand(model, text, {})), 1e-2) << "gated blocks do nothing";
  const Tensor loss = joint_loss(model, seen, latents, text);
  EXPECT_NEAR(loss.item<double>(), of_seen + of_text, 1e-4);

  const auto gradients_of = [&](const Tensor& of) {
    visit(model, [](const std::string&, Tensor& t) { t.mutable_grad().reset(); });
    backward(of);
    StateDict out;
    visit(model, [&](const std::string& name, const Tensor& t) {
      if (t.requires_grad()) out.emplace_back(name, t.grad());
    });
    return out;
  };
  const auto both = gradients_of(loss),
             pictured = gradients_of(next_token_loss(model, model.hidden(seen.text, latents), seen.labels)),
             alone = gradients_of(next_token_loss(model, read_alone(model, text.text.ids), text.labels));
  ASSERT_GT(both.size(), 0u);
  double of_the_text = 0;
  for (std::size_t i = 0; i < both.size(); ++i) {
    const auto& [name, gradient] = both[i];
    ASSERT_TRUE(gradient.defined() && pictured[i].second.defined()) << name;
    // Gated blocks' adapters learn from the picture alone.
    const bool has_both = alone[i].second.defined();
    const Tensor expected = has_both ? pictured[i].second.add(alone[i].second) : pictured[i].second;
    EXPECT_EQ(has_both, name.starts_with("lang_encoder.")) << name;
    EXPECT_LE(testing::relative_error(gradient, expected), 1e-4) << name;
    if (has_both) of_the_text = std::max(of_the_text, alone[i].second.abs().max().item<double>());
  }
  EXPECT_GT(of_the_text, 1e-3);
}

}  // namespace
}  // namespace morphvlm::joint_loss_test
