// A model's modules as PEFT sees them: under which name, and with which adapter.
#pragma once

#include <concepts>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/io/keys_peft.hpp"

namespace morphvlm {

namespace detail {

// A module with a weight, and its adapter where it carries one.
struct Slot {
  std::string module = {};                                      // our name
  std::string canonical = {};                                   // see peft_canonical
  Tensor lora_A = {}, lora_B = {}, lora_magnitude_vector = {};  // the last one DoRA's
  Tensor weight = {};                                           // of an adapted module
  double scale = 0;
  LoRAInit start = LoRAInit::kaiming;
  bool base_is_residual = false;

  bool adapted() const { return lora_A.defined(); }
};

template <class M>
concept HasGatedBlocks = requires(const M& m) {
  M::Language::layers_path;
  m.gated_cross_attn;
};

/// Names of a model's modules in PEFT's trees.
template <class M>
std::string tree_name(const M& model, const std::string& module, PeftTree tree) {
  if constexpr (HasGatedBlocks<M>) {
    return peft_module(module, tree, M::Language::layers_path, model.config.cross_attention.every);
  } else {
    expect(tree == PeftTree::language_model, "a language model alone has no tree of OpenFlamingo");
    return peft_module(module, tree, {}, 1);
  }
}

template <class M>
std::string_view layers_path_of(const M&) {
  if constexpr (HasGatedBlocks<M>) return M::Language::layers_path;
  return "layers";
}

template <class M>
std::vector<Slot> slots(const M& model) {
  constexpr auto whole = HasGatedBlocks<M> ? PeftTree::lang_encoder : PeftTree::language_model;
  std::vector<Slot> found;
  visit_modules(model, [&](const std::string& name, const auto& node) {
    if constexpr (requires {
                    { node.weight.defined() } -> std::same_as<bool>;
                  }) {
      Slot slot{.module = name,
                .canonical = peft_canonical(tree_name(model, name, whole), layers_path_of(model))};
      if constexpr (AdaptedProjection<std::remove_reference_t<decltype(node)>> &&
                    requires { node.adapter.lora_A; }) {
        const auto& adapter = node.adapter;
        slot.lora_A = adapter.lora_A, slot.lora_B = adapter.lora_B, slot.scale = adapter.scale;
        slot.start = adapter.start, slot.base_is_residual = adapter.base_is_residual;
        slot.weight = node.weight;
        if constexpr (requires { adapter.lora_magnitude_vector; })
          slot.lora_magnitude_vector = adapter.lora_magnitude_vector;
      }
      found.push_back(std::move(slot));
    }
  });
  return found;
}

inline std::set<std::string> sites_of(const std::vector<Slot>& slots) {
  std::set<std::string> sites;
  for (const auto& slot : slots) {
    if (slot.adapted()) sites.emplace(peft_site(slot.canonical));
  }
  return sites;
}

}  // namespace detail

}  // namespace morphvlm
