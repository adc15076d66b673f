// Adapter folders of PEFT, read into a model with LoRA and written from one.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/io/adapter_folder.hpp"
#include "morphvlm/io/keys_peft.hpp"
#include "morphvlm/io/peft_config.hpp"
#include "morphvlm/io/peft_slots.hpp"

namespace morphvlm {

/// An adapter folder as it is read.
struct PeftAdapter {
  LoRAConfig lora = {};    ///< of the config, see PeftOptions
  bool dora = false;       ///< of the config: the adapters are DoRA's
  Json config = {};        ///< adapter_config.json
  StateDict tensors = {};  ///< under PEFT's keys
  std::string where = {};  ///< the folder, leads every message
};

/// Whether `folder` looks like one of PEFT's.
inline bool is_peft_folder(const std::filesystem::path& folder) {
  return std::filesystem::exists(adapter_folder(folder) / kPeftConfig);
}

namespace detail {

// A model is built with the rank before a tensor of the folder is looked at: it must not be a mere claim.
inline void expect_rank(const PeftAdapter& adapter, const std::string& where) {
  const auto has_rank = [&](const auto& item) {
    const at::IntArrayRef sizes = item.second.sizes();
    return std::ranges::find(sizes, adapter.lora.rank) != sizes.end();
  };
  expect(adapter.tensors.empty() || std::ranges::any_of(adapter.tensors, has_rank), where, ": r: found ",
         adapter.lora.rank, ", which no tensor of the folder has as a size");
}

}  // namespace detail

/// Reads a folder that PEFT's `save_pretrained` wrote (safetensors, or .bin). See parse_peft_config. `from`
/// may be a run's folder, see adapter_folder. Errors: a rank that no tensor has, a number that is not finite.
inline PeftAdapter read_peft(const std::filesystem::path& from) {
  const auto folder = adapter_folder(from);
  const auto where = (folder / kPeftConfig).string();
  PeftAdapter adapter{.config = read_json(where), .where = folder.string()};
  const auto options = parse_peft_config(adapter.config, where);
  adapter.lora = options.lora, adapter.dora = options.dora;
  const bool pickled =
      !std::filesystem::exists(folder / kPeftWeights) && std::filesystem::exists(folder / kPeftTorchWeights);
  adapter.tensors =
      pickled ? load_torch(folder / kPeftTorchWeights) : load_safetensors(folder / kPeftWeights);
  detail::expect_rank(adapter, where);
  expect_finite(adapter.tensors, adapter.where);
  return adapter;
}

/// The sites that an adapter folder has adapters at: of SelfAttn, CrossAttn, Mlp, CrossMlp. Error: adapters
/// that sit elsewhere.
inline std::set<std::string> peft_sites(const PeftAdapter& adapter) {
  std::set<std::string> sites;
  for (const auto& [key, t] : adapter.tensors) {
    const auto module = parse_peft_key(key, adapter.where).module;
    const auto site = peft_site(peft_canonical(module, "layers"));
    expect(!site.empty(), adapter.where, ": module \"", module, "\" is at no adapter site");
    sites.emplace(site);
  }
  return sites;
}

namespace detail {

inline std::string list(const std::set<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text.empty() ? "nothing" : text;
}

inline std::string selections(const Json& config) {
  std::string text;
  for (const auto key : kPeftSelections) {
    const auto it = config.find(key);
    if (it != config.end() && !says_nothing(*it)) text += "\n  " + std::string(key) + ": " + it->dump();
  }
  return text;
}

// The file's tensors by canonical name of module and factor. A tensor under two names must be the same.
inline std::map<std::string, Tensor> by_canonical_name(const PeftAdapter& adapter,
                                                       std::string_view layers_path) {
  std::map<std::string, Tensor> found;
  for (const auto& [key, t] : adapter.tensors) {
    const auto [module, factor] = parse_peft_key(key, adapter.where);
    const auto [it, fresh] =
        found.emplace(peft_canonical(module, layers_path) + '.' + std::string(peft_factor_name(factor)), t);
    expect(fresh || it->second.equal(t), adapter.where, ": tensor \"", key,
           "\" has another value under another name of the same module");
  }
  return found;
}

}  // namespace detail

/// How strictly load_peft takes a model's policy.
struct PeftLoad {
  /// A site of the model that the folder has nothing at gets adapters that add nothing, instead of an Error.
  bool sites_may_be_missing = false;
};

namespace detail {

inline void expect_same_sites(const PeftAdapter& adapter, const std::vector<Slot>& slots,
                              const PeftLoad& options) {
  const auto here = sites_of(slots), there = peft_sites(adapter);
  const bool covered = std::ranges::includes(here, there);
  expect(covered && (options.sites_may_be_missing || here == there), adapter.where, ": adapters at ",
         list(there), "; the model's type has them at ", list(here));
}

inline void expect_same_kind(const PeftAdapter& adapter, const std::vector<Slot>& slots) {
  for (const auto& slot : slots) {
    if (!slot.adapted()) continue;
    const bool dora = slot.lora_magnitude_vector.defined();
    expect(dora == adapter.dora, adapter.where, ": use_dora: found ", adapter.dora ? "true" : "false", "; ",
           slot.module, " has ", dora ? "DoRA's" : "LoRA's", " adapter. Build a model whose policy is ",
           dora ? "LoRA<...>" : "DoRA<...>");
    expect(slot.start == adapter.lora.init, adapter.where, ": init_lora_weights: found ",
           enum_name(adapter.lora.init), "; ", slot.module, " was built with ", enum_name(slot.start),
           ". Build the model with the folder's config (PeftAdapter::lora)");
  }
}

inline bool same_scale(double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(b); }

inline void expect_same_scale(const PeftAdapter& adapter, const std::vector<Slot>& slots) {
  const double scale = adapter.lora.scale();
  for (const auto& slot : slots) {
    expect(!slot.adapted() || same_scale(slot.scale, scale), adapter.where, ": r ", adapter.lora.rank,
           ", lora_alpha ", adapter.lora.alpha, adapter.lora.rank_stabilized ? " (rsLoRA)" : "",
           " make a scale of ", scale, "; ", slot.module, " was built with ", slot.scale,
           ". Build the model with the folder's config (PeftAdapter::lora)");
  }
}

// What makes an adapter add nothing.
inline Tensor silent_value(const Slot& slot, char factor, const Tensor& parameter) {
  if (factor == 'M') return at::linalg_vector_norm(slot.weight.detach().to(parameter.scalar_type()), 2, {1});
  const auto device = parameter.is_meta() ? at::kCPU : parameter.device();
  return at::zeros(parameter.sizes(), parameter.options().device(device).requires_grad(false));
}

// Our keys and the values they get, for every adapter of the model.
inline StateDict peft_values(const PeftAdapter& adapter, const std::vector<Slot>& slots,
                             std::string_view layers_path) {
  auto found = by_canonical_name(adapter, layers_path);
  const auto there = peft_sites(adapter);
  StateDict values;
  LoadReport report;
  const auto take = [&](const Slot& slot, char factor, const Tensor& parameter) {
    const std::string name(peft_factor_name(factor)), key = slot.module + ".adapter." + name;
    auto it = found.find(slot.canonical + '.' + name);
    if (it == found.end())
      it = found.find(peft_canonical(hf_mpt_key(slot.canonical + '.'), layers_path) + name);
    if (it == found.end()) {
      if (there.contains(std::string(peft_site(slot.canonical)))) return report.missing.push_back(key);
      values.emplace_back(key, silent_value(slot, factor, parameter));
      return;
    }
    if (it->second.sizes() != parameter.sizes() || !it->second.is_floating_point())
      report.mismatched.push_back(key + ": expected " + describe(parameter) + ", found " +
                                  describe(it->second));
    values.emplace_back(key, it->second.to(parameter.scalar_type()));
    found.erase(it);
  };
  for (const auto& slot : slots) {
    if (!slot.adapted()) continue;
    take(slot, 'A', slot.lora_A);
    take(slot, 'B', slot.lora_B);
    if (slot.lora_magnitude_vector.defined()) take(slot, 'M', slot.lora_magnitude_vector);
  }
  for (const auto& [name, t] : found) report.unexpected.push_back(name);
  if (!report.clean()) fail(to_string(report, adapter.where), selections(adapter.config));
  return values;
}

}  // namespace detail

/// Puts an adapter that PEFT trained into a VLM or a plain language model. Strict: the sites, every module
/// and every shape must be the model's own, and so must rank and scale; otherwise one Error lists what
/// differs and nothing is changed. Under PiSSA the weights are made what they were left with in PEFT, if they
/// are not that yet. Values are converted to the dtype of the model's adapters. Which
/// parameters are trainable stays as it is.
template <class M>
void load_peft(M& model, const PeftAdapter& adapter, const PeftLoad& options = {}) {
  expect(merged_count(model) == 0, adapter.where,
         ": the model's adapters are merged into its weights; unmerge them before others are loaded");
  const auto slots = detail::slots(std::as_const(model));
  detail::expect_same_sites(adapter, slots, options);
  detail::expect_same_kind(adapter, slots);
  const auto values = detail::peft_values(adapter, slots, detail::layers_path_of(model));
  detail::expect_same_scale(adapter, slots);
  if (adapter.lora.init == LoRAInit::pissa) start_adapters(model);
  detail::assign_all(model, values);
}

/// As above, from a folder.
template <class M>
void load_peft(M& model, const std::filesystem::path& folder, const PeftLoad& options = {}) {
  load_peft(model, read_peft(folder), options);
}

/// What save_peft writes for.
struct PeftExport {
  /// Default: the whole model for a VLM, the language model for one alone.
  std::optional<PeftTree> tree = {};
  std::string base_model = {};  ///< base_model_name_or_path
  /// Default: the model's config. A language model alone does not know how its scale came about, and writes
  /// alpha = scale * rank.
  std::optional<LoRAConfig> lora = {};
  /// Another spelling of the language model's keys than ours, e.g. hf_mpt_key.
  std::function<std::string(std::string)> language = {};
};

namespace detail {

// The last part of a name, or the last two where the last is a number: "q_proj", "ff.1".
inline std::string target_of(const std::string& name) {
  const auto dot = name.rfind('.');
  if (dot == std::string::npos) return name;
  const bool number = name.find_first_not_of("0123456789", dot + 1) == std::string::npos;
  const auto cut = number ? name.rfind('.', dot - 1) : dot;
  return cut == std::string::npos ? name : name.substr(cut + 1);
}

// PEFT adapts what is called so or ends so. Short names, where they hit nothing else; else all in full.
inline std::vector<std::string> target_modules(const std::vector<std::string>& adapted,
                                               const std::vector<std::string>& others) {
  std::vector<std::string> targets;
  for (const auto& name : adapted) {
    const auto target = target_of(name);
    if (std::ranges::find(targets, target) == targets.end()) targets.push_back(target);
  }
  const auto hit = [&](const std::string& name) {
    return std::ranges::any_of(targets, [&](const auto& t) { return name == t || name.ends_with('.' + t); });
  };
  return std::ranges::any_of(others, hit) ? adapted : targets;
}

struct PeftFiles {
  StateDict tensors = {};
  std::vector<std::string> targets = {};
};

template <class M>
PeftFiles peft_files(const M& model, PeftTree tree, const PeftExport& options) {
  PeftFiles files;
  std::vector<std::string> adapted, others;
  for (const auto& slot : slots(model)) {
    const bool language = slot.module.starts_with(kLanguagePrefix) || !HasGatedBlocks<M>;
    const bool inside = language || (slot.adapted() || slot.module.starts_with("gated_cross_attn."));
    const bool in_tree =
        tree == PeftTree::flamingo || (tree == PeftTree::lang_encoder ? inside : language || slot.adapted());
    if (!in_tree) continue;
    std::string name = tree_name(model, slot.module, tree);
    if (options.language && language) {
      name = options.language(name + '.');
      name.pop_back();
    }
    (slot.adapted() ? adapted : others).push_back(name);
    if (!slot.adapted()) continue;
    const std::string key = std::string(kPeftPrefix) + name;
    files.tensors.emplace_back(key + ".lora_A.weight", slot.lora_A.detach());
    files.tensors.emplace_back(key + ".lora_B.weight", slot.lora_B.detach());
    if (slot.lora_magnitude_vector.defined())
      files.tensors.emplace_back(key + ".lora_magnitude_vector", slot.lora_magnitude_vector.detach());
  }
  files.targets = target_modules(adapted, others);
  return files;
}

template <class M>
PeftOptions peft_options(const M& model, const PeftExport& options) {
  const auto all = slots(model);
  const auto first = std::ranges::find_if(all, &Slot::adapted);
  expect(first != all.end(), "the model has no adapters, so there is nothing for PEFT to load");
  const auto rank = first->lora_A.size(0);
  LoRAConfig config{.rank = rank, .alpha = first->scale * static_cast<double>(rank), .init = first->start};
  if constexpr (requires { model.config.adapter.rank; }) config = model.config.adapter;
  config = options.lora.value_or(config);
  for (const auto& slot : all) {
    expect(!slot.adapted() || (slot.lora_A.size(0) == config.rank && same_scale(slot.scale, config.scale())),
           slot.module, ": rank ", slot.adapted() ? slot.lora_A.size(0) : 0, " and scale ", slot.scale,
           " are not those of the config to be written, rank ", config.rank, " and scale ", config.scale());
    expect(!slot.adapted() || slot.base_is_residual == (config.init == LoRAInit::pissa), slot.module,
           ": the config to be written has init ", enum_name(config.init), "; PiSSA's factors were ",
           slot.base_is_residual ? "" : "not ", "taken out of the weight");
  }
  return {config, first->lora_magnitude_vector.defined()};
}

}  // namespace detail

/// Writes a VLM's or a language model's adapters as a folder that PEFT loads (`PeftModel.from_pretrained`),
/// atomically. PEFT must find the same base model: for a VLM, OpenFlamingo's tree with the same distance of
/// gated blocks. Error: the model has no adapters, or has some outside the chosen tree.
template <class M>
void save_peft(const M& model, const std::filesystem::path& folder, const PeftExport& options = {}) {
  const auto tree =
      options.tree.value_or(detail::HasGatedBlocks<M> ? PeftTree::flamingo : PeftTree::language_model);
  const auto written = detail::peft_options(model, options);
  const auto files = detail::peft_files(model, tree, options);
  expect_finite(files.tensors, folder.string());
  const Json config =
      peft_config_json(written, files.targets, options.base_model, tree == PeftTree::language_model);
  write_directory(folder, [&](const std::filesystem::path& fresh) {
    save_safetensors(fresh / kPeftWeights, files.tensors, {{"format", "pt"}});
    write_file(fresh / kPeftConfig, config.dump(2) + "\n");
  });
}

}  // namespace morphvlm
