// Gradients of a tiny VLM in double precision against finite differences, and which parts get one.
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/vlm/trainable.hpp"
#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm::gradient_test {
namespace {

using ::testing::IsEmpty;

using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn, FeedForward>>;
constexpr std::int64_t kImage = 18;

Model::Config sizes(GatePolicy gates, double gate_value) {
  return {.vision = {.image_size = 6,
                     .patch_size = 3,
                     .hidden_size = 8,
                     .num_hidden_layers = 1,
                     .num_attention_heads = 2,
                     .intermediate_size = 12,
                     .projection_dim = 0},
          .perceiver = {.depth = 2, .heads = 2, .head_dim = 3, .latents = 3, .ff_mult = 2},
          .language = {.vocab_size = 19,
                       .hidden_size = 12,
                       .intermediate_size = 14,
                       .num_hidden_layers = 3,
                       .num_attention_heads = 4,
                       .num_key_value_heads = 2,
                       .head_dim = 4},
          .cross_attention =
              {.every = 2, .heads = 2, .head_dim = 5, .ff_mult = 2, .gates = gates, .gate_value = gate_value},
          .adapter = {.rank = 2, .alpha = 3},
          .media_token_id = kImage};
}

// A model whose adapters, norms and biases are not at their trivial starting values.
struct TinyVlm : ::testing::Test {
  at::Generator generator = make_generator(11);
  // Text 0 has words before its image and padding behind; text 1 has two images.
  TextInput text{
      .ids =
          at::tensor({4L, 5L, kImage, 7L, 2L, 0L, kImage, 9L, 1L, kImage, 3L, 8L}, at::kLong).reshape({2, 6}),
      .attention_mask = at::tensor({1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1}, at::kLong).reshape({2, 6})};
  Tensor pixels = draw({2, 2, 3, 6, 6}, 1), weights = draw({2, 6, 19}, 1);

  Tensor draw(at::IntArrayRef shape, double std) const {
    return at::empty(shape, at::kDouble).normal_(0, std, generator);
  }
  Model make(GatePolicy gates, double gate_value) const {
    Model model = Model::init(sizes(gates, gate_value), {at::kDouble, generator});
    visit(model, [&](const std::string& name, Tensor& t) {
      if (!matches(name, kGates)) t.add_(draw(t.sizes(), 0.3));
    });
    return model;
  }
  // Any smooth scalar of all outputs: the padded position counts, too.
  Tensor loss(const Model& model) const { return model(pixels, text).tanh().mul(weights).sum(); }
};

// d loss / d t along `direction` by a central difference of fourth order.
double difference(const TinyVlm& at, const Model& model, Tensor t, const Tensor& direction) {
  at::NoGradGuard no_grad;
  constexpr double h = 1e-3;
  const Tensor origin = t.clone();
  auto value = [&](double step) {
    t.copy_(origin.add(direction, step));
    return at.loss(model).item<double>();
  };
  const double slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
  t.copy_(origin);
  return slope;
}

// The analytic gradient against differences along two random directions, relative to the gradient's size.
void expect_gradients(const TinyVlm& at, Model& model) {
  backward(at.loss(model));
  std::int64_t checked = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    ASSERT_EQ(t.grad().defined(), t.requires_grad()) << name;
    if (!t.requires_grad()) return;
    const double size = t.grad().norm().item<double>();
    EXPECT_GT(size, 1e-6) << name;
    for (int i = 0; i < 2; ++i) {
      Tensor direction = at.draw(t.sizes(), 1);
      direction = direction.div(direction.norm());
      const double analytic = t.grad().mul(direction).sum().item<double>();
      EXPECT_NEAR(difference(at, model, t, direction), analytic, 1e-7 * size) << name;
    }
    ++checked;
  });
  EXPECT_GT(checked, 0);
}

TEST_F(TinyVlm, EveryAdapterGateAndPerceiverTensorAgainstFiniteDifferences) {
  Model model = make(GatePolicy::trainable, 0.5);
  set_trainable_parts(model, {.adapters = true, .perceiver = true});
  // 3 layers x (4 + 3) and 1 block x (3 + 2) projections of two factors each, and 2 gates.
  EXPECT_EQ(unfreeze(model, kAdapterParameters), 2 * (3 * 7 + 5));
  EXPECT_EQ(unfreeze(model, kGates), 2);
  expect_gradients(*this, model);
}

TEST_F(TinyVlm, EveryOtherTensorAgainstFiniteDifferences) {
  Model model = make(GatePolicy::loaded, 0.5);
  set_trainable_parts(model,
                      {.adapters = false, .gated_cross_attention = true, .vision = true, .language = true});
  // Patch tokens leave the tower before its last norm.
  EXPECT_EQ(freeze(model, "vision_encoder.ln_post.*"), 2);
  expect_gradients(*this, model);
}

std::set<std::string> trainable(const Model& model, std::string_view pattern = "*") {
  std::set<std::string> names;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.requires_grad() && matches(name, pattern)) names.insert(name);
  });
  return names;
}

std::set<std::string> named(const Model& model, const std::vector<std::string>& in,
                            const std::vector<std::string>& out) {
  std::set<std::string> names;
  visit(model, [&](const std::string& name, const Tensor&) {
    const auto fits = [&](const std::string& pattern) { return matches(name, pattern); };
    if (std::any_of(in.begin(), in.end(), fits) && std::none_of(out.begin(), out.end(), fits))
      names.insert(name);
  });
  EXPECT_FALSE(names.empty());
  return names;
}

TEST_F(TinyVlm, EachPartOpensItsOwnTensorsAlone) {
  Model model = make(GatePolicy::loaded, 0.5);
  const std::string adapters = "*.adapter.*", gates = "*_gate";
  auto with = [&](const TrainableParts& parts) {
    unfreeze(model, "*");
    set_trainable_parts(model, parts);
    return trainable(model);
  };
  EXPECT_EQ(with({}), named(model, {adapters}, {}));
  EXPECT_THAT(with({.adapters = false}), IsEmpty());
  EXPECT_EQ(with({.adapters = false, .perceiver = true}), named(model, {"perceiver.*"}, {}));
  EXPECT_EQ(with({.adapters = false, .vision = true}), named(model, {"vision_encoder.*"}, {}));
  EXPECT_EQ(with({.adapters = false, .language = true}), named(model, {"lang_encoder.*"}, {adapters}));
  EXPECT_EQ(with({.adapters = false, .gated_cross_attention = true}),
            named(model, {"gated_cross_attn.*"}, {adapters, gates}));
  EXPECT_EQ(with({.adapters = true, .gated_cross_attention = true}),
            named(model, {"gated_cross_attn.*", adapters}, {gates}));
}

void set_gates(Model& model, double value) {
  at::NoGradGuard no_grad;
  visit(model, [&](const std::string& name, Tensor& t) {
    if (matches(name, kGates)) t.fill_(value);
  });
}

TEST_F(TinyVlm, LoadedGatesKeepWhatWasLoadedAndAreNotTrained) {
  Model model = make(GatePolicy::loaded, 0.5);
  set_gates(model, 0.75);
  set_trainable_parts(model, {.gated_cross_attention = true});
  EXPECT_EQ(model.gated_cross_attn[0].attn_gate.item<double>(), 0.75);
  EXPECT_EQ(model.gated_cross_attn[0].ff_gate.item<double>(), 0.75);
  EXPECT_THAT(trainable(model, kGates), IsEmpty());
}

TEST_F(TinyVlm, TrainableGatesStartAtTheirValueAndGoOnFromWhereTheyAre) {
  Model model = make(GatePolicy::trainable, 0.25);
  EXPECT_EQ(model.gated_cross_attn[0].attn_gate.item<double>(), 0.25);
  set_gates(model, 0.75);
  set_trainable_parts(model, {.adapters = false});
  EXPECT_EQ(model.gated_cross_attn[0].ff_gate.item<double>(), 0.75);
  EXPECT_EQ(trainable(model),
            (std::set<std::string>{"gated_cross_attn.0.attn_gate", "gated_cross_attn.0.ff_gate"}));
}

TEST_F(TinyVlm, FrozenGatesAreSetToTheirValueWhateverWasLoaded) {
  Model model = make(GatePolicy::frozen, 0.25);
  set_gates(model, 0.75);
  set_trainable_parts(model, {.gated_cross_attention = true});
  EXPECT_EQ(model.gated_cross_attn[0].attn_gate.item<double>(), 0.25);
  EXPECT_EQ(model.gated_cross_attn[0].ff_gate.item<double>(), 0.25);
  EXPECT_THAT(trainable(model, kGates), IsEmpty());
}

TEST_F(TinyVlm, BehindGatesFrozenAtZeroNoAdapterGetsAGradient) {
  Model model = make(GatePolicy::frozen, 0);
  set_trainable_parts(model, {.perceiver = true});
  backward(loss(model));
  const auto gradient = [&](std::string_view pattern) {
    double largest = 0;
    visit(model, [&](const std::string& name, const Tensor& t) {
      if (matches(name, pattern) && t.grad().defined())
        largest = std::max(largest, t.grad().abs().max().item<double>());
    });
    return largest;
  };
  EXPECT_EQ(gradient("gated_cross_attn.*"), 0);
  EXPECT_EQ(gradient("perceiver.*"), 0);
  EXPECT_GT(gradient("lang_encoder.*.adapter.*"), 0);
}

}  // namespace
}  // namespace morphvlm::gradient_test
