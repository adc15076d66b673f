// An adapter policy says, for each site, which adapter a projection there carries. It is a type, so an
// unadapted projection costs nothing, and a model cannot be told one placement and built with another.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/site.hpp"
#include "morphvlm/adapt/weight_decomposed.hpp"

namespace morphvlm {

/// Nothing is adapted.
struct NoAdapter {
  /// Nothing to be configured.
  struct Config {};
  /// No adapter, whatever the site.
  template <AdapterSite S>
  using At = NoWeights;
};

/// LoRA at the listed sites: `LoRA<Attn>`, `LoRA<Attn, CrossMlp>` (Multimodal-GPT's default), ...
template <class... S>
struct LoRA {
  static_assert(sizeof...(S) > 0,
                "morphvlm: LoRA<> names no site; say NoAdapter for a model without adapters");
  static_assert(
      (SiteList<S> && ...),
      "morphvlm: LoRA<...> takes adapter sites: SelfAttn, CrossAttn, Mlp, CrossMlp, Attn, FeedForward");
  /// One config for the adapters of all sites.
  using Config = LoRAConfig;
  /// LowRank at the listed sites, NoWeights elsewhere.
  template <AdapterSite Site>
  using At = std::conditional_t<covers<Sites<S...>, Site>, LowRank, NoWeights>;
};

/// DoRA at the listed sites: `DoRA<Attn>`, as LoRA's.
template <class... S>
struct DoRA {
  static_assert(sizeof...(S) > 0,
                "morphvlm: DoRA<> names no site; say NoAdapter for a model without adapters");
  static_assert(
      (SiteList<S> && ...),
      "morphvlm: DoRA<...> takes adapter sites: SelfAttn, CrossAttn, Mlp, CrossMlp, Attn, FeedForward");
  /// One config for the adapters of all sites.
  using Config = LoRAConfig;
  /// WeightDecomposed at the listed sites, NoWeights elsewhere.
  template <AdapterSite Site>
  using At = std::conditional_t<covers<Sites<S...>, Site>, WeightDecomposed, NoWeights>;
};

/// What a model template takes as its adapter argument.
template <class P>
concept AdapterPolicy = requires {
  typename P::Config;
  typename P::template At<SelfAttn>;
  typename P::template At<CrossAttn>;
  typename P::template At<Mlp>;
  typename P::template At<CrossMlp>;
};

/// The adapter that policy P puts at a site: `Linear<AdapterAt<P, SelfAttn>>`.
template <AdapterPolicy P, AdapterSite S>
using AdapterAt = typename P::template At<S>;

/// Whether policy P adapts the site at all.
template <AdapterPolicy P, AdapterSite S>
inline constexpr bool adapts = !std::is_same_v<AdapterAt<P, S>, NoWeights>;

/// Builds the adapter `A` for a projection in -> out. A new kind of adapter overloads or specialises this.
template <class A, class Config>
A make_adapter(std::int64_t in, std::int64_t out, const Config& config, const TensorOptions& options,
               const at::Generator& generator) {
  if constexpr (std::is_same_v<A, NoWeights>) {
    return {};
  } else {
    return A::init(in, out, config, options, generator);
  }
}

/// A projection as its adapter may use it: its product without bias and adapter, its weight however it is
/// kept, its bias (undefined: none).
template <class P>
concept BaseProjection = requires(const P& base, const Tensor& x) {
  { base.base_product(x) } -> std::same_as<Tensor>;
  { base.dense_weight(at::kFloat) } -> std::same_as<Tensor>;
  { base.bias } -> std::convertible_to<Tensor>;
};

/// An adapter that is more than a term: `project(x, base)` is then all that the projection does.
template <class A, class P>
concept ProjectingAdapter = requires(const A& adapter, const P& base, const Tensor& x) {
  { adapter.project(x, base) } -> std::same_as<Tensor>;
};

/// y plus the adapter's term of x, in y's memory; no backward pass may need y as it was.
template <class A>
Tensor add_adapter(const A& adapter, Tensor y, const Tensor& x) {
  if constexpr (requires { adapter.add_to(y, x); }) {
    return adapter.add_to(std::move(y), x);
  } else {
    return y.add_(adapter(x));
  }
}

/// Whether an adapter's term is in the base's weight already, or there is no adapter: nothing is to be added.
template <class A>
bool is_merged(const A& adapter) {
  if constexpr (requires { adapter.merged; }) {
    return adapter.merged;
  } else {
    return std::is_same_v<A, NoWeights>;
  }
}

}  // namespace morphvlm
