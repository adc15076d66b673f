// Model folders as transformers writes them: config.json and weights, whole or in shards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/torch_pickle.hpp"

namespace morphvlm {

/// Reads a file of tensors by its extension: .safetensors, or .pt, .pth, .bin (torch.save).
inline StateDict load_tensors(const std::filesystem::path& path) {
  const auto extension = path.extension();
  if (extension == ".safetensors") return load_safetensors(path);
  if (extension == ".pt" || extension == ".pth" || extension == ".bin") return load_torch(path);
  fail(path.string(), ": expected a file of tensors (.safetensors, .pt, .pth or .bin), found ", extension);
}

/// The folder's config.json.
inline Json read_hf_config(const std::filesystem::path& folder) {
  Json config = read_json(folder / "config.json");
  expect(config.is_object(), (folder / "config.json").string(), ": expected an object, found ",
         config.type_name());
  return config;
}

namespace detail {

// An index names files beside itself, never elsewhere.
inline std::filesystem::path shard_path(const std::filesystem::path& index, const std::string& name) {
  const std::filesystem::path file(name);
  expect(!name.empty() && file == file.filename() && name != "." && name != "..", index.string(),
         ": shard \"", name, "\": expected the name of a file in the same folder");
  return index.parent_path() / file;
}

/// All shards of an index; every tensor must be in the shard that the index says, and nothing else in any.
inline StateDict load_sharded(const std::filesystem::path& index) {
  const std::string where = index.string();
  const auto places = json_get<std::map<std::string, std::string>>(read_json(index), "weight_map", where);
  expect(!places.empty(), where, ": the weight map is empty");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [key, shard] : places) shards[shard].push_back(key);
  StateDict out;
  std::vector<std::string> missing, unexpected;
  for (const auto& [shard, keys] : shards) {
    std::unordered_set<std::string> found;
    for (auto& [key, tensor] : load_tensors(shard_path(index, shard))) {
      found.insert(key);
      const auto it = places.find(key);
      if (it == places.end() || it->second != shard) {
        unexpected.push_back(key + " in " + shard);
      } else {
        out.emplace_back(key, std::move(tensor));
      }
    }
    for (const auto& key : keys) {
      if (!found.contains(key)) missing.push_back(key + " in " + shard);
    }
  }
  std::string problems;
  append_list(problems, "missing", missing);
  append_list(problems, "not in the index", unexpected);
  expect(problems.empty(), where, ": the shards are not what the index says", problems);
  return out;
}

inline std::string shard_name(std::size_t index, std::size_t count) {
  const auto five = [](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  };
  return "model-" + five(index + 1) + "-of-" + five(count) + ".safetensors";
}

// Entries in order, a new shard where the next one would make it too large.
inline std::vector<StateDict> cut_into_shards(const StateDict& dict, std::int64_t limit) {
  std::vector<StateDict> shards(1);
  std::int64_t filled = 0;
  for (const auto& entry : dict) {
    const auto bytes = static_cast<std::int64_t>(entry.second.nbytes());
    if (!shards.back().empty() && filled + bytes > limit) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(entry);
  }
  return shards;
}

// Of tensors in the same memory, as a head that is its model's embedding, the first.
inline StateDict without_copies(const StateDict& dict) {
  using Place = std::tuple<const void*, std::vector<std::int64_t>, std::vector<std::int64_t>, at::ScalarType>;
  std::set<Place> seen;
  StateDict out;
  for (const auto& [name, t] : dict) {
    const Place place(t.const_data_ptr(), t.sizes().vec(), t.strides().vec(), t.scalar_type());
    if (t.numel() == 0 || seen.insert(place).second) out.emplace_back(name, t);
  }
  return out;
}

inline bool says_tied(const Json& config) {
  const auto it = config.is_object() ? config.find("tie_word_embeddings") : config.end();
  return it != config.end() && *it == true;
}

}  // namespace detail

/// The folder's weights: model.safetensors, its sharded form, pytorch_model.bin, its sharded form; the first
/// of these that is there. An Error lists what was looked for.
inline StateDict load_hf_weights(const std::filesystem::path& folder) {
  constexpr const char* kNames[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                    "pytorch_model.bin.index.json"};
  std::string looked_for;
  for (const auto* name : kNames) {
    const auto path = folder / name;
    if (std::filesystem::exists(path))
      return path.extension() == ".json" ? detail::load_sharded(path) : load_tensors(path);
    looked_for += (looked_for.empty() ? "" : ", ") + std::string(name);
  }
  fail(folder.string(), ": no weights; looked for ", looked_for);
}

/// Largest shard that transformers writes by default (5 GB until version 5).
inline constexpr std::int64_t kShardBytes = 5'000'000'000;

/// Writes a folder that transformers' from_pretrained loads: config.json and safetensors, with an index where
/// there is more than one shard. What is in the same memory twice is written once where the config says
/// `tie_word_embeddings`, since transformers then shares it by itself. Atomically, see write_directory.
inline void save_hf_directory(const std::filesystem::path& folder, const Json& config, const StateDict& dict,
                              std::int64_t shard_bytes = kShardBytes) {
  expect(!dict.empty() && shard_bytes > 0, folder.string(),
         ": expected tensors to save and a positive shard size");
  const std::map<std::string, std::string> metadata{{"format", "pt"}};
  const StateDict tensors = detail::says_tied(config) ? detail::without_copies(dict) : dict;
  write_directory(folder, [&](const std::filesystem::path& fresh) {
    write_file(fresh / "config.json", config.dump(2) + "\n");
    const auto shards = detail::cut_into_shards(tensors, shard_bytes);
    if (shards.size() == 1) return save_safetensors(fresh / "model.safetensors", tensors, metadata);
    Json places = Json::object();
    std::int64_t total = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const auto name = detail::shard_name(i, shards.size());
      save_safetensors(fresh / name, shards[i], metadata);
      for (const auto& [key, tensor] : shards[i]) {
        places[key] = name;
        total += static_cast<std::int64_t>(tensor.nbytes());
      }
    }
    const Json index{{"metadata", {{"total_size", total}}}, {"weight_map", places}};
    write_file(fresh / "model.safetensors.index.json", index.dump(2) + "\n");
  });
}

}  // namespace morphvlm
