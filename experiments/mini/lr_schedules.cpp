#include "experiments/mini/lr_schedules.hpp"

#include <ranges>
#include <utility>

#include "experiments/mini/sweep.hpp"

namespace morphvlm::experiments {

namespace {

FinetuneConfig config_of(const LrSchedules& e, const ScheduleSetting& setting, std::int64_t seed) {
  FinetuneConfig c{.batch = e.batch, .seed = static_cast<std::uint64_t>(seed), .train = e.train};
  c.train.schedule = schedule_of(setting);
  c.train.accumulate = setting.accumulate;
  return c;
}

}  // namespace

std::string to_string(const ScheduleSetting& s) {
  return s.schedule + ", warm-up " + std::to_string(s.warmup) +
         (s.accumulate > 1 ? ", accumulation " + std::to_string(s.accumulate) : "");
}

Schedule schedule_of(const ScheduleSetting& s) {
  if (s.schedule == "cosine") return Cosine{.warmup = s.warmup};
  if (s.schedule == "linear") return LinearDecay{.warmup = s.warmup};
  if (s.schedule == "constant") return Constant{.warmup = s.warmup};
  if (s.schedule == "exponential") return Exponential{.warmup = s.warmup};
  fail("schedule: expected cosine, linear, constant or exponential, found \"", s.schedule, '"');
}

std::string folder_of(const ScheduleSetting& s, std::int64_t seed) {
  return s.schedule + "-warmup" + std::to_string(s.warmup) +
         (s.accumulate > 1 ? "-accumulate" + std::to_string(s.accumulate) : "") + "-seed" +
         std::to_string(seed);
}

std::vector<ScheduleSetting> schedule_settings(const LrSchedules& e) {
  std::vector<ScheduleSetting> out;
  for (const auto name : kSchedules)
    for (const auto warmup : kWarmups) out.push_back({std::string(name), warmup});
  out.push_back({"cosine", 10, e.accumulate});
  return out;
}

LrSchedulesResult run(const LrSchedules& e) {
  const auto data = open_small_data(e.world);
  const auto world = open_small_world<OpenLLaMA>(data, "llama");
  const auto finetune_once = [&world](const FinetuneConfig& c) { return finetune<LoRA<Attn>>(world, c); };
  LrSchedulesResult out;
  std::vector<SweepRun> sweep;
  for (const auto& setting : schedule_settings(e)) {
    for (std::int64_t seed = 0; seed < e.seeds; ++seed) {
      out.runs.push_back({setting, seed, {}});
      sweep.push_back({folder_of(setting, seed), config_of(e, setting, seed), finetune_once, {}});
    }
  }
  run_sweep(sweep, e.world.out / "schedules", world_key(e.world), "schedules");
  for (std::size_t i = 0; i < out.runs.size(); ++i) out.runs[i].run = std::move(sweep[i].result);
  for_each_job(1, "schedules: the first run once more",
               [&](std::int64_t) { out.repeated = finetune_once(sweep.front().config); });
  return out;
}

}  // namespace morphvlm::experiments
