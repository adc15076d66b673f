// AdamW, clipping and parameter groups against torch.optim (tests/golden/optim.json).
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/train/optim.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::optim_test {
namespace {

struct TwoTensors {
  Tensor first = {}, second = {};
};

const Json& golden() {
  static const Json json = read_json(testing::golden_path("optim.json"));
  return json;
}

TwoTensors start() {
  TwoTensors m{testing::formula_input("optim.param.0", {2, 3}), testing::formula_input("optim.param.1", {4})};
  unfreeze(m, "*");
  return m;
}

void set_gradients(TwoTensors& m, std::int64_t step, double scale = 1) {
  const auto key = "optim.grad." + std::to_string(step) + '.';
  m.first.mutable_grad() = testing::formula_input(key + '0', {2, 3}).mul(scale);
  m.second.mutable_grad() = testing::formula_input(key + '1', {4}).mul(scale);
}

Tensor values(const Json& list) { return at::tensor(list.get<std::vector<double>>(), at::kDouble); }

AdamWConfig config_of(const Json& run) {
  return {.lr = run.at("lr"),
          .beta1 = run.at("betas").at(0),
          .beta2 = run.at("betas").at(1),
          .eps = run.at("eps"),
          .weight_decay = run.at("weight_decay")};
}

TEST(AdamW, FollowsTheReferenceForSixSteps) {
  ASSERT_EQ(golden().at("adamw").size(), 2u);
  for (const auto& run : golden().at("adamw")) {
    auto m = start();
    auto optimizer = AdamW::over(m, config_of(run));
    ASSERT_EQ(optimizer.groups.size(), 1u);
    std::int64_t step = 0;
    for (const auto& expected : run.at("params_after_step")) {
      set_gradients(m, step++);
      optimizer.step(run.at("lr"));
      EXPECT_CLOSE(m.first.flatten(), values(expected.at(0)), 1e-6);
      EXPECT_CLOSE(m.second, values(expected.at(1)), 1e-6);
    }
    EXPECT_EQ(step, 6);
    const auto& group = optimizer.groups.front();
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_CLOSE(group.exp_avg[i].flatten(), values(run.at("exp_avg").at(i)), 1e-6);
      EXPECT_CLOSE(group.exp_avg_sq[i].flatten(), values(run.at("exp_avg_sq").at(i)), 1e-6);
    }
  }
}

// One run mixes the two stored ones: weight decay for one tensor alone, and half the rate given twice as
// high.
TEST(AdamW, GroupsByTheFirstRuleThatMatches) {
  const auto &plain = golden().at("adamw").at(0), &decayed = golden().at("adamw").at(1);
  ASSERT_EQ(plain.at("weight_decay"), 0.0);
  ASSERT_GT(decayed.at("weight_decay"), 0.0);
  auto m = start();
  auto optimizer =
      AdamW::over(m, config_of(decayed), {{"sec*", 0.5, 0.0}, {"*", 0.5}, {"second", 100, 100.0}});
  ASSERT_EQ(optimizer.groups.size(), 2u);
  for (std::int64_t step = 0; step < 6; ++step) {
    set_gradients(m, step);
    optimizer.step(2 * plain.at("lr").get<double>());
  }
  EXPECT_CLOSE(m.first.flatten(), values(decayed.at("params_after_step").at(5).at(0)), 1e-6);
  EXPECT_CLOSE(m.second, values(plain.at("params_after_step").at(5).at(1)), 1e-6);
}

// A projection with DoRA's adapter behind which there is a norm, all trained.
struct Net {
  Linear<WeightDecomposed> fc = {};
  LayerNorm norm = {};
};

// PEFT's name of a parameter of it.
std::string peft_name(std::string name) {
  const auto at = name.find("adapter.");
  return at == std::string::npos ? name : name.erase(at, 8);
}

Net net() {
  Net n{.fc = Linear<WeightDecomposed>::init(3, 2, true, {at::kFloat, make_generator(1)},
                                             LoRAConfig{.rank = 2}),
        .norm = {.weight = at::empty({2}), .bias = at::empty({2})}};
  visit(n, [](const std::string& name, Tensor& t) {
    t = testing::formula_input("lora_plus." + peft_name(name), t.sizes());
  });
  unfreeze(n, "*");
  return n;
}

// PEFT's groups and what torch's AdamW makes of them (tests/golden/dora.py).
TEST(LoraPlus, GroupsAndStepsAreTheReferences) {
  const Json plus = read_json(testing::golden_path("lora_plus.json"));
  Net n = net();
  AdamWConfig config = config_of(plus);
  config.lora_plus_ratio = plus.at("ratio");
  auto optimizer = AdamW::over(n, config);
  std::size_t groups = 0;
  for (const auto& expected : plus.at("groups")) {
    if (expected.at("names").empty()) continue;  // of adapted embeddings, which we do not have
    ++groups;
    std::set<std::string> names;
    for (const auto& name :
         optimizer.group(expected.at("lr").get<double>() / config.lr, expected.at("weight_decay")).names)
      names.insert(peft_name(name));
    EXPECT_EQ(names, expected.at("names").get<std::set<std::string>>());
  }
  EXPECT_EQ(groups, 3u);
  EXPECT_EQ(optimizer.groups.size(), groups);
  std::int64_t step = 0;
  for (const auto& expected : plus.at("params_after_step")) {
    visit(n, [&](const std::string& name, Tensor& t) {
      const auto key = "lora_plus." + std::to_string(step) + '.' + peft_name(name);
      t.mutable_grad() = testing::formula_input(key, t.sizes());
    });
    optimizer.step(config.lr);
    ++step;
    std::size_t compared = 0;
    visit(n, [&](const std::string& name, const Tensor& t) {
      ++compared;
      EXPECT_LE(testing::relative_error(t.flatten(), values(expected.at(peft_name(name)))), 1e-6) << name;
    });
    EXPECT_EQ(compared, expected.size());
  }
  EXPECT_EQ(step, 4);
}

TEST(LoraPlus, ARuleKeepsTheRatio) {
  Net n = net();
  const auto optimizer = AdamW::over(n, {.weight_decay = 0.1, .lora_plus_ratio = 4},
                                     {{"fc.adapter.*", 0.5}, {"norm.bias", 1, 0.2}});
  const auto of = [&](const std::string& name) {
    for (const auto& g : optimizer.groups)
      if (std::ranges::find(g.names, name) != g.names.end()) return std::pair(g.lr_scale, g.weight_decay);
    return std::pair(-1.0, -1.0);
  };
  EXPECT_EQ(of("fc.adapter.lora_A"), std::pair(0.5, 0.1));
  EXPECT_EQ(of("fc.adapter.lora_B"), std::pair(2.0, 0.1));
  EXPECT_EQ(of("norm.bias"), std::pair(4.0, 0.2));
  EXPECT_EQ(of("norm.weight"), std::pair(4.0, 0.0));
  EXPECT_EQ(of("fc.weight"), std::pair(1.0, 0.1));
}

TEST(LoraPlus, ARatioOfOneIsOneGroup) {
  Net n = net();
  EXPECT_EQ(AdamW::over(n, {.weight_decay = 0.1}).groups.size(), 1u);
}

TEST(AdamW, TakesOnlyWhatIsTrainableAndHasAGradient) {
  auto m = start();
  freeze(m, "first");
  auto optimizer = AdamW::over(m, {.weight_decay = 0.1});
  ASSERT_EQ(optimizer.groups.size(), 1u);
  EXPECT_EQ(optimizer.groups.front().names, std::vector<std::string>{"second"});
  const Tensor before = m.second.detach().clone();
  optimizer.step(0.1);
  EXPECT_TRUE(m.second.equal(before));
  set_gradients(m, 0);
  optimizer.step(0.1);
  EXPECT_FALSE(m.second.equal(before));
  EXPECT_TRUE(m.first.equal(testing::formula_input("optim.param.0", {2, 3})));
  optimizer.zero_grad();
  EXPECT_FALSE(m.second.grad().defined());
}

TEST(ClipGradients, AsTheReference) {
  int scaled = 0, left = 0;
  for (const auto& run : golden().at("clip")) {
    auto m = start();
    auto optimizer = AdamW::over(m, {});
    set_gradients(m, 0, run.at("grad_scale"));
    const Tensor before = m.first.grad().clone();
    EXPECT_NEAR(clip_gradients(optimizer, run.at("max_norm")), run.at("norm"),
                1e-5 * run.at("norm").get<double>());
    ++(m.first.grad().equal(before) ? left : scaled);
    EXPECT_CLOSE(m.first.grad().flatten(), values(run.at("grads").at(0)), 1e-6);
    EXPECT_CLOSE(m.second.grad(), values(run.at("grads").at(1)), 1e-6);
  }
  EXPECT_GT(scaled, 0);
  EXPECT_GT(left, 0);
}

TEST(ClipGradients, ZeroSetsNoLimit) {
  auto m = start();
  auto optimizer = AdamW::over(m, {});
  EXPECT_EQ(clip_gradients(optimizer, 1), 0);
  set_gradients(m, 0, 1000);
  const Tensor before = m.first.grad().clone();
  EXPECT_GT(clip_gradients(optimizer, 0), 1000);
  EXPECT_TRUE(m.first.grad().equal(before));
}

}  // namespace
}  // namespace morphvlm::optim_test
