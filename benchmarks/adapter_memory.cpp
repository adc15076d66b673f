// What every placement costs in memory: planned on the meta device, and measured by LibTorch's own allocator
// where the model fits. Cases named full/ need 10 GiB, those named plan/ nothing; those named cuda/ are there
// where a CUDA device is.
#include <benchmark/benchmark.h>

#include "benchmarks/machine_context.hpp"
#include "benchmarks/step.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;

constexpr StepShape kPubmedqa{.batch = 1, .seq = 512, .images = 1, .supervised = 8};

void report(benchmark::State& state, const Plan& p) {
  state.counters["trainable"] = static_cast<double>(p.trainable);
  state.counters["kept_MiB"] = static_cast<double>(p.kept_bytes) / 0x1p20;
  state.counters["plan_MiB"] = static_cast<double>(p.peak_bytes) / 0x1p20;
  state.counters["TFLOP"] = p.flops() / 1e12;
}

template <class Model>
Plan planned(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work,
             benchmark::State& state) {
  Plan p;
  for (auto iteration : state) p = plan<Model>(config, setup, work);
  report(state, p);
  return p;
}

// The most that lives during a step, weights included. The first step of a process also allocates what
// libraries work in, which is counted apart.
template <class Model>
void measure(const typename Model::Config& config, const PlanSetup& setup, const StepShape& work,
             benchmark::State& state, const Plan& p) {
  MemoryMeter meter(setup.device);
  auto training = Training<Model>::make(config, setup, work);
  const WeightStream stream;  // of no consequence where the base is on the card
  for (int i = 0; i < (p.host_bytes > 0 ? 2 : 0); ++i)
    training.step();  // which weights are on their way when is settled then
  meter.restart_peak();
  training.step();
  const auto peak = static_cast<double>(meter.use().peak);
  state.counters["measured_MiB"] = peak / 0x1p20;
  state.counters["plan/measured"] = static_cast<double>(p.peak_bytes) / peak;
#ifdef MORPHVLM_CUDA
  if (setup.device != c10::kCUDA) return;
  // What the allocator holds is what a card must have.
  const c10::Device device(c10::kCUDA, 0);
  forget_cuda_peak(device);
  state.counters["step_s"] = seconds_of(device, [&] { training.step(); });
  state.counters["reserved_MiB"] = static_cast<double>(peak_cuda_reserved(device)) / 0x1p20;
#endif
}

template <LanguageModel L, AdapterPolicy P>
void add(const std::string& name, const typename L::Config& language, const PlanSetup& setup,
         const StepShape& work, bool is_measured) {
  using Model = VLM<ClipViT, Perceiver, L, P>;
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const auto config = presets::flamingo<Model>(language);
                                 const Plan p = planned<Model>(config, setup, work, state);
                                 if (!is_measured) return;
                                 measure<Model>(config, setup, work, state, p);
                               })
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1);
}

template <AdapterPolicy P>
void on_a_cpu(const std::string& name) {
  const PlanSetup fp32{.dtype = at::kFloat}, bf16{.dtype = at::kBFloat16};
  PlanSetup lean = bf16;
  lean.recompute.every = 1;
  add<OpenLLaMA, P>("smollm2/fp32/" + name, presets::smollm2_135m, fp32, kSmall, true);
  add<OpenLLaMA, P>("smollm2/bf16/" + name, presets::smollm2_135m, bf16, kSmall, true);
  add<OpenLLaMA, P>("smollm2/bf16/recomputed/" + name, presets::smollm2_135m, lean, kSmall, true);
  add<OpenLLaMA, P>("full/open_llama_3b/bf16/" + name, presets::open_llama_3b, bf16, kLarge, true);
}

template <AdapterPolicy P>
void on_a_card(const std::string& name) {
  const PlanSetup cuda{.dtype = at::kBFloat16, .device = c10::kCUDA};
  add<OpenLLaMA, P>("plan/open_llama_3b/bf16/cuda/512_tokens/" + name, presets::open_llama_3b, cuda,
                    kPubmedqa, false);
  if (!has_cuda()) return;
  PlanSetup lean_cuda = cuda;
  lean_cuda.recompute.every = 1;
  add<OpenLLaMA, P>("cuda/open_llama_3b/bf16/512_tokens/" + name, presets::open_llama_3b, cuda, kPubmedqa,
                    true);
  add<OpenLLaMA, P>("cuda/open_llama_3b/bf16/2x64/" + name, presets::open_llama_3b, cuda, kLarge, true);
  StepShape four = kPubmedqa;
  four.batch = 4;
  add<OpenLLaMA, P>("cuda/open_llama_3b/bf16/4x512_tokens/recomputed/" + name, presets::open_llama_3b,
                    lean_cuda, four, true);
  StepShape packed = kPubmedqa;
  packed.seq = 2048;
  packed.packed = true;
  add<OpenLLaMA, P>("cuda/open_llama_3b/bf16/2048_packed/" + name, presets::open_llama_3b, cuda, packed,
                    true);
}

template <AdapterPolicy P>
void placement(const std::string& name) {
  on_a_cpu<P>(name);
  on_a_card<P>(name);
}

[[maybe_unused]] const bool kRegistered = [] {
  add_machine_context();
  placement<LoRA<SelfAttn>>("LoRA<SelfAttn>");
  placement<LoRA<CrossAttn>>("LoRA<CrossAttn>");
  placement<LoRA<Attn>>("LoRA<Attn>");
  placement<LoRA<Attn, CrossMlp>>("LoRA<Attn, CrossMlp>");
  placement<LoRA<Attn, FeedForward>>("LoRA<Attn, FeedForward>");
  placement<Quantized<NF4, LoRA<Attn>>>("Quantized<NF4, LoRA<Attn>>");
  on_a_card<Streamed<LoRA<Attn>>>("Streamed<LoRA<Attn>>");
  on_a_card<Streamed<LoRA<Attn>, NF4>>("Streamed<LoRA<Attn>, NF4>");
  return true;
}();

}  // namespace
