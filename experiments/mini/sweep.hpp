// Many fine-tunings of one world, on all cores, each kept when it is done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "experiments/mini/small_training.hpp"

namespace morphvlm::experiments {

/// Calls job(0) ... job(n - 1), as many at once as there are cores and each with one thread, so that a job's
/// numbers do not depend on how many there are. Progress over all of them under `title`. The first exception
/// is thrown on, once the jobs that had begun have ended.
void for_each_job(std::int64_t n, const std::string& title, const std::function<void(std::int64_t)>& job);

/// One fine-tuning of a sweep: its result once it is done, under a key of all that decides it.
struct SweepRun {
  std::string name = {};  ///< its folder; unique within the sweep
  FinetuneConfig config = {};
  std::function<FinetuneRun(const FinetuneConfig&)> run = {};
  FinetuneRun result = {};
};

/// Runs what is not finished under `folder`. `world` is the key of what all runs start from.
inline void run_sweep(std::vector<SweepRun>& runs, const std::filesystem::path& folder, const Json& world,
                      const std::string& title) {
  for_each_job(std::ssize(runs), title, [&](std::int64_t i) {
    SweepRun& r = runs[static_cast<std::size_t>(i)];
    const Json key{{"world", world}, {"run", to_json(r.config)}};
    const StageResult kept = stage(
        folder / r.name, key, [&](const std::filesystem::path&) { return to_json(r.run(r.config)); }, false);
    update_from_json(r.result, kept.results, r.name);
  });
}

}  // namespace morphvlm::experiments
