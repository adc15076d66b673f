#include "experiments/device/pubmedqa_12gb.hpp"

#include <limits>

#include "morphvlm/plan/fit.hpp"
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

using FourBits = VLM<ClipViT, Perceiver, OpenLLaMA, Quantized<NF4, LoRA<Attn>>>;
using OnTheHost = VLM<ClipViT, Perceiver, OpenLLaMA, Streamed<LoRA<Attn>>>;

// The limit while it lives, where the device can have one.
class CardLimit {
 public:
  CardLimit(c10::Device device, std::int64_t bytes) : device_(device) { limit(bytes); }
  ~CardLimit() { limit(std::numeric_limits<std::int64_t>::max()); }
  CardLimit(const CardLimit&) = delete;
  CardLimit& operator=(const CardLimit&) = delete;

 private:
  void limit([[maybe_unused]] std::int64_t bytes) const {
#ifdef MORPHVLM_CUDA
    if (!device_.is_cuda()) return;
    forget_cuda_peak(device_);
    limit_cuda_memory(device_, bytes);
#endif
  }

  c10::Device device_;
};

/// Everything of a trial but its settings.
struct Trial {
  const Pubmedqa12Gb& experiment;
  const DeviceScale& scale;
  CardTrial out = {};

  template <class Model>
  typename Model::Config config() const {
    auto config = device_config<Model>(scale, presets::open_llama_3b, experiment.every);
    config.adapter = experiment.adapter;
    return config;
  }

  template <class Model>
  void add(const std::string& name, const PlanSetup& setup, const StepShape& work) {
    const auto device = device_named(scale.device);
    const CardLimit limit(device, out.limit);
    const auto rows = std::to_string(work.batch) + " x " + std::to_string(work.seq) + " tokens";
    auto step = try_steps<Model>(name + ", " + rows, config<Model>(), setup, work, device, scale.steps);
    step.fits = step.fits && step.peak <= out.limit;
    out.steps.push_back(std::move(step));
  }
};

}  // namespace

Pubmedqa12GbResult run(const Pubmedqa12Gb& e) {
  auto config = presets::flamingo<Full>(presets::open_llama_3b, e.every);
  config.adapter = e.adapter;
  const auto model = Full::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  const auto alone = OpenLLaMA::Module<NoAdapter>::init(
      presets::open_llama_3b, {at::TensorOptions(at::kFloat).device(at::kMeta)}, NoAdapter::Config{});
  Pubmedqa12GbResult out{.language_parameters = parameter_count(alone),
                         .needs = {need_of(e, model, "fp32", 4), need_of(e, model, "bf16", 2)}};
  return out;
}

CardTrial run_on_card(const Pubmedqa12Gb& e, const DeviceScale& d) {
  Trial trial{e, d};
  const PlanSetup fp32 = device_setup(d, at::kFloat), bf16 = device_setup(d);
  StepShape one = abstract_rows(d);
  one.batch = one.images = 1;
  if (d.sizes == Sizes::paper) one.seq = e.tokens;
  StepShape many = one;
  many.batch = d.rows;
  const auto plan_of = [&](const PlanSetup& s, const StepShape& w) {
    return plan<Full>(trial.config<Full>(), s, w);
  };
  const auto card = static_cast<std::int64_t>(e.card_gib * (1 << 30));
  trial.out.limit =
      d.sizes == Sizes::paper ? card : (plan_of(fp32, one).peak_bytes + plan_of(bf16, one).peak_bytes) / 2;
  trial.add<Full>("fp32", fp32, one);
  trial.add<Full>("bf16", bf16, one);
  // The allocator keeps more than tensors take, and libraries their work space.
  const auto reserve = trial.out.limit / 24;
  const auto ways = ways_to_fit(plan_of, bf16, many, trial.config<Full>().language.num_hidden_layers,
                                trial.out.limit - reserve);
  if (!ways.empty()) {
    const auto& way = ways.front();
    trial.add<Full>("bf16" + (way.change.empty() ? "" : ", " + way.change), way.setup, way.work);
  }
  trial.add<FourBits>("NF4", bf16, one);
  trial.add<FourBits>("NF4", bf16, many);
  trial.add<OnTheHost>("fp32, projections on the host", fp32, one);
  trial.add<OnTheHost>("bf16, projections on the host", bf16, many);
  return std::move(trial.out);
}

}  // namespace morphvlm::experiments
