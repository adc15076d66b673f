// Adapters that are fresh: their first values, and what of these depends on the weight that they adapt.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"

namespace morphvlm {

namespace detail {

// A projection whose adapter may start from its weight.
template <class P>
concept StartsFromWeight = BaseProjection<P> && requires(P& p, const Tensor& weight) {
  { p.adapter.reads_weight() } -> std::same_as<bool>;
  { p.adapter.changes_weight() } -> std::same_as<bool>;
  { p.adapter.start_from(weight) } -> std::same_as<Tensor>;
};

// Whether the weight can be put back as another one: packed weights would lose what PiSSA has just split off.
template <class P>
concept HoldsDenseWeight = std::is_same_v<decltype(P::weight), Tensor>;

}  // namespace detail

/// Starts a projection's adapter from its weight, where the adapter is of that kind: PiSSA's factors, which
/// are taken out of the weight once, DoRA's magnitudes. `name` leads an Error: PiSSA over a packed weight,
/// see start_as_pissa.
template <class P>
void start_adapter(P& projection, std::string_view name) {
  if constexpr (detail::StartsFromWeight<P>) {
    auto& adapter = projection.adapter;
    if (!adapter.reads_weight()) return;
    if constexpr (detail::HoldsDenseWeight<P>) {
      Tensor rest;
      try {
        rest = adapter.start_from(projection.weight);
      } catch (const Error& e) {
        fail(name, ": ", e.what());
      }
      if (rest.defined()) projection.weight = rest.set_requires_grad(projection.weight.requires_grad());
    } else if (!adapter.lora_A.is_meta()) {
      expect(
          !adapter.changes_weight(), name,
          ": PiSSA starts by changing the weight, which is packed here; start the adapters of a model with "
          "dense weights (init_adapters) and pack that (quantized)");
      adapter.start_from(projection.dense_weight(adapter.lora_A.scalar_type()));
    }
  }
}

/// start_adapter for all projections of `module`. Only what has memory is started.
template <class M>
void start_adapters(M& module) {
  visit_modules(module, [](const std::string& name, auto& node) { start_adapter(node, name); });
}

/// Fresh adapters throughout `module`, on the device and in the dtype of `options`: to be called once the
/// weights are there, of a model whose adapters have no memory yet as of one whose adapters are to be trained
/// anew. Error: PiSSA took its factors out of a weight before; load the weights again.
template <class M>
void init_adapters(M& module, const TensorOptions& options, const at::Generator& generator) {
  visit_modules(module, [&](const std::string& name, auto& node) {
    if constexpr (requires { node.adapter.reset(options, generator); }) {
      if constexpr (requires { node.adapter.base_is_residual; })
        expect(!node.adapter.base_is_residual, name,
               ": PiSSA's factors were taken out of this weight before; load the weights again");
      node.adapter.reset(options, generator);
      start_adapter(node, name);
    }
  });
}

namespace detail {

// Weights whose names (with ".weight") `is_new` accepts have been loaded: adapters that started from the old
// ones start anew. Adapters without memory are left to init_adapters.
template <class M, class F>
void restart_adapters(M& module, F&& is_new) {
  visit_modules(module, [&](const std::string& name, auto& node) {
    if constexpr (StartsFromWeight<std::remove_reference_t<decltype(node)>>) {
      if (!is_new(join_path(name, "weight"))) return;
      node.adapter.base_is_residual = false;
      if (!node.adapter.lora_A.is_meta()) start_adapter(node, name);
    }
  });
}

}  // namespace detail

}  // namespace morphvlm
