#include "experiments/mini/biogpt_convergence.hpp"

#include <string>
#include <utility>

#include "experiments/mini/sweep.hpp"

namespace morphvlm::experiments {

BioGPTConvergenceResult run(const BioGPTConvergence& e) {
  const auto data = open_small_data(e.world);
  const auto world = open_small_world<BioGPT>(data, "biogpt");
  const auto finetune_once = [&world](const FinetuneConfig& c) { return finetune<LoRA<Attn>>(world, c); };
  BioGPTConvergenceResult out;
  std::vector<SweepRun> sweep;
  for (const bool combined : {true, false}) {
    for (std::int64_t seed = 0; seed < e.seeds; ++seed) {
      out.runs.push_back({combined, seed, {}});
      sweep.push_back({(combined ? "combined-seed" : "pictures-seed") + std::to_string(seed),
                       {.batch = e.batch,
                        .medical_batch = combined ? e.medical_batch : 0,
                        .seed = static_cast<std::uint64_t>(seed),
                        .train = e.train},
                       finetune_once,
                       {}});
    }
  }
  run_sweep(sweep, e.world.out / "biogpt-convergence", world_key(e.world), "BioGPT: data");
  for (std::size_t i = 0; i < out.runs.size(); ++i) out.runs[i].run = std::move(sweep[i].result);
  for_each_job(1, "BioGPT: the first run once more",
               [&](std::int64_t) { out.repeated = finetune_once(sweep.front().config); });
  return out;
}

}  // namespace morphvlm::experiments
