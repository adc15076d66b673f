// Long runs in stages: what is finished is kept and not repeated.
#pragma once

#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>

#include "morphvlm/core/json.hpp"
#include "morphvlm/formats/atomic_file.hpp"

namespace morphvlm::experiments {

/// A finished stage: what it reports, and how long it took when it ran.
struct StageResult {
  Json results = {};
  double seconds = 0;
};

/// Runs make(folder) -> Json of results, which fills a fresh folder that then becomes `folder`, unless
/// `folder` holds a finished stage made under the same `key` (everything that decides its outcome); that is
/// then told, if `say`.
template <class Make>
StageResult stage(const std::filesystem::path& folder, const Json& key, Make&& make, bool say = true) {
  const auto record = folder / "stage.json";
  if (std::filesystem::exists(record)) {
    const Json stored = read_json(record);
    if (stored.contains("key") && stored.at("key") == key) {
      if (say) std::cerr << folder.filename().string() << ": kept from an earlier run\n";
      return {stored.at("results"), json_get<double>(stored, "seconds", record.string())};
    }
  }
  StageResult out;
  write_directory(folder, [&](const std::filesystem::path& fresh) {
    const auto start = std::chrono::steady_clock::now();
    out.results = make(fresh);
    out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const Json stored{{"key", key}, {"seconds", out.seconds}, {"results", out.results}};
    write_file(fresh / "stage.json", stored.dump(1) + "\n");
  });
  return out;
}

}  // namespace morphvlm::experiments
