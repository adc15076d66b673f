#include "morphvlm/core/module.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace morphvlm::module_test {
namespace {

using ::testing::ElementsAre;

struct Leaf {
  Tensor weight = {}, bias = {};
};

struct LeafConfig {
  double eps = 1e-5;
  std::vector<std::int64_t> sizes = {1, 2};
  std::string name = "leaf";
};

struct Empty {};

struct Block {
  Leaf proj = {};
  [[no_unique_address]] Empty adapter = {};
  std::int64_t heads = 4;
  std::optional<Leaf> extra = {};
};

struct Tower {
  Tensor latents = {};
  std::vector<Block> layers = {};
  std::vector<Tensor> tables = {};
  LeafConfig config = {};
  Leaf norm = {};
};

Leaf leaf(std::int64_t n, bool with_bias) {
  return {.weight = at::ones({n, 2}), .bias = with_bias ? at::zeros({n}) : Tensor{}};
}

Tower tower() {
  Tower t{.latents = at::ones({5})};
  t.layers.push_back({.proj = leaf(3, true)});
  t.layers.push_back({.proj = leaf(4, false), .extra = leaf(1, true)});
  t.tables = {at::ones({7}), {}, at::ones({8})};
  t.norm = leaf(2, false);
  return t;
}

std::vector<std::string> names(const auto& module) {
  std::vector<std::string> found;
  visit(module, [&](const std::string& name, const Tensor&) { found.push_back(name); });
  return found;
}

std::vector<std::string> trainable_names(const auto& module) {
  std::vector<std::string> found;
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (t.requires_grad()) found.push_back(name);
  });
  return found;
}

TEST(Visit, NamesAreFieldsJoinedByDotsInTheirOrderAndUndefinedTensorsDoNotCount) {
  EXPECT_THAT(names(tower()), ElementsAre("latents", "layers.0.proj.weight", "layers.0.proj.bias",
                                          "layers.1.proj.weight", "layers.1.extra.weight",
                                          "layers.1.extra.bias", "tables.0", "tables.2", "norm.weight"));
  EXPECT_THAT(names(Tower{}), ElementsAre());
}

TEST(Visit, GivesTheTensorsThemselves) {
  Tower t = tower();
  visit(t, [](const std::string& name, Tensor& tensor) {
    if (name == "layers.1.extra.bias") tensor = at::ones({9});
  });
  EXPECT_EQ(t.layers[1].extra->bias.numel(), 9);
}

TEST(VisitModules, ReachesAggregatesParentsFirst) {
  std::vector<std::string> found;
  Tower t = tower();
  visit_modules(t, [&](const std::string& name, auto&) { found.push_back(name); });
  EXPECT_THAT(found, ElementsAre("", "layers.0", "layers.0.proj", "layers.1", "layers.1.proj",
                                 "layers.1.extra", "norm"));
}

TEST(Matches, AStarIsAnyRunOfCharacters) {
  EXPECT_TRUE(matches("a.b.c", "*"));
  EXPECT_TRUE(matches("", "*"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_TRUE(matches("a.b.c", "a.b.c"));
  EXPECT_TRUE(matches("a.b.c", "a.*"));
  EXPECT_TRUE(matches("a.b.c", "*.c"));
  EXPECT_TRUE(matches("a.b.c", "a*c"));
  EXPECT_TRUE(matches("a.b.c", "a**c*"));
  EXPECT_TRUE(matches("layers.10.adapter.lora_A", "*.adapter.*"));
  // The first place where a star's rest fits need not be the right one.
  EXPECT_TRUE(matches("x.gate.y_gate", "x*_gate"));
  EXPECT_TRUE(matches("aab", "*ab"));
}

TEST(Matches, AnythingElseIsLiteralAndTheWholeNameCounts) {
  EXPECT_FALSE(matches("a.b.c", "a.b"));
  EXPECT_FALSE(matches("a.b", "a.b.c"));
  EXPECT_FALSE(matches("a.b.c", "b*"));
  EXPECT_FALSE(matches("a.b.c", ""));
  EXPECT_FALSE(matches("axb", "a.b"));
  EXPECT_FALSE(matches("a.b", "a?b"));
  EXPECT_FALSE(matches("perceiver.adapter", "*.adapter.*"));
  EXPECT_FALSE(matches("abc", "*abcd"));
}

TEST(Freeze, ByPatternReturningHowManyTensorsMatched) {
  Tower t = tower();
  EXPECT_EQ(unfreeze(t, "*"), 9);
  EXPECT_EQ(trainable_count(t), parameter_count(t));
  EXPECT_EQ(freeze(t, "layers.*"), 5);
  EXPECT_THAT(trainable_names(t), ElementsAre("latents", "tables.0", "tables.2", "norm.weight"));
  EXPECT_EQ(unfreeze(t, "*.bias"), 2);
  EXPECT_THAT(trainable_names(t), ElementsAre("latents", "layers.0.proj.bias", "layers.1.extra.bias",
                                              "tables.0", "tables.2", "norm.weight"));
  EXPECT_EQ(set_trainable(t, "no_such_field", true), 0);
  EXPECT_EQ(freeze(t), 9);
  EXPECT_EQ(trainable_count(t), 0);
}

TEST(ParameterCount, CountsScalars) {
  Tower t = tower();
  EXPECT_EQ(parameter_count(t), 5 + (6 + 3) + 8 + (2 + 1) + 7 + 8 + 4);
  EXPECT_EQ(parameter_count(t, "layers.*.weight"), 6 + 8 + 2);
  unfreeze(t, "layers.0.*");
  EXPECT_EQ(trainable_count(t), 9);
}

TEST(ParameterCount, IsExactOnTheMetaDeviceBeyondAnyMemory) {
  const Leaf leaf{.weight = at::empty({1'000'000, 3'000'001}, TensorOptions(at::kFloat).device(at::kMeta))};
  EXPECT_EQ(parameter_count(leaf), 3'000'001'000'000);
}

TEST(DeviceOf, IsWhereTheParametersAre) {
  const Leaf leaf{.weight = at::empty({2, 3}, TensorOptions(at::kFloat).device(at::kMeta))};
  EXPECT_TRUE(device_of(leaf).is_meta());
  EXPECT_TRUE(device_of(tower()).is_cpu());
  EXPECT_TRUE(device_of(Leaf{}).is_cpu());
}

TEST(Convert, ChangesDtypeByPatternAndKeepsWhatIsTrainable) {
  Tower t = tower();
  unfreeze(t, "layers.0.*");
  const Tensor latents = t.latents;
  convert(t, at::kBFloat16, "layers.*");
  EXPECT_EQ(t.layers[0].proj.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(t.layers[1].proj.weight.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(t.latents.is_same(latents));
  EXPECT_THAT(trainable_names(t), ElementsAre("layers.0.proj.weight", "layers.0.proj.bias"));
  // A converted parameter is the start of the graph, not a result of what it was converted from.
  EXPECT_TRUE(t.layers[0].proj.weight.is_leaf());
  EXPECT_TRUE(t.layers[0].proj.weight.to(at::kFloat).equal(at::ones({3, 2})));
}

}  // namespace
}  // namespace morphvlm::module_test
