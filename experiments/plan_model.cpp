#include "experiments/plan_model.hpp"

#include <functional>
#include <utility>

#include "morphvlm/adapt.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

namespace {

std::string policy_name(const PlannedModel& asked) {
  const bool packed = asked.base == "nf4";
  if (asked.stream_base) return "Streamed<" + asked.adapter + (packed ? ", NF4>" : ">");
  return packed ? "Quantized<NF4, " + asked.adapter + ">" : asked.adapter;
}

template <LanguageModel L, AdapterPolicy P>
Plannable bind(const typename L::Config& language, const PlannedModel& asked, const std::string& type) {
  using Model = VLM<ClipViT, Perceiver, L, P>;
  auto config = presets::flamingo<Model>(language, asked.every);
  config.adapter = asked.lora;
  return {.type = "VLM<ClipViT, Perceiver, " + type + ", " + policy_name(asked) + ">",
          .layers = L::layer_count(language),
          .plan = [config](const PlanSetup& setup, const PlanWork& work) {
            return plan<Model>(config, setup, work);
          }};
}

using Attention = LoRA<Attn>;
using AttentionAndGated = LoRA<Attn, CrossMlp>;
using FourBit = Quantized<NF4, Attention>;
using Everywhere = LoRA<Attn, FeedForward>;

// One entry makes a language model plannable with every policy.
template <LanguageModel L>
Plannable with_policy(const typename L::Config& language, const PlannedModel& asked,
                      const std::string& type) {
  if (asked.stream_base && asked.base == "nf4")
    return bind<L, Streamed<Attention, NF4>>(language, asked, type);
  if (asked.stream_base) return bind<L, Streamed<Attention>>(language, asked, type);
  if (asked.base == "nf4") return bind<L, FourBit>(language, asked, type);
  if (asked.adapter == "LoRA<Attn>") return bind<L, Attention>(language, asked, type);
  if (asked.adapter == "LoRA<Attn, CrossMlp>") return bind<L, AttentionAndGated>(language, asked, type);
  return bind<L, Everywhere>(language, asked, type);
}

struct Entry {
  std::string name;
  std::function<Plannable(const PlannedModel&)> make;
};

template <LanguageModel L>
Entry entry(std::string name, const typename L::Config& config, std::string type) {
  return {std::move(name),
          [config, type](const PlannedModel& asked) { return with_policy<L>(config, asked, type); }};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> kEntries{
      entry<OpenLLaMA>("open_llama_3b", presets::open_llama_3b, "OpenLLaMA"),
      entry<OpenLLaMA>("llama_7b", presets::llama_7b, "OpenLLaMA"),
      entry<OpenLLaMA>("smollm2_135m", presets::smollm2_135m, "OpenLLaMA"),
      entry<MPT>("mpt_1b_redpajama", presets::mpt_1b_redpajama, "MPT"),
      entry<MPT>("mpt_7b", presets::mpt_7b, "MPT"),
      entry<GPTNeoX>("redpajama_incite_3b", presets::redpajama_incite_3b, "GPTNeoX"),
      entry<BioGPT>("biogpt_large", presets::biogpt_large, "BioGPT"),
      entry<BioGPT>("biogpt", presets::biogpt, "BioGPT")};
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
  return {"LoRA<Attn>", "LoRA<Attn, CrossMlp>", "LoRA<Attn, FeedForward>"};
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
  fail("--model: expected one of ", listed(planned_models()), ", found ", asked.model);
}

}  // namespace morphvlm::experiments
