#include "experiments/device/device_training.hpp"

#include "experiments/models.hpp"

namespace morphvlm::experiments {

namespace {

using Llama = Model<LoRA<Attn>>;
using LlamaBehindNet = VLM<EfficientNetLite0, Perceiver, OpenLLaMA, LoRA<Attn>>;
using Bio = VLM<ClipViT, Perceiver, BioGPT, LoRA<Attn>>;

template <class M>
DeviceStep steps_of(const DeviceScale& d, const std::string& setting,
                    const typename M::Language::Config& language, const PlanSetup& setup,
                    const StepShape& work) {
  return try_steps<M>(setting, device_config<M>(d, language, d.every), setup, work, device_named(d.device),
                      d.steps);
}

}  // namespace

std::vector<DeviceStep> aokvqa_steps(const DeviceScale& d) {
  const auto of = [&](const char* setting, at::ScalarType dtype) {
    return steps_of<Llama>(d, setting, presets::open_llama_3b, device_setup(d, dtype), picture_rows(d));
  };
  return {of("bf16", at::kBFloat16), of("fp32", at::kFloat)};
}

BioGPTSteps biogpt_steps(const DeviceScale& d) {
  const auto of = [&](const char* setting, const StepShape& work) {
    return steps_of<Bio>(d, setting, presets::biogpt_large, device_setup(d), work);
  };
  return {of("questions about pictures", picture_rows(d)), of("abstracts", abstract_rows(d))};
}

std::vector<DeviceStep> swap_steps(const DeviceScale& d) {
  const auto work = picture_rows(d);
  return {steps_of<Llama>(d, "ViT-L/14", presets::open_llama_3b, device_setup(d), work),
          steps_of<LlamaBehindNet>(d, "EfficientNet-Lite0", presets::open_llama_3b, device_setup(d), work)};
}

}  // namespace morphvlm::experiments
