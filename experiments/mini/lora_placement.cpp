#include "experiments/mini/lora_placement.hpp"

#include <utility>

#include "experiments/mini/sweep.hpp"
#include "morphvlm/vlm/presets.hpp"

namespace morphvlm::experiments {

namespace {

/// Calls f(name, policy) for each placement, each a type of its own.
template <class F>
void for_each_placement(F&& f) {
  f("Attn + CrossMlp", std::type_identity<LoRA<Attn, CrossMlp>>{});
  f("Attn", std::type_identity<LoRA<Attn>>{});
  f("SelfAttn", std::type_identity<LoRA<SelfAttn>>{});
  f("CrossAttn", std::type_identity<LoRA<CrossAttn>>{});
  f("FeedForward", std::type_identity<LoRA<FeedForward>>{});
  f("none", std::type_identity<NoAdapter>{});
}

constexpr const char* kGated = "gated_cross_attn.*";

FinetuneConfig config_of(const LoraPlacement& e, bool live, std::int64_t seed) {
  FinetuneConfig c{.batch = e.batch, .seed = static_cast<std::uint64_t>(seed), .train = e.train};
  if (!live) {
    c.gates = GatePolicy::frozen;
    c.train.allow_dead = {kGated};
  }
  return c;
}

// What happens to someone who trains behind shut gates without saying so.
std::string dead_message(const SmallWorld<OpenLLaMA>& world, const LoraPlacement& e) {
  FinetuneConfig c = config_of(e, false, 0);
  c.train.allow_dead.clear();
  c.train.steps = kStepsToProveLife + 2;
  c.train.schedule = Constant{};
  try {
    finetune<LoRA<Attn, CrossMlp>>(world, c);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

std::int64_t count_names(const std::string& message) {
  std::int64_t count = 0;
  for (auto at = message.find(".adapter.lora_"); at != std::string::npos;
       at = message.find(".adapter.lora_", at + 1))
    ++count;
  return count;
}

}  // namespace

const std::vector<std::string>& placements() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for_each_placement([&](const char* name, auto) { out.emplace_back(name); });
    return out;
  }();
  return names;
}

std::map<std::string, std::int64_t> full_size_counts() {
  std::map<std::string, std::int64_t> out;
  for_each_placement([&]<class P>(const char* name, std::type_identity<P>) {
    using Full = VLM<ClipViT, Perceiver, OpenLLaMA, P>;
    auto config = presets::flamingo<Full>(presets::open_llama_3b, 4);
    if constexpr (!std::is_same_v<P, NoAdapter>) config.adapter = {.rank = 16, .alpha = 16};
    const auto model = Full::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
    out[name] = parameter_count(model, kAdapterParameters);
  });
  return out;
}

LoraPlacementResult run(const LoraPlacement& e) {
  const auto data = open_small_data(e.world);
  const auto world = open_small_world<OpenLLaMA>(data, "llama");
  LoraPlacementResult out;
  std::vector<SweepRun> sweep;
  for_each_placement([&]<class P>(const char* name, std::type_identity<P>) {
    for (const bool live : {true, false}) {
      for (std::int64_t seed = 0; seed < e.seeds; ++seed) {
        out.runs.push_back({name, live, seed, {}});
        sweep.push_back({std::string(name) + (live ? "-live" : "-shut") + "-seed" + std::to_string(seed),
                         config_of(e, live, seed),
                         [&world](const FinetuneConfig& c) { return finetune<P>(world, c); },
                         {}});
      }
    }
  });
  run_sweep(sweep, e.world.out / "placement", world_key(e.world), "LoRA placements");
  for (std::size_t i = 0; i < out.runs.size(); ++i) out.runs[i].run = std::move(sweep[i].result);
  out.dead_message = dead_message(world, e);
  out.dead_parameters = count_names(out.dead_message);
  out.full_size = full_size_counts();
  return out;
}

}  // namespace morphvlm::experiments
