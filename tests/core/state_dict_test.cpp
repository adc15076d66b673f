#include "morphvlm/core/state_dict.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.hpp"

namespace morphvlm::state_dict_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::Not;
using ::testing::StartsWith;

struct Pair {
  Tensor weight = {}, bias = {};
};
struct Net {
  Pair first = {}, second = {};
  Tensor gate = {};
};

Net zeros_net(const TensorOptions& options = at::kFloat) {
  auto pair = [&] { return Pair{at::zeros({2, 3}, options), at::zeros({2}, options)}; };
  return {.first = pair(), .second = pair(), .gate = at::zeros({1}, options)};
}

StateDict ones_dict() {
  StateDict dict;
  for (const char* name : {"first", "second"}) {
    dict.emplace_back(std::string(name) + ".weight", at::ones({2, 3}));
    dict.emplace_back(std::string(name) + ".bias", at::ones({2}));
  }
  dict.emplace_back("gate", at::ones({1}));
  return dict;
}

double sum(const Net& net) {
  double total = 0;
  visit(net, [&](const std::string&, const Tensor& t) { total += t.sum().item<double>(); });
  return total;
}

std::vector<std::string> keys(const StateDict& dict) {
  std::vector<std::string> out;
  for (const auto& [key, t] : dict) out.push_back(key);
  return out;
}

TEST(StateDict, HoldsHandlesInTheOrderOfTheFields) {
  Net net = zeros_net();
  unfreeze(net, "*");
  const StateDict dict = state_dict(net);
  EXPECT_THAT(keys(dict), ElementsAre("first.weight", "first.bias", "second.weight", "second.bias", "gate"));
  EXPECT_EQ(dict[0].second.data_ptr(), net.first.weight.data_ptr());
  EXPECT_FALSE(dict[0].second.requires_grad());
  EXPECT_THAT(keys(state_dict(net, "*.bias")), ElementsAre("first.bias", "second.bias"));
}

TEST(StateDict, TrainableStateIsWhatReceivesGradients) {
  Net net = zeros_net();
  EXPECT_THAT(trainable_state(net), IsEmpty());
  unfreeze(net, "second.*");
  EXPECT_THAT(keys(trainable_state(net)), ElementsAre("second.weight", "second.bias"));
}

TEST(LoadStateDict, CopiesIntoTheParametersInAnyOrder) {
  Net net = zeros_net();
  unfreeze(net, "first.*");
  const Tensor handle = net.first.weight;
  StateDict dict = ones_dict();
  std::swap(dict[0], dict[3]);
  load_state_dict(net, dict, "model.safetensors");
  EXPECT_EQ(sum(net), 17);
  // Optimisers and tied parameters keep their handles: the tensor is the same one with other values.
  EXPECT_TRUE(net.first.weight.is_same(handle));
  EXPECT_TRUE(net.first.weight.requires_grad());
  EXPECT_NE(net.first.weight.data_ptr(), dict[3].second.data_ptr());
}

TEST(LoadStateDict, AllThatIsWrongIsInOneErrorAndNothingIsChanged) {
  Net net = zeros_net();
  StateDict dict = ones_dict();
  dict[0].second = at::ones({3, 2});
  dict[1].second = at::ones({2}, at::kHalf);
  dict[2].first = "second.wieght";
  dict.emplace_back("gate", at::ones({1}));
  dict.emplace_back("third.weight", at::ones({1}));
  const std::string message = message_of([&] { load_state_dict(net, dict, "model.safetensors"); });
  EXPECT_THAT(message, StartsWith("model.safetensors: the tensors do not fit the model"));
  EXPECT_THAT(message, HasSubstr("missing (1):\n    second.weight"));
  EXPECT_THAT(message, AllOf(HasSubstr("unexpected (3):"), HasSubstr("    second.wieght"),
                             HasSubstr("    third.weight"), HasSubstr("    gate (a second time)")));
  EXPECT_THAT(message, AllOf(HasSubstr("wrong shape or dtype (2):"),
                             HasSubstr("    first.weight: expected Float [2, 3], found Float [3, 2]"),
                             HasSubstr("    first.bias: expected Float [2], found Half [2]")));
  EXPECT_THAT(message, Not(HasSubstr("second.bias")));
  EXPECT_EQ(sum(net), 0);
}

TEST(LoadStateDict, AnEmptyDictMissesEverything) {
  Net net = zeros_net();
  EXPECT_THAT(message_of([&] { load_state_dict(net, {}, "a"); }), HasSubstr("missing (5):"));
}

TEST(LoadStateDict, APatternNarrowsWhatMustBeThere) {
  Net net = zeros_net();
  const StateDict gate_only{{"gate", at::ones({1})}};
  load_state_dict(net, gate_only, "gates", "*gate");
  EXPECT_EQ(sum(net), 1);
  // Everything in the dict must be asked for, too.
  EXPECT_THAT(message_of([&] { load_state_dict(net, ones_dict(), "gates", "*gate"); }),
              AllOf(HasSubstr("unexpected (4):"), Not(HasSubstr("missing"))));
}

TEST(LoadStateDict, AParameterOnTheMetaDeviceTakesOverTheTensorWithoutACopy) {
  Net net = zeros_net(TensorOptions(at::kFloat).device(at::kMeta));
  unfreeze(net, "gate");
  const StateDict dict = ones_dict();
  load_state_dict(net, dict, "model.safetensors");
  EXPECT_EQ(net.first.weight.data_ptr(), dict[0].second.data_ptr());
  EXPECT_FALSE(net.first.weight.requires_grad());
  EXPECT_TRUE(net.gate.requires_grad());
  EXPECT_FALSE(dict[4].second.requires_grad());
}

TEST(StateDictTools, CastLeavesIntegersAlone) {
  const StateDict dict{{"w", at::ones({2})}, {"ids", at::arange(3)}};
  const StateDict half = cast(dict, at::kHalf);
  EXPECT_EQ(half[0].second.scalar_type(), at::kHalf);
  EXPECT_EQ(half[1].second.scalar_type(), at::kLong);
  EXPECT_EQ(dict[0].second.scalar_type(), at::kFloat);
}

TEST(StateDictTools, StripPrefixKeepsOnlyWhatIsUnderIt) {
  const StateDict dict{{"model.a", at::full({1}, 1.0)}, {"modelx", at::full({1}, 2.0)}, {"model.b.c", {}}};
  EXPECT_THAT(keys(strip_prefix(dict, "model.")), ElementsAre("a", "b.c"));
  EXPECT_EQ(strip_prefix(dict, "model.")[0].second.item<double>(), 1);
}

}  // namespace
}  // namespace morphvlm::state_dict_test
