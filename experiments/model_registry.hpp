// Which compiled type a model folder asks for.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "morphvlm/adapt.hpp"
#include "morphvlm/io/model_directory.hpp"
#include "morphvlm/io/peft.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

/// Calls f with the folder's model, loaded and frozen, its adapter (if there is one) in place.
template <class Model, class F>
void load_and_call(const ModelDirectory& folder, const std::optional<PeftAdapter>& adapter, F&& f) {
  auto config = model_directory_config<Model>(folder);
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) config.adapter = adapter.value().lora;
  WeightSources sources;
  // Without memory of its own, a model takes over what the files hold.
  Model model =
      load_model_directory<Model>(folder, config, sources, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) load_peft(model, adapter.value());
  f(model, sources);
}

/// The adapter policy by the sites that the adapter folder has. Error: no compiled type has those.
template <VisionTower V, LanguageModel L, class F>
void with_policy(const ModelDirectory& folder, const std::optional<PeftAdapter>& adapter, F&& f) {
  using Sites = std::set<std::string>;
  if (!adapter) return load_and_call<VLM<V, Perceiver, L>>(folder, adapter, f);
  const Sites sites = peft_sites(*adapter);
  if (sites == Sites{"SelfAttn", "CrossAttn"})
    return load_and_call<VLM<V, Perceiver, L, LoRA<Attn>>>(folder, adapter, f);
  if (sites == Sites{"SelfAttn", "CrossAttn", "CrossMlp"})
    return load_and_call<VLM<V, Perceiver, L, LoRA<Attn, CrossMlp>>>(folder, adapter, f);
  std::string text;
  for (const auto& site : sites) text += (text.empty() ? "" : ", ") + site;
  fail(adapter->where, ": adapters at ", text,
       "; compiled are SelfAttn + CrossAttn, and those with CrossMlp. Another placement is one line in "
       "experiments/model_registry.hpp");
}

/// Opens a model folder and calls f(model, sources) with the type that its configs ask for: any language
/// model with a CLIP ViT, a LLaMA with EfficientNet-Lite0. `adapter`, if not empty, is a folder of PEFT's.
template <class F>
void with_model(const std::filesystem::path& path, const std::filesystem::path& adapter_folder, F&& f) {
  const ModelDirectory folder = open_model_directory(path);
  std::optional<PeftAdapter> adapter;
  if (!adapter_folder.empty()) adapter = read_peft(adapter_folder);
  const std::string& language = folder.language_type;
  if (folder.vision_type == "efficientnet_lite0" && language == "llama")
    return with_policy<EfficientNetLite0, OpenLLaMA>(folder, adapter, f);
  if (folder.vision_type == "clip_vit") {
    if (language == "llama") return with_policy<ClipViT, OpenLLaMA>(folder, adapter, f);
    if (language == "mpt" || language == "mosaic_gpt") return with_policy<ClipViT, MPT>(folder, adapter, f);
    if (language == "gpt_neox") return with_policy<ClipViT, GPTNeoX>(folder, adapter, f);
    if (language == "biogpt") return with_policy<ClipViT, BioGPT>(folder, adapter, f);
  }
  fail(path.string(), ": no compiled model has a ", folder.vision_type, " tower and a ", language,
       " language model; see experiments/model_registry.hpp");
}

}  // namespace morphvlm::experiments
