#include "experiments/pubmedqa_12gb.hpp"

#include "morphvlm/vlm/presets.hpp"

namespace morphvlm::experiments {

namespace {

using Full = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

MemoryNeed need_of(const Pubmedqa12Gb& e, const Full& model, const std::string& dtype, std::int64_t bytes) {
  const auto all = parameter_count(model, "*"), adapters = parameter_count(model, kAdapterParameters);
  const auto language =
      parameter_count(model, "lang_encoder.*") - parameter_count(model, "lang_encoder.*.adapter.*");
  const auto& c = model.config.language;
  constexpr std::int64_t kFp32 = 4, kTrained = 4;  // weight, gradient and two moments
  const auto tokens = e.rows * e.tokens;
  return {.dtype = dtype,
          .language = language * bytes,
          .others = (all - adapters - language) * bytes,
          .adapters = adapters * kTrained * kFp32,
          .activations =
              c.num_hidden_layers * tokens * c.hidden_size * bytes + 2 * tokens * c.vocab_size * kFp32};
}

}  // namespace

Pubmedqa12GbResult run(const Pubmedqa12Gb& e) {
  auto config = presets::flamingo<Full>(presets::open_llama_3b, e.every);
  config.adapter = e.adapter;
  const auto model = Full::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  const auto alone = OpenLLaMA::Module<NoAdapter>::init(
      presets::open_llama_3b, {at::TensorOptions(at::kFloat).device(at::kMeta)}, NoAdapter::Config{});
  return {.language_parameters = parameter_count(alone),
          .needs = {need_of(e, model, "fp32", 4), need_of(e, model, "bf16", 2)}};
}

}  // namespace morphvlm::experiments
