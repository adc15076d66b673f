// What every placement costs in memory: planned on the meta device, and measured by LibTorch's own allocator
// where the model fits. Cases named full/ need 10 GiB; those named plan/ need nothing.
#include <benchmark/benchmark.h>

#include "benchmarks/step.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;

constexpr PlanWork kPubmedqa{.batch = 1, .seq = 512, .images = 1, .supervised = 8};

void report(benchmark::State& state, const Plan& p) {
  state.counters["trainable"] = static_cast<double>(p.trainable);
  state.counters["kept_MiB"] = static_cast<double>(p.kept_bytes) / 0x1p20;
  state.counters["plan_MiB"] = static_cast<double>(p.peak_bytes) / 0x1p20;
  state.counters["TFLOP"] = p.flops() / 1e12;
}

template <class Model>
Plan planned(const typename Model::Config& config, const PlanSetup& setup, const PlanWork& work,
             benchmark::State& state) {
  Plan p;
  for (auto iteration : state) p = plan<Model>(config, setup, work);
  report(state, p);
  return p;
}

// The most that lives during a step, weights included.
template <class Model>
double measured(const typename Model::Config& config, const PlanSetup& setup, const PlanWork& work) {
  MemoryMeter meter(setup.device);
  auto training = Training<Model>::make(config, setup, work);
  meter.restart_peak();
  training.step();
  return static_cast<double>(meter.use().peak);
}

template <LanguageModel L, AdapterPolicy P>
void add(const std::string& name, const typename L::Config& language, const PlanSetup& setup,
         const PlanWork& work, bool is_measured) {
  using Model = VLM<ClipViT, Perceiver, L, P>;
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const auto config = presets::flamingo<Model>(language);
                                 const Plan p = planned<Model>(config, setup, work, state);
                                 if (!is_measured) return;
                                 const double peak = measured<Model>(config, setup, work);
                                 state.counters["measured_MiB"] = peak / 0x1p20;
                                 state.counters["plan/measured"] = static_cast<double>(p.peak_bytes) / peak;
                               })
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1);
}

template <AdapterPolicy P>
void placement(const std::string& name) {
  const PlanSetup fp32{.dtype = at::kFloat}, bf16{.dtype = at::kBFloat16};
  PlanSetup lean = bf16;
  lean.recompute.every = 1;
  add<OpenLLaMA, P>("smollm2/fp32/" + name, presets::smollm2_135m, fp32, kSmall, true);
  add<OpenLLaMA, P>("smollm2/bf16/" + name, presets::smollm2_135m, bf16, kSmall, true);
  add<OpenLLaMA, P>("smollm2/bf16/recomputed/" + name, presets::smollm2_135m, lean, kSmall, true);
  add<OpenLLaMA, P>("full/open_llama_3b/bf16/" + name, presets::open_llama_3b, bf16, kLarge, true);
  PlanSetup cuda = bf16;
  cuda.device = c10::kCUDA;
  add<OpenLLaMA, P>("plan/open_llama_3b/bf16/cuda/512_tokens/" + name, presets::open_llama_3b, cuda,
                    kPubmedqa, false);
}

[[maybe_unused]] const bool kRegistered = [] {
  placement<LoRA<SelfAttn>>("LoRA<SelfAttn>");
  placement<LoRA<CrossAttn>>("LoRA<CrossAttn>");
  placement<LoRA<Attn>>("LoRA<Attn>");
  placement<LoRA<Attn, CrossMlp>>("LoRA<Attn, CrossMlp>");
  placement<LoRA<Attn, FeedForward>>("LoRA<Attn, FeedForward>");
  placement<Quantized<NF4, LoRA<Attn>>>("Quantized<NF4, LoRA<Attn>>");
  return true;
}();

}  // namespace
