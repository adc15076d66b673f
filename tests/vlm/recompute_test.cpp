// Recomputing activations changes memory, and nothing else.
#include "morphvlm/vlm/run_recomputed.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_languages.hpp"

namespace morphvlm::recompute_test {
namespace {

using testing::relative_error;

using testing::TinyVlm;

// Loss and gradients by name of one step; the parts of the batch are the same each time.
struct Step {
  Tensor loss;
  StateDict gradients = {};
  std::int64_t kept = 0;  ///< bytes alive after the forward pass
};

template <class Model>
Step step_of(Model& model, const Recompute& recompute, bool perceiver) {
  set_trainable_parts(model, {.perceiver = perceiver});
  model.recompute = recompute;
  visit(model, [](const std::string&, Tensor& t) { t.mutable_grad().reset(); });
  const Tensor ids =
      at::tensor({3L, testing::kTinyMedia, 5L, 6L, 7L, 8L, 4L, testing::kTinyMedia, 9L, 2L}, at::kLong)
          .view({2, 5});
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 2)));
  MemoryMeter meter(c10::kCPU);
  const Tensor hidden = model.hidden({.ids = ids}, latents);
  Step out{.loss = hidden.pow(2).sum()};
  out.kept = meter.use().live;
  backward(out.loss);
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.grad().defined()) out.gradients.emplace_back(name, t.grad().clone());
  });
  return out;
}

template <class Model>
void expect_unchanged_in(Model model, const Recompute& recompute, bool perceiver) {
  testing::wake_adapters(model, 5);
  const Step plain = step_of(model, {}, perceiver), lean = step_of(model, recompute, perceiver);
  EXPECT_TRUE(plain.loss.equal(lean.loss));
  ASSERT_GT(plain.gradients.size(), 0u);
  ASSERT_EQ(plain.gradients.size(), lean.gradients.size());
  for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
    EXPECT_EQ(plain.gradients[i].first, lean.gradients[i].first);
    EXPECT_LE(relative_error(lean.gradients[i].second, plain.gradients[i].second), 1e-5)
        << plain.gradients[i].first;
  }
  EXPECT_LT(lean.kept, plain.kept);
}

template <class Policy>
void expect_unchanged(const Recompute& recompute, bool perceiver) {
  using Model = TinyVlm<Policy>;
  expect_unchanged_in(testing::tiny_model<Model>(7, testing::tiny_config<Model>(), at::kFloat), recompute,
                      perceiver);
}

TEST(Recompute, EachLayerAlone) { expect_unchanged<LoRA<Attn>>({.every = 1}, false); }
TEST(Recompute, SegmentsThatDoNotDivideTheLayers) { expect_unchanged<LoRA<Attn>>({.every = 3}, false); }
TEST(Recompute, SomeLayersOnly) { expect_unchanged<LoRA<Attn>>({.every = 1, .layers = 2}, false); }
TEST(Recompute, GradientsReachThePerceiverThroughTheMedia) {
  expect_unchanged<LoRA<Attn>>({.every = 2}, true);
}
TEST(Recompute, StartsAtTheFirstTrainedLayer) {
  expect_unchanged<LoRA<CrossAttn, CrossMlp>>({.every = 1}, false);
}

// Nothing of the decoder is trained: gradients only pass through it to the media.
TEST(Recompute, StartsAtTheFirstBlockWhoseMediaAreTrained) {
  expect_unchanged<NoAdapter>({.every = 1}, true);
}
TEST(Recompute, StartsAtTheFirstBlockThatIsTrainedItself) {
  expect_unchanged<LoRA<CrossMlp>>({.every = 1}, false);
}
TEST(Recompute, AsManyLayersAsAreAskedFor) {
  using Model = TinyVlm<LoRA<Attn>>;
  auto model = testing::tiny_model<Model>(7, testing::tiny_config<Model>(), at::kFloat);
  const auto kept = [&](std::int64_t layers) {
    return step_of(model, {.every = 1, .layers = layers}, false).kept;
  };
  EXPECT_EQ(kept(0), step_of(model, {}, false).kept);
  for (std::int64_t layers = 0; layers < 4; ++layers) EXPECT_GT(kept(layers), kept(layers + 1)) << layers;
  EXPECT_EQ(kept(4), kept(-1));
  EXPECT_EQ(kept(9), kept(-1));
}

template <class L>
struct RecomputeIn : ::testing::Test {
  // Bytes that the layers alone keep, without gated blocks.
  template <class Policy>
  static std::int64_t kept_by_layers(const Recompute& recompute) {
    using Model = VLM<ClipViT, Perceiver, L, Policy>;
    auto model = Model::init(testing::tiny_config_with<Model>(), {at::kFloat, make_generator(4)});
    set_trainable_parts(model, {});
    model.recompute = recompute;
    const Tensor ids = at::tensor({3L, 5L, 6L, 7L, 8L}, at::kLong).view({1, 5});
    MemoryMeter meter(c10::kCPU);
    const Tensor hidden = model.hidden({.ids = ids, .without_gated_blocks = true}, {});
    return meter.use().live;
  }

  template <class Policy>
  static void expect_same(const Recompute& recompute) {
    using Model = VLM<ClipViT, Perceiver, L, Policy>;
    expect_unchanged_in(Model::init(testing::tiny_config_with<Model>(), {at::kFloat, make_generator(4)}),
                        recompute, false);
  }
};
using Languages = ::testing::Types<OpenLLaMA, MPT, GPTNeoX, BioGPT>;
TYPED_TEST_SUITE(RecomputeIn, Languages);

TYPED_TEST(RecomputeIn, FeedForwardsAlone) {
  this->template expect_same<LoRA<Attn>>({.feed_forward = true});
  this->template expect_same<LoRA<Attn, FeedForward>>({.feed_forward = true});
  EXPECT_LT(this->template kept_by_layers<LoRA<Attn>>({.feed_forward = true}),
            this->template kept_by_layers<LoRA<Attn>>({}));
}

TYPED_TEST(RecomputeIn, FeedForwardsAndWholeLayers) {
  this->template expect_same<LoRA<Attn, FeedForward>>({.every = 1, .layers = 2, .feed_forward = true});
}

TEST(Recompute, FeedForwardsKeepMoreThanLayersDo) {
  using Model = TinyVlm<LoRA<Attn>>;
  auto model = testing::tiny_model<Model>(7, testing::tiny_config<Model>(), at::kFloat);
  const auto kept = [&](const Recompute& recompute) { return step_of(model, recompute, false).kept; };
  EXPECT_LT(kept({.feed_forward = true}), kept({}));
  EXPECT_GT(kept({.feed_forward = true}), kept({.every = 1}));
}

// The first layer's feed-forward is trained and its input needs no gradient.
TEST(Recompute, FeedForwardsLearnWhereNothingBelowDoes) {
  expect_unchanged<LoRA<Mlp>>({.feed_forward = true}, false);
}

TEST(Recompute, WithoutGradientsNothingIsWrapped) {
  using Model = TinyVlm<LoRA<Attn>>;
  auto model = testing::tiny_model<Model>(7, testing::tiny_config<Model>(), at::kFloat);
  model.recompute = {.every = 1, .feed_forward = true};
  at::NoGradGuard no_grad;
  const Tensor ids = at::tensor({3L, testing::kTinyMedia, 5L}, at::kLong).view({1, 3});
  EXPECT_FALSE(model.hidden({.ids = ids}, {}).requires_grad());
}

TEST(RecomputedIf, RunsAgainWhereTheInputOrAPartIsTrained) {
  auto part = Linear<>::init(3, 4, false, {at::kFloat, make_generator(1)});
  const auto runs = [&](bool is_wanted, bool part_is_trained, bool input_is_trained) {
    set_trainable(part, "*", part_is_trained);
    part.weight.mutable_grad().reset();
    const Tensor x = at::full({2, 3}, 0.5).set_requires_grad(input_is_trained);
    int count = 0;
    const Tensor y = recomputed_if(
        is_wanted, x,
        [&](const Tensor& h) {
          ++count;
          return part(h).tanh();
        },
        part);
    EXPECT_EQ(y.requires_grad(), part_is_trained || input_is_trained);
    if (y.requires_grad()) backward(y.sum());
    EXPECT_EQ(part.weight.grad().defined(), part_is_trained);
    EXPECT_EQ(x.grad().defined(), input_is_trained);
    return count;
  };
  EXPECT_EQ(runs(true, true, false), 2);
  EXPECT_EQ(runs(true, false, true), 2);
  EXPECT_EQ(runs(true, true, true), 2);
  EXPECT_EQ(runs(true, false, false), 1);
  EXPECT_EQ(runs(false, true, true), 1);
}

TEST(Recomputed, MatchesTheSegmentItself) {
  const Tensor w = at::full({3}, 2.0).set_requires_grad(true), x = at::full({3}, 3.0).set_requires_grad(true);
  const Segment square = [&](const std::vector<Tensor>& in) { return in[0].mul(in[0]).mul(w); };
  backward(recomputed(square, {x}).sum());
  EXPECT_TRUE(x.grad().equal(at::full({3}, 12.0)));
  EXPECT_TRUE(w.grad().equal(at::full({3}, 9.0)));
}

}  // namespace
}  // namespace morphvlm::recompute_test
