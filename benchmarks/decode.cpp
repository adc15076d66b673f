// Tokens a second of decoding, beside the bytes that have to be read for each and how fast this machine
// reads. Cases named full/ need 10 GiB; those named cuda/ are there where a CUDA device is.
#include <benchmark/benchmark.h>

#include <ATen/ops/empty_like.h>

#include "benchmarks/machine_context.hpp"
#include "benchmarks/step.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;

// As many tokens are written first as a CUDA graph needs to be recorded, which is not to be counted.
constexpr std::int64_t kPrompt = 28, kFew = 4, kNew = 24, kNewOnCuda = 128;

// Bytes a second of a product of one row with matrices far larger than any cache: what a decoder can hope
// for.
double read_speed(c10::Device device) {
  if (device.is_cuda()) {  // a copy: bytes read and bytes written
    const Tensor from = at::full({std::int64_t{1} << 30}, 1, TensorOptions(at::kFloat).device(device));
    const Tensor to = at::empty_like(from);
    return 2 * static_cast<double>(from.nbytes()) / seconds_of(device, [&] { to.copy_(from); });
  }
  constexpr std::int64_t kIn = 4096, kOut = 4096, kMatrices = 24;
  std::vector<Tensor> weights;
  for (std::int64_t i = 0; i < kMatrices; ++i) weights.push_back(at::full({kOut, kIn}, 0.01, at::kFloat));
  const Tensor x = at::full({1, kIn}, 0.01, at::kFloat);
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    const double start = now();
    for (const auto& w : weights) benchmark::DoNotOptimize(at::linear(x, w));
    best = std::max(best, static_cast<double>(kIn * kOut * kMatrices * 4) / (now() - start));
  }
  return best;
}

// Bytes of weights that one token of each row reads: the language model but one row of the embedding, and the
// gated blocks but what makes keys and values of the latents, once.
template <class Model>
std::int64_t bytes_of_step(const Model& model) {
  std::int64_t bytes = 0;
  const auto add = [&](const std::string& name, const Tensor& t) {
    if (!matches(name, "*embed_tokens.weight") && !matches(name, "*.to_kv.*"))
      bytes += static_cast<std::int64_t>(t.nbytes());
  };
  visit(model.lang_encoder, add);
  visit(model.gated_cross_attn, add);
  const Tensor& head = model.lang_encoder.head();
  return model.lang_encoder.lm_head.weight.defined() ? bytes
                                                     : bytes + static_cast<std::int64_t>(head.nbytes());
}

// How many texts are written at once, and with how many beams.
struct Texts {
  std::int64_t beams = 1, rows = 1;
};

template <AdapterPolicy P>
void run(benchmark::State& state, const LlamaConfig& language, at::ScalarType dtype, const Texts& texts,
         c10::DeviceType device, std::int64_t written) {
  using Model = VLM<ClipViT, Perceiver, OpenLLaMA, P>;
  at::NoGradGuard no_grad;
  const StepShape work{.batch = texts.rows, .seq = kPrompt, .supervised = 1};
  auto config = presets::flamingo<Model>(language);
  auto training =
      Training<Model>::make(config, {.dtype = dtype, .device = device, .parts = {.adapters = false}}, work);
  const Tensor latents = training.see();
  const auto seconds = [&](std::int64_t tokens) {
    return seconds_of_decoding(training.model, training.text, latents, tokens, texts.beams);
  };
  seconds(kFew);
  double spent = 0;
  std::int64_t tokens = 0;
  for (auto iteration : state) {
    const double few = seconds(kFew), all = seconds(kFew + written);
    state.SetIterationTime(all - few);
    spent += all - few;
    tokens += written * texts.rows;
  }
  const double rate = static_cast<double>(tokens) / spent;
  // Of weights, which all rows share.
  const auto bytes = static_cast<double>(bytes_of_step(training.model)) / static_cast<double>(texts.rows);
  const double machine = read_speed(c10::Device(device));
  state.counters["tokens/s"] = rate;
  state.counters["GB/token"] = bytes / 1e9;
  state.counters["GB/s"] = rate * bytes / 1e9;
  state.counters["read_GB/s"] = machine / 1e9;
  state.counters["floor_tokens/s"] = machine / bytes;
}

template <AdapterPolicy P = NoAdapter>
void add(const std::string& name, const LlamaConfig& language, at::ScalarType dtype, const Texts& texts = {},
         c10::DeviceType device = c10::kCPU) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 run<P>(state, language, dtype, texts, device,
                                        device == c10::kCUDA ? kNewOnCuda : kNew);
                               })
      ->Unit(benchmark::kSecond)
      ->UseManualTime()
      ->Iterations(2);
}

[[maybe_unused]] const bool kRegistered = [] {
  keep_freed_memory();
  add_machine_context();
  add("smollm2/fp32", presets::smollm2_135m, at::kFloat);
  add("smollm2/bf16", presets::smollm2_135m, at::kBFloat16);
  add("smollm2/bf16/beams3", presets::smollm2_135m, at::kBFloat16, {.beams = 3});
  add("smollm2/bf16/rows8", presets::smollm2_135m, at::kBFloat16, {.rows = 8});
  add<Quantized<Int8>>("smollm2/int8", presets::smollm2_135m, at::kBFloat16);
  add<Quantized<NF4>>("smollm2/nf4", presets::smollm2_135m, at::kBFloat16);
  add<Quantized<NF4>>("smollm2/nf4/rows8", presets::smollm2_135m, at::kBFloat16, {.rows = 8});
  add("full/open_llama_3b/bf16", presets::open_llama_3b, at::kBFloat16);
  add("full/open_llama_3b/bf16/beams3", presets::open_llama_3b, at::kBFloat16, {.beams = 3});
  add("full/open_llama_3b/bf16/rows8", presets::open_llama_3b, at::kBFloat16, {.rows = 8});
  add<Quantized<Int8>>("full/open_llama_3b/int8", presets::open_llama_3b, at::kBFloat16);
  add<Quantized<NF4>>("full/open_llama_3b/nf4", presets::open_llama_3b, at::kBFloat16);
  add<Quantized<NF4>>("full/open_llama_3b/nf4/rows8", presets::open_llama_3b, at::kBFloat16, {.rows = 8});
  if (has_cuda()) {
    add("cuda/open_llama_3b/bf16", presets::open_llama_3b, at::kBFloat16, {}, c10::kCUDA);
    add("cuda/open_llama_3b/bf16/beams3", presets::open_llama_3b, at::kBFloat16, {.beams = 3}, c10::kCUDA);
    add<Quantized<NF4>>("cuda/open_llama_3b/nf4", presets::open_llama_3b, at::kBFloat16, {}, c10::kCUDA);
    add("cuda/smollm2/bf16", presets::smollm2_135m, at::kBFloat16, {}, c10::kCUDA);
  }
  return true;
}();

}  // namespace
