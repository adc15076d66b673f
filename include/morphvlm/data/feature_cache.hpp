// Features of frozen parts, computed once and kept in a memory-mapped file.
#pragma once

#include <filesystem>
#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/safetensors.hpp"

namespace morphvlm {

/// A hash of all parameters' names, dtypes, shapes and bytes: part of a feature cache's key.
template <class M>
std::string weights_fingerprint(const M& module) {
  std::uint64_t hash = 0;
  visit(module, [&](const std::string& name, const Tensor& t) {
    const Tensor bytes = t.detach().cpu().contiguous().view({-1}).view(at::kByte);
    const std::string_view view(reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()),
                                bytes.numel());
    hash = split_mix(hash ^ fnv1a(name + ' ' + describe(t)) ^ split_mix(fnv1a(view)));
  });
  std::ostringstream text;
  text << std::hex << hash;
  return text.str();
}

/// The tensor stored at `path` under the same `key`; otherwise `make()`, which is stored there. The key names
/// what the features depend on: images, preprocessing, weights. The returned tensor is the file's memory.
template <class Make>
Tensor cached_features(const std::filesystem::path& path, const std::string& key, Make&& make) {
  if (std::filesystem::exists(path)) {
    const auto file = open_safetensors(path);
    const auto stored = file.header.metadata.find("key");
    if (stored != file.header.metadata.end() && stored->second == key) return file.tensor("features");
  }
  save_safetensors(path, {{"features", make()}}, {{"key", key}});
  return open_safetensors(path).tensor("features");
}

}  // namespace morphvlm
