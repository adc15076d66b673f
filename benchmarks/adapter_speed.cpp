// Training steps with adapters: seconds, operations a second beside what one large matrix product reaches in
// the same process, tokens a second, page faults. Cases named full/ need 10 GiB; those named cuda/ are there
// where a CUDA device is.
#include <benchmark/benchmark.h>

#include "benchmarks/machine_context.hpp"
#include "benchmarks/step.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;

template <AdapterPolicy P>
using Flamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

enum class Part { step, forward };

template <AdapterPolicy P>
void run(benchmark::State& state, LlamaConfig language, PlanSetup setup, StepShape work, Part part,
         const std::string& precision) {
  using Model = Flamingo<P>;
  set_float32_matmul_precision(precision);
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
  const auto resident = static_cast<double>(peak_resident());
  // Fewer bits of fp32 are three products of BFloat16.
  const bool is_split = precision != "highest";
  const double floor = product_speed(work.batch * work.seq, language.hidden_size, language.intermediate_size,
                                     is_split ? at::kBFloat16 : setup.dtype) /
                       (is_split ? 3 : 1);
  using benchmark::Counter;
  state.counters["TFLOP"] = flops / 1e12;
  state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  state.counters["floor_FLOP/s"] = floor;
  state.counters["floor_s"] = flops / floor;
  state.counters["tokens/s"] =
      Counter(static_cast<double>(work.batch * work.seq), Counter::kIsIterationInvariantRate);
  state.counters["page_faults"] = faulted;
  state.counters["peak_rss_GiB"] = resident / 0x1p30;
}

// Parameters that every token is multiplied with: those of the decoder layers and of the gated blocks, but
// for what sees pictures alone; as many with a base in four bits. Not the embedding; and the head runs at
// supervised positions alone.
double parameters_of_token(const LlamaConfig& language) {
  using Plainly = Flamingo<LoRA<Attn>>;
  const auto model = Plainly::init(presets::flamingo<Plainly>(language), {TensorOptions().device(at::kMeta)});
  double count = 0;
  const auto add = [&](const std::string& pattern) {
    return [&count, pattern](const std::string& name, const Tensor& t) {
      if (matches(name, pattern) && !matches(name, "*to_kv*")) count += static_cast<double>(t.numel());
    };
  };
  visit(model.lang_encoder, add("*layers.*.weight"));
  visit(model.gated_cross_attn, add("*.weight"));
  return count;
}

// As `run`, on a card: the floor is the largest product of matrices that it does fast, and MFU counts four
// operations to a parameter and token, as is usual for a frozen base.
template <AdapterPolicy P>
void run_on_cuda(benchmark::State& state, LlamaConfig language, PlanSetup setup, StepShape work,
                 bool recorded) {
  using Model = Flamingo<P>;
  const c10::Device device(c10::kCUDA, 0);
  language.vocab_size = 32000;
  setup.device = c10::kCUDA;
  const auto config = presets::flamingo<Model>(language);
  const double flops = plan<Model>(config, setup, work).flops();
  auto training = Training<Model>::make(config, setup, work);
  if (recorded) training.record();
  constexpr int kWarmUp = 3;
  for (int i = 0; i < kWarmUp; ++i) training.step();
  std::int64_t steps = 0;
  double spent = 0;
  for (auto iteration : state) {
    synchronize(device);
    const double start = now();
    training.step();
    synchronize(device);
    state.SetIterationTime(now() - start);
    spent += now() - start;
    ++steps;
  }
  constexpr std::int64_t kLargeProduct = 8192;
  const double floor = product_speed(kLargeProduct, kLargeProduct, kLargeProduct, setup.dtype, device);
  const auto tokens = static_cast<double>(work.batch * work.seq);
  const double seconds = spent / static_cast<double>(steps);
  state.counters["TFLOP"] = flops / 1e12;
  state.counters["FLOP/s"] = flops / seconds;
  state.counters["floor_FLOP/s"] = floor;
  state.counters["floor_s"] = flops / floor;
  state.counters["tokens/s"] = tokens / seconds;
  state.counters["MFU_4N"] = 4 * parameters_of_token(language) * tokens / seconds / floor;
}

StepShape cached(StepShape work) {
  work.cached_latents = true;
  return work;
}

template <AdapterPolicy P>
void add_case(const std::string& name, const LlamaConfig& language, const PlanSetup& setup,
              const StepShape& work, Part part, const std::string& precision = "highest") {
  benchmark::RegisterBenchmark(
      name.c_str(), [=](benchmark::State& state) { run<P>(state, language, setup, work, part, precision); })
      ->Unit(benchmark::kSecond)
      ->UseRealTime()
      ->Iterations(3);
}

template <AdapterPolicy P>
void cases(const std::string& placement) {
  const auto add = [&](const std::string& name, const auto&... of) {
    add_case<P>(name + '/' + placement, of...);
  };
  const PlanSetup fp32{.dtype = at::kFloat}, bf16{.dtype = at::kBFloat16};
  add("smollm2/fp32/step", presets::smollm2_135m, fp32, kSmall, Part::step);
  add("smollm2/fp32/step_cached_latents", presets::smollm2_135m, fp32, cached(kSmall), Part::step);
  add("smollm2/fp32/forward_cached_latents", presets::smollm2_135m, fp32, cached(kSmall), Part::forward);
  if (detail::has_amx())
    add("smollm2/fp32/high/step", presets::smollm2_135m, fp32, kSmall, Part::step, "high");
  add("smollm2/bf16/step", presets::smollm2_135m, bf16, kSmall, Part::step);
  add("smollm2/bf16/step_cached_latents", presets::smollm2_135m, bf16, cached(kSmall), Part::step);
  add("full/open_llama_3b/bf16/step", presets::open_llama_3b, bf16, kLarge, Part::step);
  add("full/open_llama_3b/bf16/step_cached_latents", presets::open_llama_3b, bf16, cached(kLarge),
      Part::step);
}

// A frozen base in few bits is written out as it is needed, forward and backward.
template <AdapterPolicy P>
void few_bits_cases(const std::string& placement) {
  const PlanSetup bf16{.dtype = at::kBFloat16};
  add_case<P>("smollm2/bf16/step_cached_latents/" + placement, presets::smollm2_135m, bf16, cached(kSmall),
              Part::step);
  add_case<P>("full/open_llama_3b/bf16/step_cached_latents/" + placement, presets::open_llama_3b, bf16,
              cached(kLarge), Part::step);
}

template <AdapterPolicy P>
void cuda_cases(const std::string& placement) {
  const auto add = [&](const std::string& name, const PlanSetup& setup, const StepShape& work,
                       bool recorded = true) {
    benchmark::RegisterBenchmark(("cuda/open_llama_3b/" + name + '/' + placement).c_str(),
                                 [=](benchmark::State& state) {
                                   run_on_cuda<P>(state, presets::open_llama_3b, setup, work, recorded);
                                 })
        ->Unit(benchmark::kSecond)
        ->UseManualTime()
        ->Iterations(10);
  };
  const PlanSetup bf16{.dtype = at::kBFloat16};
  PlanSetup lean = bf16;
  lean.recompute.every = 1;
  const StepShape rows{.seq = 2048, .images = 4, .supervised = 64, .packed = true};
  StepShape four = rows;
  four.batch = 4;
  StepShape pubmedqa = rows;
  pubmedqa.seq = 512;
  pubmedqa.images = 1;
  pubmedqa.supervised = 8;
  add("bf16/2048_packed/step_cached_latents", bf16, cached(rows));
  add("bf16/2048_packed/no_graph/step_cached_latents", bf16, cached(rows), false);
  add("bf16/2048_packed/step", bf16, rows);
  add("bf16/4x2048_packed/step_cached_latents", bf16, cached(four));
  add("bf16/4x2048_packed/recomputed/step_cached_latents", lean, cached(four));
  add("bf16/512/step_cached_latents", bf16, cached(pubmedqa));
  add("bf16/512/no_graph/step_cached_latents", bf16, cached(pubmedqa), false);
  add("bf16/2x64/step", bf16, kLarge);
}

[[maybe_unused]] const bool kRegistered = [] {
  keep_freed_memory();
  add_machine_context();
  if (has_cuda()) {
    cuda_cases<LoRA<Attn>>("LoRA<Attn>");
    cuda_cases<LoRA<Attn, FeedForward>>("LoRA<Attn, FeedForward>");
    cuda_cases<Quantized<NF4, LoRA<Attn>>>("Quantized<NF4, LoRA<Attn>>");
  }
  cases<LoRA<Attn>>("LoRA<Attn>");
  cases<LoRA<Attn, FeedForward>>("LoRA<Attn, FeedForward>");
  few_bits_cases<Quantized<NF4, LoRA<Attn>>>("Quantized<NF4, LoRA<Attn>>");
  few_bits_cases<Quantized<Int8, LoRA<Attn>>>("Quantized<Int8, LoRA<Attn>>");
  return true;
}();

}  // namespace
