#include "experiments/pubmedqa_12gb.hpp"

#include <limits>

#include "morphvlm/train/fit.hpp"
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

#ifdef MORPHVLM_CUDA

using FourBits = VLM<ClipViT, Perceiver, OpenLLaMA, Quantized<NF4, LoRA<Attn>>>;
using OnTheHost = VLM<ClipViT, Perceiver, OpenLLaMA, Streamed<LoRA<Attn>>>;

template <class Model>
typename Model::Config config_of(const Pubmedqa12Gb& e) {
  auto config = presets::flamingo<Model>(presets::open_llama_3b, e.every);
  config.adapter = e.adapter;
  return config;
}

// fp32 as the paper had it, 16 bits with what it takes to fit, 4 bits, and both wide ones streamed from the
// host.
std::vector<CardStep> steps_on_card(const Pubmedqa12Gb& e) {
  const c10::Device device(c10::kCUDA, 0);
  const auto limit = static_cast<std::int64_t>(e.card_gib * (1 << 30));
  // The allocator keeps more than tensors take, and libraries their work space.
  constexpr std::int64_t kReserve = std::int64_t{512} << 20;
  limit_cuda_memory(device, limit);
  const PlanSetup fp32{.dtype = at::kFloat, .device = c10::kCUDA},
      bf16{.dtype = at::kBFloat16, .device = c10::kCUDA};
  const PlanWork one{.batch = 1, .seq = e.tokens, .supervised = 8, .packed = true};
  PlanWork many = one;
  many.batch = e.card_rows;
  const auto full = config_of<Full>(e);
  const auto rows = [&](const PlanWork& work) {
    return std::to_string(work.batch) + " x " + std::to_string(e.tokens) + " tokens";
  };
  std::vector<CardStep> out;
  const auto add = [&]<class Model>(const std::string& name, const PlanSetup& setup, const PlanWork& work) {
    forget_cuda_peak(device);
    out.push_back(
        try_steps<Model>(name + ", " + rows(work), config_of<Model>(e), setup, work, device, e.card_steps));
  };
  add.template operator()<Full>("fp32", fp32, one);
  add.template operator()<Full>("bf16", bf16, one);
  const auto plan_of = [&](const PlanSetup& s, const PlanWork& w) { return plan<Full>(full, s, w); };
  const auto ways =
      ways_to_fit(plan_of, bf16, many, presets::open_llama_3b.num_hidden_layers, limit - kReserve);
  if (!ways.empty()) {
    const auto& way = ways.front();
    add.template operator()<Full>("bf16" + (way.change.empty() ? "" : ", " + way.change), way.setup,
                                  way.work);
  }
  add.template operator()<FourBits>("NF4", bf16, one);
  add.template operator()<FourBits>("NF4", bf16, many);
  add.template operator()<OnTheHost>("fp32, projections on the host", fp32, one);
  add.template operator()<OnTheHost>("bf16, projections on the host", bf16, many);
  limit_cuda_memory(device, std::numeric_limits<std::int64_t>::max());
  return out;
}

#endif

}  // namespace

Pubmedqa12GbResult run(const Pubmedqa12Gb& e) {
  auto config = presets::flamingo<Full>(presets::open_llama_3b, e.every);
  config.adapter = e.adapter;
  const auto model = Full::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  const auto alone = OpenLLaMA::Module<NoAdapter>::init(
      presets::open_llama_3b, {at::TensorOptions(at::kFloat).device(at::kMeta)}, NoAdapter::Config{});
  Pubmedqa12GbResult out{.language_parameters = parameter_count(alone),
                         .needs = {need_of(e, model, "fp32", 4), need_of(e, model, "bf16", 2)}};
  if (!has_cuda()) {
    out.no_steps = "no CUDA device";
    return out;
  }
#ifdef MORPHVLM_CUDA
  out.steps = steps_on_card(e);
#else
  out.no_steps = "built without CUDA (preset cuda)";
#endif
  return out;
}

}  // namespace morphvlm::experiments
