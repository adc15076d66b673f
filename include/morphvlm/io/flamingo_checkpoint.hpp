// OpenFlamingo's checkpoints, read onto a model whose other parts come from elsewhere, and written.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/io/keys_flamingo.hpp"
#include "morphvlm/io/weight_sources.hpp"

namespace morphvlm {

/// The tensors of a checkpoint as they are called there: a flat dict, or the `model_state_dict` of a training
/// checkpoint; safetensors or torch.save's formats.
inline StateDict read_flamingo_checkpoint(const std::filesystem::path& path) {
  if (path.extension() == ".safetensors") return load_safetensors(path);
  constexpr const char* kWrapped = "model_state_dict";
  const TorchFile file = open_torch(path);
  const auto& root = *file.document.root;
  const bool wrapped = root.kind == PickleNode::Kind::dict && root.find(kWrapped);
  return torch_state_dict(file, wrapped ? kWrapped : "");
}

namespace detail {

// A copy is dropped, another value is an Error: which of the two to believe is not ours to say.
inline void keep_one(std::map<std::string, Tensor>& kept, StateDict& out, const std::string& name,
                     const std::string& key, const Tensor& t, const std::string& where) {
  const auto [it, fresh] = kept.emplace(name, t);
  if (fresh) {
    out.emplace_back(name, t);
  } else {
    const bool same = t.sizes() == it->second.sizes() && t.scalar_type() == it->second.scalar_type() &&
                      (t.const_data_ptr() == it->second.const_data_ptr() || t.equal(it->second));
    expect(same, where, ": tensor \"", key, "\" has another value under its other name \"", name, '"');
  }
}

// Whether `key` is the head of a model whose head is its embedding, of which `dict` has the same values.
template <class M>
bool is_tied_head(const M& language, const std::string& key, const Tensor& t, const StateDict& dict) {
  if (std::ranges::find(kHeadKeys, key) == kHeadKeys.end()) return false;
  bool untied = false;
  std::string table;
  visit(language, [&](const std::string& name, const Tensor&) {
    untied |= std::ranges::find(kHeadKeys, name) != kHeadKeys.end();
    if (table.empty()) table = name;  // the token table comes first in every model
  });
  const auto it = std::ranges::find(dict, table, &StateDict::value_type::first);
  return !untied && it != dict.end() && t.sizes() == it->second.sizes() && t.equal(it->second);
}

}  // namespace detail

/// A language model's weights as HF's files hold them, under `language`'s own names: other spellings renamed,
/// buffers that follow from the config and the copy of a tied head left out.
template <class M>
StateDict language_weights(const M& language, StateDict dict) {
  std::erase_if(dict, [](const auto& item) { return is_derived_buffer(item.first); });
  dict = rename_language(language, std::move(dict));
  const StateDict all = dict;
  std::erase_if(
      dict, [&](const auto& item) { return detail::is_tied_head(language, item.first, item.second, all); });
  return dict;
}

/// A checkpoint's tensors under the names of `model`, a VLM. Second registrations, buffers and the copy of a
/// tied head are left out; foreign names stay, for the strict loader to report. Error: a parameter has two
/// values.
template <class M>
StateDict flamingo_weights(const M& model, const StateDict& dict, const std::string& where) {
  constexpr auto layers_path = M::Language::layers_path;
  std::map<std::string, Tensor> kept;
  StateDict language, rest;
  for (const auto& [key, t] : dict) {
    const std::string name = openflamingo_canonical(key, layers_path);
    const bool decoder =
        name.starts_with(detail::kLanguage) && name.find(".gated_cross_attn_layer.") == std::string::npos;
    if (!decoder) {
      detail::keep_one(kept, rest, name, key, t, where);
      continue;
    }
    std::string plain = name.substr(detail::kLanguage.size());
    detail::replace_once(plain, ".decoder_layer.", ".");
    detail::keep_one(kept, language, plain, key, t, where);
  }
  StateDict out = rename_to_module(model, std::move(rest), [&](const std::string& key) {
    return openflamingo_key(key, layers_path, model.config.cross_attention.every);
  });
  for (auto& [name, t] : language_weights(model.lang_encoder, std::move(language)))
    out.emplace_back(std::string(detail::kLanguage) + name, t);
  return out;
}

/// Puts a checkpoint's tensors into a model that has its other parts from elsewhere; see take_weights. The
/// vocabulary must have its final size (resize_vocabulary) before.
template <class M>
void load_flamingo_checkpoint(M& model, const std::filesystem::path& path, WeightSources& sources) {
  const auto weights = flamingo_weights(model, read_flamingo_checkpoint(path), path.string());
  take_weights(model, weights, path.string(), sources);
}

/// What a checkpoint holds.
enum class FlamingoKeys {
  trained,  ///< perceiver, gated blocks and embeddings: what OpenFlamingo publishes
  whole,    ///< every key of the reference's state dict, second registrations and tied heads included
};

/// A model's parameters under OpenFlamingo's keys. `language` tells another spelling of the language model's
/// keys than ours (hf_mpt_key). Adapters are left out; merge them before, or write them with save_peft.
/// Error: a weight that PiSSA's factors were taken out of, and that would be half of what it was.
template <class M, class F = std::identity>
StateDict openflamingo_state(const M& model, FlamingoKeys which = FlamingoKeys::trained, F language = {}) {
  constexpr auto layers_path = M::Language::layers_path;
  StateDict out;
  visit_modules(model, [&](const std::string& name, const auto& node) {
    if constexpr (requires { node.adapter.base_is_residual; })
      expect(!node.adapter.base_is_residual || is_merged(node.adapter) ||
                 (which == FlamingoKeys::trained && !name.starts_with("gated_cross_attn.")),
             name, ": PiSSA's factors were taken out of this weight; merge_adapters before it is written");
  });
  const auto add = [&](const std::string& name, const Tensor& t) {
    const bool embedding = name.starts_with(detail::kLanguage) &&
                           name.find("embed_out") == std::string::npos &&
                           (name.find("embed") != std::string::npos || name.ends_with(".wte.weight"));
    const bool trained = embedding || name.starts_with("perceiver.") || name.starts_with("gated_cross_attn.");
    if (matches(name, kAdapterParameters) || (which == FlamingoKeys::trained && !trained)) return;
    std::string key = openflamingo_key(language(name), layers_path, model.config.cross_attention.every);
    if (which == FlamingoKeys::whole) {
      detail::replace_once(key, "embed_out.", "lm_head.");
      if (const auto alias = openflamingo_alias(key, layers_path); !alias.empty()) out.emplace_back(alias, t);
    }
    out.emplace_back(std::move(key), t);
  };
  for (const auto& [name, t] : state_dict(model)) add(name, t);
  const std::string head = std::string(detail::kLanguage) + std::string(head_key(layers_path));
  const bool tied = std::ranges::find(out, head, &StateDict::value_type::first) == out.end();
  if (which == FlamingoKeys::whole && tied)
    out.emplace_back(head, state_dict(model.lang_encoder).front().second);
  return out;
}

/// Writes a checkpoint as safetensors (torch: `safetensors.torch.load_file`). See openflamingo_state. Error:
/// adapters are not merged, so that they would be missing.
template <class M, class F = std::identity>
void save_flamingo_checkpoint(const M& model, const std::filesystem::path& path,
                              FlamingoKeys which = FlamingoKeys::trained, F language = {}) {
  bool silent = true;
  visit_modules(model, [&](const std::string&, const auto& node) {
    if constexpr (detail::AdaptedProjection<std::remove_reference_t<decltype(node)>>)
      silent &= is_merged(node.adapter);
  });
  expect(silent, path.string(),
         ": the model has adapters that are not merged into its weights and would be "
         "left out; merge_adapters, or save_peft for a file of their own");
  save_safetensors(path, openflamingo_state(model, which, language), {{"format", "pt"}});
}

}  // namespace morphvlm
