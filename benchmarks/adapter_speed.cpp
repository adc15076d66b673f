// Training steps with adapters: seconds, operations a second beside what one large matrix product reaches in
// the same process, tokens a second, page faults. Cases named full/ need 10 GiB.
#include <benchmark/benchmark.h>

#include "benchmarks/step.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;

template <AdapterPolicy P>
using Flamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

enum class Part { step, forward };

template <AdapterPolicy P>
void run(benchmark::State& state, LlamaConfig language, PlanSetup setup, PlanWork work, Part part) {
  using Model = Flamingo<P>;
  language.vocab_size = 32000;
  auto training = Training<Model>::make(presets::flamingo<Model>(language), setup, work);
  double flops = 0;
  {
    FlopMeter meter;  // and the first, cold step
    part == Part::step ? training.step() : training.forward().template item<double>();
    flops = meter.flops();
  }
  const auto faults = page_faults();
  std::int64_t steps = 0;
  for (auto iteration : state) {
    benchmark::DoNotOptimize(part == Part::step ? training.step()
                                                : training.forward().template item<double>());
    ++steps;
  }
  const double faulted = static_cast<double>(page_faults() - faults) / static_cast<double>(steps);
  const double floor =
      product_speed(work.batch * work.seq, language.hidden_size, language.intermediate_size, setup.dtype);
  using benchmark::Counter;
  state.counters["TFLOP"] = flops / 1e12;
  state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  state.counters["floor_FLOP/s"] = floor;
  state.counters["floor_s"] = flops / floor;
  state.counters["tokens/s"] =
      Counter(static_cast<double>(work.batch * work.seq), Counter::kIsIterationInvariantRate);
  state.counters["page_faults"] = faulted;
  state.counters["peak_rss_GiB"] = static_cast<double>(peak_resident()) / 0x1p30;
}

PlanWork cached(PlanWork work) {
  work.cached_latents = true;
  return work;
}

template <AdapterPolicy P>
void cases(const std::string& placement) {
  const auto add = [&](const std::string& name, const LlamaConfig& language, const PlanSetup& setup,
                       const PlanWork& work, Part part) {
    benchmark::RegisterBenchmark((name + '/' + placement).c_str(),
                                 [=](benchmark::State& state) { run<P>(state, language, setup, work, part); })
        ->Unit(benchmark::kSecond)
        ->UseRealTime()
        ->Iterations(3);
  };
  const PlanSetup fp32{.dtype = at::kFloat}, bf16{.dtype = at::kBFloat16};
  add("smollm2/fp32/step", presets::smollm2_135m, fp32, kSmall, Part::step);
  add("smollm2/fp32/step_cached_latents", presets::smollm2_135m, fp32, cached(kSmall), Part::step);
  add("smollm2/fp32/forward_cached_latents", presets::smollm2_135m, fp32, cached(kSmall), Part::forward);
  add("smollm2/bf16/step", presets::smollm2_135m, bf16, kSmall, Part::step);
  add("smollm2/bf16/step_cached_latents", presets::smollm2_135m, bf16, cached(kSmall), Part::step);
  add("full/open_llama_3b/bf16/step", presets::open_llama_3b, bf16, kLarge, Part::step);
  add("full/open_llama_3b/bf16/step_cached_latents", presets::open_llama_3b, bf16, cached(kLarge),
      Part::step);
}

[[maybe_unused]] const bool kRegistered = [] {
  keep_freed_memory();
  cases<LoRA<Attn>>("LoRA<Attn>");
  cases<LoRA<Attn, FeedForward>>("LoRA<Attn, FeedForward>");
  return true;
}();

}  // namespace
