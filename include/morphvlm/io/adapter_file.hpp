// What a run has trained, as a folder of its own: the base model is never copied.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/io/adapter_folder.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

namespace detail {

// Adapters that the model has but does not train; they are as they were made, so a folder may lack them.
template <class Model>
std::vector<std::string> frozen_adapters(const Model& model) {
  std::vector<std::string> names;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (!t.requires_grad() && matches(name, kAdapterParameters)) names.push_back(name);
  });
  return names;
}

}  // namespace detail

/// Saves the parameters that receive gradients and the model's config into `folder`, atomically: a reader
/// finds the old folder or the new one, whole. Error: nothing is trainable, or a number is not
/// finite.
template <class Model>
void save_adapter(const Model& model, const std::filesystem::path& folder) {
  const StateDict trained = trainable_state(model);
  expect(!trained.empty(), folder.string(),
         ": no parameter of the model is trainable, so there is nothing to save");
  expect_finite(trained, folder.string());
  const Json about{{"model", to_json(model.config)}, {"frozen_adapters", detail::frozen_adapters(model)}};
  write_directory(folder, [&](const std::filesystem::path& fresh) {
    save_safetensors(fresh / kAdapterWeights, trained);
    write_file(fresh / kAdapterConfig, about.dump(2) + "\n");
  });
}

namespace detail {

// A scale has no shape: adapters of another one would load and be another function.
template <class Config>
void expect_same_adapter(const Config& config, const Json& about, const std::string& where) {
  const auto stored = json_get<Json>(json_get<Json>(about, "model", where), "adapter", where + ": model");
  // Folders of before a field was there mean its default.
  expect(to_json(from_json<Config>(stored, where + ": model.adapter")) == to_json(config), where,
         ": expected adapters of config ", to_json(config).dump(), ", found ", stored.dump());
}

}  // namespace detail

/// Puts a saved folder's parameters into `model`, strictly: a key that the model does not have, a wrong shape
/// or dtype, or an adapter of the model that a folder with adapters lacks (unless it was not trained there)
/// raises one Error that lists them all; adapters of another config are an Error too. Then nothing is
/// changed. Which parameters are trainable stays as it is. `from` may be a run's folder, see adapter_folder.
/// Error: a number that is not finite.
template <class Model>
void load_adapter(Model& model, const std::filesystem::path& from) {
  const auto folder = adapter_folder(from);
  expect(merged_count(model) == 0, folder.string(),
         ": the model's adapters are merged into its weights; unmerge them before others are loaded");
  const auto path = folder / kAdapterWeights;
  const auto where = (folder / kAdapterConfig).string();
  const Json about = read_json(where);
  const auto frozen = json_get<std::vector<std::string>>(about, "frozen_adapters", where);
  const StateDict dict = load_safetensors(path);
  expect_finite(dict, path.string());
  const auto is_adapter = [](const std::string& name) { return matches(name, kAdapterParameters); };
  const bool has_adapters = std::ranges::any_of(dict, is_adapter, &StateDict::value_type::first);
  LoadReport report = check_state_dict(model, dict);
  std::erase_if(report.missing, [&](const auto& name) {
    return !has_adapters || !is_adapter(name) || std::ranges::find(frozen, name) != frozen.end();
  });
  if (!report.clean()) fail(to_string(report, path.string()));
  if (has_adapters) {
    detail::expect_same_adapter(model.config.adapter, about, where);
    // PiSSA's factors go with the weights that they were taken out of.
    if constexpr (requires { model.config.adapter.init == LoRAInit::pissa; })
      if (model.config.adapter.init == LoRAInit::pissa) start_adapters(model);
  }
  detail::assign_all(model, dict);
}

}  // namespace morphvlm
