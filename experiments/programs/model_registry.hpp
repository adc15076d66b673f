// Which compiled type a model folder asks for.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "morphvlm/adapt.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/io/adapter_file.hpp"
#include "morphvlm/io/model_directory.hpp"
#include "morphvlm/io/peft.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

/// An adapter folder: PEFT's or our own (adapter.json, which may hold any trained parameters).
struct AdapterFolder {
  std::filesystem::path folder = {};
  std::set<std::string> sites = {};  ///< SelfAttn, CrossAttn, Mlp, CrossMlp; empty: no adapters in it
  LoRAConfig lora = {};
  bool dora = false;  ///< its adapters are DoRA's
  std::optional<PeftAdapter> peft = {};
};

/// Reads what is needed to choose a type, also from a run's folder (see adapter_folder); an Error where it is
/// neither kind of folder.
inline AdapterFolder open_adapter(const std::filesystem::path& from) {
  const auto folder = adapter_folder(from);
  AdapterFolder out{.folder = folder};
  if (!std::filesystem::exists(folder / kAdapterConfig)) {
    out.peft = read_peft(folder);
    out.lora = out.peft->lora;
    out.dora = out.peft->dora;
    out.sites = peft_sites(*out.peft);
    return out;
  }
  const std::string where = (folder / kAdapterConfig).string();
  for (const auto& [name, t] : load_safetensors(folder / kAdapterWeights)) {
    if (!matches(name, kAdapterParameters)) continue;
    out.dora = out.dora || name.ends_with(".lora_magnitude_vector");
    const bool gated = name.starts_with("gated_cross_attn.");
    const bool attention = name.find(".attn.") != std::string::npos;
    out.sites.emplace(gated ? (attention ? "CrossAttn" : "CrossMlp") : peft_site(name));
  }
  if (out.sites.empty()) return out;
  const Json model = json_get<Json>(read_json(where), "model", where);
  out.lora = from_json<LoRAConfig>(json_get<Json>(model, "adapter", where), where + ": model.adapter");
  return out;
}

/// Calls f with the folder's model on a device, loaded and frozen, its adapter (if there is one) in place.
template <class Model, class F>
void load_and_call(const ModelDirectory& folder, const std::optional<AdapterFolder>& adapter,
                   c10::Device device, F&& f) {
  auto config = model_directory_config<Model>(folder);
  constexpr bool adapted = !std::is_same_v<typename Model::Policy, NoAdapter>;
  if constexpr (adapted) config.adapter = adapter.value().lora;
  WeightSources sources;
  Model model = load_model_directory<Model>(folder, config, sources);
  if (adapter && !adapter->peft) load_adapter(model, adapter->folder);
  if constexpr (adapted) {
    if (adapter->peft) load_peft(model, *adapter->peft);
  }
  convert(model, at::TensorOptions().device(device));
  f(model, sources);
}

/// The adapter policy by the sites that the adapter folder has. Error: no compiled type has those.
template <VisionTower V, LanguageModel L, class F>
void with_policy(const ModelDirectory& folder, const std::optional<AdapterFolder>& adapter,
                 c10::Device device, F&& f) {
  using Sites = std::set<std::string>;
  const Sites sites = adapter ? adapter->sites : Sites{};
  if (sites.empty()) return load_and_call<VLM<V, Perceiver, L>>(folder, adapter, device, f);
  if (sites == Sites{"SelfAttn", "CrossAttn"} && adapter->dora)
    return load_and_call<VLM<V, Perceiver, L, DoRA<Attn>>>(folder, adapter, device, f);
  if (sites == Sites{"SelfAttn", "CrossAttn"})
    return load_and_call<VLM<V, Perceiver, L, LoRA<Attn>>>(folder, adapter, device, f);
  if (sites == Sites{"SelfAttn", "CrossAttn", "CrossMlp"} && !adapter->dora)
    return load_and_call<VLM<V, Perceiver, L, LoRA<Attn, CrossMlp>>>(folder, adapter, device, f);
  std::string text;
  for (const auto& site : sites) text += (text.empty() ? "" : ", ") + site;
  fail(adapter->folder.string(), ": ", adapter->dora ? "DoRA's" : "LoRA's", " adapters at ", text,
       "; compiled are SelfAttn + CrossAttn, and LoRA's with CrossMlp. Another placement is one line in "
       "experiments/programs/model_registry.hpp");
}

/// What f makes of the tower's and language model's tags for a model folder: f.template operator()<V, L>().
/// Error: no compiled model has those.
template <class F>
auto with_parts(const ModelDirectory& folder, F&& f) {
  const std::string& language = folder.language_type;
  if (folder.vision_type == "efficientnet_lite0" && language == "llama")
    return f.template operator()<EfficientNetLite0, OpenLLaMA>();
  if (folder.vision_type == "clip_vit") {
    if (language == "llama") return f.template operator()<ClipViT, OpenLLaMA>();
    if (language == "mpt" || language == "mosaic_gpt") return f.template operator()<ClipViT, MPT>();
    if (language == "gpt_neox") return f.template operator()<ClipViT, GPTNeoX>();
    if (language == "biogpt") return f.template operator()<ClipViT, BioGPT>();
  }
  fail(folder.folder.string(), ": no compiled model has a ", folder.vision_type, " tower and a ", language,
       " language model; see experiments/programs/model_registry.hpp");
}

/// Opens a model folder and calls f(model, sources) with the type that its configs ask for: any language
/// model with a ViT, a LLaMA with EfficientNet-Lite0. `adapter`, if not empty, is a folder of PEFT's or our
/// own.
template <class F>
void with_model(const std::filesystem::path& path, const std::filesystem::path& adapter_path,
                c10::Device device, F&& f) {
  const ModelDirectory folder = open_model_directory(path);
  std::optional<AdapterFolder> adapter;
  if (!adapter_path.empty()) adapter = open_adapter(adapter_path);
  with_parts(folder,
             [&]<VisionTower V, LanguageModel L>() { with_policy<V, L>(folder, adapter, device, f); });
}

/// The dtype that a model's tower is held in; pixels are to be of it.
template <class Model>
at::ScalarType vision_dtype(const Model& model) {
  auto dtype = at::kFloat;
  visit(model.vision_encoder, [&](const std::string&, const Tensor& t) { dtype = t.scalar_type(); });
  return dtype;
}

}  // namespace morphvlm::experiments
