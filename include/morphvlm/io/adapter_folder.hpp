// What folders of adapters have in common, PEFT's and our own.
#pragma once

#include <ATen/ops/isfinite.h>

#include <filesystem>
#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/peft_config.hpp"

namespace morphvlm {

/// The file of an adapter folder that holds the trained parameters.
inline constexpr const char* kAdapterWeights = "adapter.safetensors";
/// The file of an adapter folder that holds the model's config and the names of adapters that were not
/// trained.
inline constexpr const char* kAdapterConfig = "adapter.json";
/// The adapter folder in a run's.
inline constexpr const char* kRunAdapter = "adapter";

/// Where the adapter is that `folder` stands for: `folder` itself, or in a run's folder, which has no adapter
/// of its own, the `adapter` that the run has left there.
inline std::filesystem::path adapter_folder(const std::filesystem::path& folder) {
  const auto has_adapter = [](const std::filesystem::path& path) {
    return std::filesystem::exists(path / kAdapterConfig) || std::filesystem::exists(path / kPeftConfig);
  };
  return !has_adapter(folder) && has_adapter(folder / kRunAdapter) ? folder / kRunAdapter : folder;
}

/// An Error that names the first tensor with a number that is infinite or none: what a run that has come
/// apart leaves. `where` leads the message.
inline void expect_finite(const StateDict& dict, const std::string& where) {
  for (const auto& [name, t] : dict) {
    const bool finite = t.is_meta() || !t.is_floating_point() || at::isfinite(t).all().item<bool>();
    expect(finite, where, ": tensor \"", name, "\" has numbers that are not finite");
  }
}

}  // namespace morphvlm
