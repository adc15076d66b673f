#include "experiments/programs/plan_model.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <type_traits>
#include <utility>

#include "experiments/programs/model_registry.hpp"
#include "morphvlm/adapt.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

namespace {

std::string policy_name(const PlannedModel& asked) {
  const bool packed = asked.base == "nf4";
  if (asked.stream_base) return "Streamed<" + asked.adapter + (packed ? ", NF4>" : ">");
  return packed ? "Quantized<NF4, " + asked.adapter + ">" : asked.adapter;
}

template <VisionTower V>
std::string tower_name() {
  return std::is_same_v<V, EfficientNetLite0> ? "EfficientNetLite0" : "ClipViT";
}

template <LanguageModel L>
std::string language_name() {
  if constexpr (std::is_same_v<L, OpenLLaMA>) return "OpenLLaMA";
  if constexpr (std::is_same_v<L, MPT>) return "MPT";
  if constexpr (std::is_same_v<L, GPTNeoX>) return "GPTNeoX";
  if constexpr (std::is_same_v<L, BioGPT>) return "BioGPT";
}

// `config_of` makes the config of any type of model that has these parts.
template <VisionTower V, LanguageModel L, AdapterPolicy P, class F>
Plannable bind(const F& config_of, const PlannedModel& asked) {
  using Model = VLM<V, Perceiver, L, P>;
  typename Model::Config config = config_of(std::type_identity<Model>{});
  config.adapter = asked.lora;
  return {.type = "VLM<" + tower_name<V>() + ", Perceiver, " + language_name<L>() + ", " +
                  policy_name(asked) + ">",
          .layers = L::layer_count(config.language),
          .plan = [config](const PlanSetup& setup, const StepShape& work) {
            return plan<Model>(config, setup, work);
          }};
}

using Attention = LoRA<Attn>;
using AttentionAndGated = LoRA<Attn, CrossMlp>;
using Decomposed = DoRA<Attn>;
using FourBit = Quantized<NF4, Attention>;
using Everywhere = LoRA<Attn, FeedForward>;

template <VisionTower V, LanguageModel L, class F>
Plannable with_policy(const F& config_of, const PlannedModel& asked) {
  if (asked.stream_base && asked.base == "nf4") return bind<V, L, Streamed<Attention, NF4>>(config_of, asked);
  if (asked.stream_base) return bind<V, L, Streamed<Attention>>(config_of, asked);
  if (asked.base == "nf4") return bind<V, L, FourBit>(config_of, asked);
  if (asked.adapter == "LoRA<Attn>") return bind<V, L, Attention>(config_of, asked);
  if (asked.adapter == "DoRA<Attn>") return bind<V, L, Decomposed>(config_of, asked);
  if (asked.adapter == "LoRA<Attn, CrossMlp>") return bind<V, L, AttentionAndGated>(config_of, asked);
  return bind<V, L, Everywhere>(config_of, asked);
}

template <VisionTower V, LanguageModel L>
Plannable of_folder(const ModelDirectory& folder, const PlannedModel& asked) {
  return with_policy<V, L>(
      [&]<class Model>(std::type_identity<Model>) {
        auto config = model_directory_config<Model>(folder);
        config.language.vocab_size = folder.join.vocab_size;
        return config;
      },
      asked);
}

struct Entry {
  std::string name;
  std::function<Plannable(const PlannedModel&)> make;
};

// One entry makes a language model plannable with every policy.
template <LanguageModel L>
Entry entry(std::string name, const typename L::Config& language) {
  return {std::move(name), [language](const PlannedModel& asked) {
            return with_policy<ClipViT, L>(
                [&]<class Model>(std::type_identity<Model>) {
                  return presets::flamingo<Model>(language, asked.every);
                },
                asked);
          }};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> kEntries{
      entry<OpenLLaMA>("open_llama_3b", presets::open_llama_3b),
      entry<OpenLLaMA>("llama_7b", presets::llama_7b),
      entry<OpenLLaMA>("smollm2_135m", presets::smollm2_135m),
      entry<MPT>("mpt_1b_redpajama", presets::mpt_1b_redpajama),
      entry<MPT>("mpt_7b", presets::mpt_7b),
      entry<GPTNeoX>("redpajama_incite_3b", presets::redpajama_incite_3b),
      entry<BioGPT>("biogpt_large", presets::biogpt_large),
      entry<BioGPT>("biogpt", presets::biogpt)};
  return kEntries;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : "; ") + name;
  return text;
}

}  // namespace

std::vector<std::string> planned_models() {
  std::vector<std::string> names;
  for (const auto& e : entries()) names.push_back(e.name);
  return names;
}

std::vector<std::string> planned_adapters() {
  return {"LoRA<Attn>", "LoRA<Attn, CrossMlp>", "LoRA<Attn, FeedForward>", "DoRA<Attn>"};
}

Plannable plannable(const PlannedModel& asked) {
  const auto adapters = planned_adapters();
  expect(std::ranges::count(adapters, asked.adapter) == 1, "--adapter: expected one of ", listed(adapters),
         ", found ", asked.adapter);
  expect(asked.base == "plain" || asked.base == "nf4", "--base: expected plain or nf4, found ", asked.base);
  const bool is_special = asked.stream_base || asked.base != "plain";
  expect(!is_special || asked.adapter == adapters.front(), asked.stream_base ? "--stream_base" : "--base nf4",
         ": compiled for ", adapters.front(), ", found --adapter ", asked.adapter);
  for (const auto& e : entries()) {
    if (e.name == asked.model) return e.make(asked);
  }
  expect(std::filesystem::is_directory(asked.model), "--model: expected a model folder or one of ",
         listed(planned_models()), ", found ", asked.model);
  const ModelDirectory folder = open_model_directory(asked.model);
  return with_parts(folder, [&]<VisionTower V, LanguageModel L>() { return of_folder<V, L>(folder, asked); });
}

}  // namespace morphvlm::experiments
