// What an adapter policy costs and where it reaches, mostly at compile time.
#include "morphvlm/adapt/policy.hpp"

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <type_traits>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/masked_cross_attention.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm::policy_test {
namespace {

using ::testing::ElementsAre;

// A Linear that never heard of adapters.
struct Weights {
  Tensor weight, bias;
};
static_assert(sizeof(Tensor) == 8 && sizeof(Linear<>) == sizeof(Weights) && sizeof(Linear<>) == 16);
static_assert(sizeof(Linear<LowRank>) == sizeof(Weights) + sizeof(LowRank));
static_assert(std::is_same_v<Linear<>, Linear<NoWeights>>);

// Which of the four sites a policy adapts, in the order SelfAttn, CrossAttn, Mlp, CrossMlp.
template <class P>
constexpr std::array<bool, 4> kPlacement = {adapts<P, SelfAttn>, adapts<P, CrossAttn>, adapts<P, Mlp>,
                                            adapts<P, CrossMlp>};
template <class P>
constexpr bool places(bool self_attn, bool cross_attn, bool mlp, bool cross_mlp) {
  return kPlacement<P> == std::array{self_attn, cross_attn, mlp, cross_mlp};
}

static_assert(places<NoAdapter>(false, false, false, false));
static_assert(places<LoRA<SelfAttn>>(true, false, false, false));
static_assert(places<LoRA<CrossAttn>>(false, true, false, false));
static_assert(places<LoRA<Mlp>>(false, false, true, false));
static_assert(places<LoRA<CrossMlp>>(false, false, false, true));
static_assert(places<LoRA<SelfAttn, CrossAttn>>(true, true, false, false));
static_assert(places<LoRA<SelfAttn, Mlp>>(true, false, true, false));
static_assert(places<LoRA<SelfAttn, CrossMlp>>(true, false, false, true));
static_assert(places<LoRA<CrossAttn, Mlp>>(false, true, true, false));
static_assert(places<LoRA<CrossAttn, CrossMlp>>(false, true, false, true));
static_assert(places<LoRA<Mlp, CrossMlp>>(false, false, true, true));
static_assert(places<LoRA<SelfAttn, CrossAttn, Mlp>>(true, true, true, false));
static_assert(places<LoRA<SelfAttn, CrossAttn, CrossMlp>>(true, true, false, true));
static_assert(places<LoRA<SelfAttn, Mlp, CrossMlp>>(true, false, true, true));
static_assert(places<LoRA<CrossAttn, Mlp, CrossMlp>>(false, true, true, true));
static_assert(places<LoRA<SelfAttn, CrossAttn, Mlp, CrossMlp>>(true, true, true, true));
static_assert(places<LoRA<Attn>>(true, true, false, false));
static_assert(places<LoRA<FeedForward>>(false, false, true, true));
static_assert(places<LoRA<Attn, CrossMlp>>(true, true, false, true));
static_assert(places<LoRA<Attn, FeedForward>>(true, true, true, true));
static_assert(places<DoRA<Attn>>(true, true, false, false));
static_assert(places<DoRA<SelfAttn, CrossMlp>>(true, false, false, true));
static_assert(places<DoRA<Attn, FeedForward>>(true, true, true, true));
// Lists may be nested, repeat themselves and come in any order.
static_assert(places<LoRA<Sites<Sites<CrossMlp>, Attn>, SelfAttn>>(true, true, false, true));

static_assert(std::is_same_v<AdapterAt<LoRA<Attn>, SelfAttn>, LowRank> &&
              std::is_same_v<AdapterAt<LoRA<Attn>, Mlp>, NoWeights>);
static_assert(std::is_same_v<AdapterAt<DoRA<Mlp>, Mlp>, WeightDecomposed> &&
              std::is_same_v<AdapterAt<DoRA<Mlp>, SelfAttn>, NoWeights>);
static_assert(std::is_same_v<AdapterAt<NoAdapter, CrossMlp>, NoWeights>);
// Only what needs the weight is handed the projection.
static_assert(ProjectingAdapter<WeightDecomposed, Linear<WeightDecomposed>> &&
              !ProjectingAdapter<LowRank, Linear<LowRank>>);
static_assert(sizeof(LowRank) == 2 * sizeof(Tensor) + 16);

static_assert(covers<Attn, SelfAttn> && covers<Attn, CrossAttn> && !covers<Attn, Mlp> &&
              !covers<Attn, CrossMlp>);
static_assert(covers<Mlp, Mlp> && !covers<Mlp, CrossMlp> && !covers<Sites<>, Mlp>);
static_assert(SiteList<Attn> && SiteList<Mlp> && SiteList<Sites<Attn, Mlp>>);
static_assert(!SiteList<int> && !SiteList<Sites<Attn, int>> && !AdapterSite<Attn> && !AdapterSite<void>);
static_assert(AdapterPolicy<NoAdapter> && AdapterPolicy<LoRA<Attn>>);
static_assert(!AdapterPolicy<int> && !AdapterPolicy<NoWeights> && !AdapterPolicy<SelfAttn> &&
              !AdapterPolicy<LowRank>);

// A placement elsewhere leaves a module's projections plain.
static_assert(std::is_same_v<SelfAttention<LoRA<CrossMlp>>::Proj, Linear<>>);
static_assert(std::is_same_v<SelfAttention<LoRA<Attn>>::Proj, Linear<LowRank>>);
static_assert(std::is_same_v<MaskedCrossAttention<LoRA<SelfAttn>>::Proj, Linear<>>);
static_assert(std::is_same_v<MaskedCrossAttention<LoRA<CrossAttn>>::Proj, Linear<LowRank>>);
static_assert(std::is_same_v<SwiGlu<LoRA<CrossMlp>>::Proj, Linear<>>);
static_assert(std::is_same_v<SwiGlu<LoRA<FeedForward>>::Proj, Linear<LowRank>>);
static_assert(sizeof(SelfAttention<LoRA<CrossMlp>>) == sizeof(SelfAttention<NoAdapter>));
static_assert(sizeof(SwiGlu<LoRA<Attn>>) == 3 * sizeof(Weights));

template <class M>
std::vector<std::string> names(const M& module) {
  std::vector<std::string> found;
  for (const auto& [name, t] : state_dict(module)) found.push_back(name);
  return found;
}

TEST(Policy, AnAdapterAddsItsTwoFactorsToTheStateDict) {
  const Init init{};
  EXPECT_THAT(names(Linear<>::init(3, 2, true, init)), ElementsAre("weight", "bias"));
  EXPECT_THAT(names(Linear<LowRank>::init(3, 2, false, init, LoRAConfig{})),
              ElementsAre("weight", "adapter.lora_A", "adapter.lora_B"));
  EXPECT_THAT(names(SwiGlu<LoRA<Mlp>>::init(4, 6, init)),
              ElementsAre("gate_proj.weight", "gate_proj.adapter.lora_A", "gate_proj.adapter.lora_B",
                          "up_proj.weight", "up_proj.adapter.lora_A", "up_proj.adapter.lora_B",
                          "down_proj.weight", "down_proj.adapter.lora_A", "down_proj.adapter.lora_B"));
}

// A policy of a user's own: a trained offset behind the self-attention's projections.
struct Offset {
  Tensor offset = {};
  Tensor operator()(const Tensor&) const { return offset; }
  static Offset init(std::int64_t, std::int64_t out, const double& start, const TensorOptions& options,
                     const at::Generator&) {
    return {.offset = at::ones({out}, options).mul(start)};
  }
};
struct Offsets {
  using Config = double;
  template <AdapterSite S>
  using At = std::conditional_t<std::is_same_v<S, SelfAttn>, Offset, NoWeights>;
};
static_assert(AdapterPolicy<Offsets> && places<Offsets>(true, false, false, false));

TEST(Policy, ANewKindOfAdapterNeedsNoChangeToTheLayers) {
  auto linear = Linear<AdapterAt<Offsets, SelfAttn>>::init(3, 2, false, Init{}, 0.25);
  EXPECT_THAT(names(linear), ElementsAre("weight", "adapter.offset"));
  linear.weight.zero_();
  EXPECT_TRUE(linear(at::ones({4, 3})).equal(at::ones({4, 2}).mul(0.25)));
  const auto attention =
      SelfAttention<Offsets>::init({.dim = 4, .heads = 2, .kv_heads = 1, .head_dim = 2}, Init{}, 0.5);
  EXPECT_EQ(parameter_count(attention, "*.offset"), 4 + 2 + 2 + 4);
}

// A policy of a user's own that needs the weight: each output over its row's length.
struct UnitRows {
  Tensor gain = {};
  template <class Base>
  Tensor project(const Tensor& x, const Base& base) const {
    const Tensor norms = base.dense_weight(x.scalar_type()).square().sum(1).sqrt();
    const Tensor y = base.base_product(x).div(norms).mul(gain);
    return base.bias.defined() ? y.add(base.bias) : y;
  }
  static UnitRows init(std::int64_t, std::int64_t out, const double& start, const TensorOptions& options,
                       const at::Generator&) {
    return {.gain = at::ones({out}, options).mul(start)};
  }
};
struct UnitRowsEverywhere {
  using Config = double;
  template <AdapterSite S>
  using At = UnitRows;
};
static_assert(AdapterPolicy<UnitRowsEverywhere> && places<UnitRowsEverywhere>(true, true, true, true));

TEST(Policy, AnAdapterThatNeedsTheWeightGetsTheProjection) {
  auto linear = Linear<UnitRows>::init(3, 2, true, Init{}, 2.0);
  linear.weight = at::tensor({3.0F, 4.0F, 0.0F, 0.0F, 0.0F, 5.0F}).reshape({2, 3});
  linear.bias = at::tensor({10.0F, 20.0F});
  // Products (7, 5), lengths (5, 5), gain 2.
  EXPECT_TRUE(linear(at::ones({3})).allclose(at::tensor({12.8F, 22.0F})));
  const auto attention = SelfAttention<UnitRowsEverywhere>::init(
      {.dim = 4, .heads = 2, .kv_heads = 1, .head_dim = 2}, Init{}, 1.0);
  EXPECT_EQ(parameter_count(attention, "*.gain"), 4 + 2 + 2 + 4);
}

}  // namespace
}  // namespace morphvlm::policy_test
