// One training step and greedy decoding, for the comparison with the Python peer: the arguments and the JSON
// line of benchmarks/peer_step.py.
#include <algorithm>
#include <iostream>
#include <vector>

#include "benchmarks/step.hpp"
#include "experiments/programs/program.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/kernels/cpu/matmul_precision.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::benchmarks;
using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

struct Arguments {
  std::string lm = "smollm2_135m";
  std::string dtype = "fp32";
  std::int64_t batch = 8;
  std::int64_t seq = 32;
  std::int64_t steps = 2;
  std::int64_t generate = 0;
  bool cached_latents = false;
  std::string float32_matmul_precision = "highest";
  std::string device = "cpu";
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> =
    std::to_array<FieldNote>({{"lm", "smollm2_135m or open_llama_3b"},
                              {"dtype", "fp32 or bf16"},
                              {"batch", "texts of a batch", at_least(1)},
                              {"seq", "tokens of a text", at_least(1)},
                              {"steps", "that are timed", at_least(1)},
                              {"generate", "tokens that are decoded; 0: none", at_least(0)},
                              {"cached_latents", "pictures were seen before"},
                              {"float32_matmul_precision", "highest, high or medium"},
                              {"device", "cpu, cuda or cuda:N"}});

namespace {

void run(const Arguments& a) {
  set_float32_matmul_precision(a.float32_matmul_precision);
  expect(a.lm == "smollm2_135m" || a.lm == "open_llama_3b", "--lm: expected smollm2_135m or open_llama_3b");
  auto language = a.lm == "open_llama_3b" ? presets::open_llama_3b : presets::smollm2_135m;
  language.vocab_size = 32000;
  language.tie_word_embeddings = false;
  const auto device = device_named(a.device);
  const PlanSetup setup{.dtype = a.dtype == "bf16" ? at::kBFloat16 : at::kFloat, .device = device.type()};
  auto t = Training<Model>::make(
      presets::flamingo<Model>(language), setup,
      {.batch = a.batch,
       .seq = a.seq,
       .images = 1,
       .supervised = 4,
       .packed = true,  // rows are full: there is nothing to mask, as the peer finds too
       .cached_latents = a.cached_latents});
  if (device.is_cuda()) t.record();
  std::vector<double> seconds;
  for (std::int64_t i = 0; i <= a.steps; ++i) {
    const double start = now();
    t.step();
    synchronize(device);
    seconds.push_back(now() - start);
  }
  seconds.erase(seconds.begin());  // a warm-up
  std::sort(seconds.begin(), seconds.end());
  Json out{{"trainable", trainable_count(t.model)},
           {"step_s", seconds[seconds.size() / 2]},
           {"peak_rss_gib", static_cast<double>(peak_resident()) / 0x1p30}};
#ifdef MORPHVLM_CUDA
  if (device.is_cuda()) out["peak_cuda_gib"] = static_cast<double>(peak_cuda_reserved(device)) / 0x1p30;
#endif
  constexpr std::int64_t kFew = 8;
  if (a.generate > kFew) {
    at::NoGradGuard no_grad;
    const TextInput first{.ids = t.text.ids.slice(0, 0, 1)};
    const Tensor latents = t.see().slice(0, 0, 1);
    seconds_of_decoding(t.model, first, latents, kFew);  // a warm-up
    const double few = seconds_of_decoding(t.model, first, latents, kFew),
                 all = seconds_of_decoding(t.model, first, latents, a.generate);
    out["tokens_per_s"] = static_cast<double>(a.generate - kFew) / (all - few);
  }
  std::cout << out.dump() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  return experiments::program<Arguments>(
      {.name = "peer_step",
       .purpose = "One training step and greedy decoding, for benchmarks/compare_with_peer.py."},
      argc, argv, run);
}
