// Features of many inputs, a row each, computed once: what is there stays there, whatever becomes of the
// others.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/formats/safetensors.hpp"

namespace morphvlm {

/// How features are made.
struct FeatureRowsConfig {
  std::size_t at_once = 8;  ///< inputs that make() gets, at most
  std::string title = "";   ///< of the progress bar; empty: none
};

/// Features of inputs by name.
struct FeatureRows {
  Tensor features = {};                 ///< [rows, ...]; undefined where no input has any
  std::vector<std::int64_t> at = {};    ///< of each input: its row; -1: it has none
  std::vector<std::string> wrong = {};  ///< and why not
};

namespace detail {

inline std::int64_t feature_name_hash(const std::string& name) {
  return static_cast<std::int64_t>(fnv1a(name));
}

// What the file holds under `key`, hash by hash; nothing where it is of another key or form.
inline FeatureRows stored_feature_rows(const std::filesystem::path& path, const std::string& key,
                                       std::span<const std::string> names) {
  FeatureRows out{.at = std::vector<std::int64_t>(names.size(), -1),
                  .wrong = std::vector<std::string>(names.size())};
  if (!std::filesystem::exists(path)) return out;
  const auto file = open_safetensors(path);
  const auto stored = file.header.metadata.find("key");
  if (stored == file.header.metadata.end() || stored->second != key) return out;
  const StateDict tensors = load_safetensors(path);
  Tensor hashes;
  for (const auto& [name, t] : tensors) (name == "names" ? hashes : out.features) = t;
  const bool fits = tensors.size() == 2 && hashes.defined() && hashes.scalar_type() == at::kLong &&
                    hashes.dim() == 1 && out.features.dim() > 0 && out.features.size(0) == hashes.size(0);
  expect(fits, path.string(),
         ": expected tensors names (int64 [rows]) and features [rows, ...]; remove the file");
  std::unordered_map<std::int64_t, std::int64_t> row_of;
  for (std::int64_t i = 0; i < hashes.numel(); ++i)
    row_of.emplace(hashes.const_data_ptr<std::int64_t>()[i], i);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (const auto it = row_of.find(feature_name_hash(names[i])); it != row_of.end()) out.at[i] = it->second;
  return out;
}

// Computes what `out` lacks, some inputs at a time; where that fails, one by one.
template <class Make>
bool make_feature_rows(FeatureRows& out, const FeatureRowsConfig& config, Make& make) {
  std::vector<std::size_t> lacking;
  for (std::size_t i = 0; i < out.at.size(); ++i)
    if (out.at[i] < 0) lacking.push_back(i);
  Progress progress(lacking.empty() ? "" : config.title, std::ssize(lacking));
  std::vector<Tensor> parts;
  if (out.features.defined()) parts.push_back(out.features);
  auto rows = out.features.defined() ? out.features.size(0) : 0;
  const auto add = [&](std::span<const std::size_t> some) {
    parts.push_back(make(some));
    for (const auto i : some) out.at[i] = rows++;
    progress.advance(std::ssize(some));
  };
  for (std::size_t i = 0; i < lacking.size(); i += config.at_once) {
    const auto some =
        std::span<const std::size_t>(lacking).subspan(i, std::min(config.at_once, lacking.size() - i));
    try {
      add(some);
      continue;
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the input that it is about raises it again
    }
    for (const auto& one : some) {
      try {
        add(std::span(&one, 1));
      } catch (const Error& e) {
        out.wrong[one] = e.what();
      }
    }
  }
  if (!parts.empty()) out.features = at::cat(parts);
  return !lacking.empty();
}

}  // namespace detail

/// The features of the inputs called `names`, as far as `path` has them under the same `key`; the others are
/// made, some at a time, by make(span of indices into names) -> [indices, ...], and stored there. An
/// input whose make() raises an Error is left without, and costs no other its features. `key` names what all
/// features depend on: weights, preprocessing; a name what its own depend on: file, size, time.
template <class Make>
FeatureRows cached_feature_rows(const std::filesystem::path& path, const std::string& key,
                                std::span<const std::string> names, const FeatureRowsConfig& config,
                                Make&& make) {
  FeatureRows out = detail::stored_feature_rows(path, key, names);
  if (!detail::make_feature_rows(out, config, make) || !out.features.defined()) return out;
  // Only what is asked for stays in the file.
  std::vector<std::int64_t> kept, hashes;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (out.at[i] < 0) continue;
    kept.push_back(out.at[i]);
    hashes.push_back(detail::feature_name_hash(names[i]));
    out.at[i] = std::ssize(kept) - 1;
  }
  const bool all = std::ssize(kept) == out.features.size(0) && std::ranges::is_sorted(kept);
  if (!all) out.features = out.features.index_select(0, at::tensor(kept, at::kLong));
  if (kept.empty()) return out;
  save_safetensors(path, {{"features", out.features}, {"names", at::tensor(hashes, at::kLong)}},
                   {{"key", key}});
  out.features = open_safetensors(path).tensor("features");
  return out;
}

}  // namespace morphvlm
