// Folding adapters into the weights they adapt, and taking them out again.
#pragma once

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/module.hpp"
#include "morphvlm/core/state_dict.hpp"

namespace morphvlm {

namespace detail {

template <class N>
concept AdaptedProjection = requires(N& n, Tensor& weight) {
  { n.weight } -> std::convertible_to<Tensor>;
  { n.adapter.merged } -> std::convertible_to<bool>;
  { n.adapter.merged_into(weight) } -> std::same_as<Tensor>;
};

// What walks call is a class that no adapter's type is part of either.
struct Adapted {
  std::string name;
  Tensor* weight;
  void* adapter;
  const bool* merged;
  void (*merge)(void* adapter, Tensor& weight);
  void (*unmerge)(void* adapter, Tensor& weight);
};

struct CollectAdapted {
  std::vector<Adapted> found = {};

  template <class Node>
  void operator()(const std::string& name, Node& node) {
    if constexpr (AdaptedProjection<Node>) {
      using Adapter = std::remove_reference_t<decltype(node.adapter)>;
      found.push_back({name, &node.weight, &node.adapter, &node.adapter.merged,
                       [](void* a, Tensor& weight) { static_cast<Adapter*>(a)->merge_into(weight); },
                       [](void* a, Tensor& weight) { static_cast<Adapter*>(a)->take_out_of(weight); }});
    }
  }
};

// Found by one walk, whatever is then done with them: see CollectTensors.
template <class M>
std::vector<Adapted> adapted_projections(M& module) {
  CollectAdapted collect;
  visit_modules(module, collect);
  return std::move(collect.found);
}

// Merges what is not merged, or the other way round.
inline std::int64_t set_merged(const std::vector<Adapted>& all, bool merged) {
  at::NoGradGuard no_grad;
  std::int64_t count = 0;
  for (const auto& a : all) {
    if (*a.merged == merged) continue;
    (merged ? a.merge : a.unmerge)(a.adapter, *a.weight);
    ++count;
  }
  return count;
}

}  // namespace detail

/// Puts every adapter into the weight that it adapts (LoRA: W += scale * B A), and it then stays silent:
/// logits stay the same up to rounding. The weights are copied first (they may be mapped from a file, or
/// shared). Returns how many projections were merged; those that are merged already are left alone. Factors
/// are kept for unmerge_adapters and must not be changed before it. PyTorch equivalent: PEFT's
/// `merge_adapter`.
template <class M>
std::int64_t merge_adapters(M& module) {
  return detail::set_merged(detail::adapted_projections(module), true);
}

/// Takes every merged adapter out of its weight again, and it then acts: the inverse of merge_adapters up to
/// one rounding of W. Returns how many projections were unmerged.
template <class M>
std::int64_t unmerge_adapters(M& module) {
  return detail::set_merged(detail::adapted_projections(module), false);
}

/// How many projections are merged at present.
template <class M>
std::int64_t merged_count(const M& module) {
  // The walk only takes addresses.
  return std::ranges::count_if(detail::adapted_projections(const_cast<M&>(module)),
                               [](const detail::Adapted& a) { return *a.merged; });
}

/// What a projection does altogether: its weight with the adapter's term in it, whether it is merged or not.
/// [out, in]; the module's own tensor where nothing has to be added.
template <class Projection>
Tensor merged_weight(const Projection& projection) {
  if constexpr (detail::AdaptedProjection<const Projection>) {
    at::NoGradGuard no_grad;
    if (!projection.adapter.merged) return projection.adapter.merged_into(projection.weight);
  }
  return projection.weight.detach();
}

/// All parameters of a module as if its adapters were merged, and without them: the state dict of the plain
/// model that does the same. The module is not changed; adapted weights are new tensors, the rest its own.
template <class M>
StateDict merged_state(const M& module) {
  std::unordered_map<std::string, Tensor> merged;
  std::vector<std::string> adapters;
  visit_modules(module, [&](const std::string& name, const auto& node) {
    if constexpr (detail::AdaptedProjection<std::remove_reference_t<decltype(node)>>) {
      merged.emplace(detail::join_path(name, "weight"), merged_weight(node));
      adapters.push_back(detail::join_path(name, "adapter."));
    }
  });
  StateDict out;
  for (const auto& entry : state_dict(module)) {
    const auto holds_it = [&](const std::string& prefix) { return entry.first.starts_with(prefix); };
    if (std::ranges::any_of(adapters, holds_it)) continue;
    const auto it = merged.find(entry.first);
    out.push_back(it == merged.end() ? entry : StateDict::value_type(entry.first, it->second));
  }
  return out;
}

}  // namespace morphvlm
