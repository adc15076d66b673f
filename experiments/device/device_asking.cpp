#include "experiments/device/device_asking.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>

#include "experiments/device/device_step.hpp"
#include "experiments/mini/baseline_vqav2.hpp"
#include "morphvlm/core/memory_meter.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

namespace {

using OpenFlamingo = VLM<ClipViT, Perceiver, MPT>;

// OpenFlamingo's own batch, and what its prompt makes of a VQAv2 question with its answer.
constexpr std::int64_t kQuestions = 8, kTokensOfOne = 20;
constexpr auto kDtype = at::kBFloat16;

struct Prompts {
  Tensor pixels = {}, ids = {};
};

// Each demonstration after its picture; two without pictures where none is asked for.
Prompts random_prompts(const OpenFlamingo& model, const AskedShots& asked, const at::Generator& generator) {
  const auto device = device_of(model.perceiver);
  const auto side = model.config.vision.image_size;
  Prompts out{at::empty({kQuestions, asked.images, 3, side, side}, at::TensorOptions(kDtype).device(device))
                  .normal_(0, 1, generator),
              random_words(model.config, kQuestions, asked.tokens, device, generator)};
  for (std::int64_t i = 0; i < asked.images; ++i)
    out.ids.select(1, asked.tokens - (i + 1) * kTokensOfOne).fill_(model.config.media_token_id);
  return out;
}

Tensor answer(const OpenFlamingo& model, const Prompts& prompts) {
  const Tensor latents = model.resample(model.encode_vision(prompts.pixels));
  const auto end = model.config.eoc_token_id;
  return generate(model, {.ids = prompts.ids}, latents,
                  {.max_new_tokens = 5,
                   .eos_token_id = end,
                   .pad_token_id = end,
                   .num_beams = 3,
                   .length_penalty = 0})
      .ids.cpu();
}

std::int64_t tokens_apart(const Tensor& a, const Tensor& b) {
  if (!a.sizes().equals(b.sizes())) return std::max(a.numel(), b.numel());
  return a.ne(b).sum().item<std::int64_t>();
}

void ask(const OpenFlamingo& model, const DeviceScale& d, MemoryMeter& memory, AskedShots& asked) {
  const auto device = device_named(d.device);
  auto generator = make_generator(static_cast<std::uint64_t>(asked.shots), device);
  memory.restart_peak();
  std::vector<double> seconds;
  Prompts first;
  Tensor answered;
  for (std::int64_t batch = 0; batch < d.steps; ++batch) {
    const Prompts prompts = random_prompts(model, asked, generator);
    const auto start = std::chrono::steady_clock::now();
    const Tensor ids = answer(model, prompts);
    synchronize(device);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    if (batch > 0) continue;
    first = prompts;
    answered = ids;
  }
  asked.peak = memory.use().peak;
  asked.apart = tokens_apart(answered, answer(model, first));
  asked.seconds = warm_seconds(std::move(seconds)) / static_cast<double>(kQuestions);
}

}  // namespace

DeviceAskingResult ask_by_shots(const DeviceScale& d) {
  at::NoGradGuard no_grad;
  const auto device = device_named(d.device);
  MemoryMeter memory(device.type());
  auto config = device_config<OpenFlamingo>(d, presets::mpt_1b_redpajama, 1);
  config.cross_attention.gate_value = 0.5;
  const auto model =
      OpenFlamingo::init(config, {at::TensorOptions(kDtype).device(device), make_generator(1, device)});
  DeviceAskingResult out{.parameters = parameter_count(model),
                         .language_parameters = parameter_count(model, "lang_encoder.*")};
  for (const auto shots : kShots) {
    AskedShots asked{.shots = shots,
                     .images = shots + 1,
                     .tokens = (std::max<std::int64_t>(shots, 2) + 1) * kTokensOfOne,
                     .questions = kQuestions};
    ask(model, d, memory, asked);
    out.asked.push_back(asked);
  }
  return out;
}

}  // namespace morphvlm::experiments
