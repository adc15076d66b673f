// A vision tower as a folder: open_clip's, transformers' (CLIP, SigLIP, DINOv2), or EfficientNet-Lite0's
// file.
#pragma once

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/io/hf_vision_config.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/io/open_clip_config.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/efficient_net.hpp"

namespace morphvlm {

namespace detail {

inline constexpr const char *kOpenClipConfig = "open_clip_config.json", *kHfConfig = "config.json";

/// The one file of these names in `folder`, the first that is there; an Error lists them.
inline std::filesystem::path find_file(const std::filesystem::path& folder,
                                       std::initializer_list<const char*> names) {
  std::string looked_for;
  for (const auto* name : names) {
    if (std::filesystem::exists(folder / name)) return folder / name;
    looked_for += (looked_for.empty() ? "" : ", ") + std::string(name);
  }
  fail(folder.string(), ": no weights; looked for ", looked_for);
}

// The first file of `folder`, by name, that ends so; empty: none.
inline std::filesystem::path file_ending(const std::filesystem::path& folder, std::string_view extension) {
  std::filesystem::path found;
  if (!std::filesystem::is_directory(folder)) return found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto& path = entry.path();
    if (path.extension() == extension && (found.empty() || path < found)) found = path;
  }
  return found;
}

// The weights beside open_clip_config.json: under open_clip's names, or OpenAI's file, which is called after
// its model (ViT-L-14.pt).
inline std::filesystem::path open_clip_file(const std::filesystem::path& folder) {
  const std::initializer_list<const char*> names{"open_clip_model.safetensors", "model.safetensors",
                                                 "open_clip_pytorch_model.bin"};
  const auto is_there = [&](const char* name) { return std::filesystem::exists(folder / name); };
  const auto of_openai = file_ending(folder, ".pt");
  return of_openai.empty() || std::ranges::any_of(names, is_there) ? find_file(folder, names) : of_openai;
}

// OpenAI's files are known by the sizes in them. Their towers are trained with quick_gelu, which configs for
// others' weights of the same sizes do not ask for.
inline void expect_openai_activation(const std::filesystem::path& folder, const StateDict& dict,
                                     const std::filesystem::path& source) {
  if (std::ranges::find(dict, "input_resolution", &StateDict::value_type::first) == dict.end()) return;
  const auto path = folder / kOpenClipConfig;
  const auto config = vit_config_from_open_clip(read_json(path), path.string());
  expect(config.hidden_act == Activation::quick_gelu, path.string(),
         ": quick_gelu: expected true for OpenAI's weights (", source.filename().string(),
         "), found another activation");
}

inline HfVitConfig hf_vision(const std::filesystem::path& folder) {
  return vit_config_from_hf(read_json(folder / kHfConfig), (folder / kHfConfig).string());
}

inline std::filesystem::path efficient_net_file(const std::filesystem::path& folder) {
  return file_ending(folder, ".pth");
}

}  // namespace detail

/// "clip_vit" for a folder with open_clip_config.json or transformers' config.json, "efficientnet_lite0" for
/// one with a .pth file; an Error for any other.
inline std::string vision_folder_type(const std::filesystem::path& folder) {
  for (const auto* name : {detail::kOpenClipConfig, detail::kHfConfig})
    if (std::filesystem::exists(folder / name)) return "clip_vit";
  const auto alone = detail::file_ending(folder, ".pt");
  expect(alone.empty(), folder.string(), ": ", alone.filename().string(), " needs ", detail::kOpenClipConfig,
         " beside it, which says the tower's sizes (for OpenAI's files open_clip's of the same model, with "
         "\"quick_gelu\": true)");
  expect(!detail::efficient_net_file(folder).empty(), folder.string(), ": expected ", detail::kOpenClipConfig,
         ", transformers' ", detail::kHfConfig, " or EfficientNet-Lite0's .pth");
  return "efficientnet_lite0";
}

/// The tower's sizes. `tokens`, where given, goes before what the folder's own config means.
inline ClipVitConfig vision_folder_config(const std::filesystem::path& folder,
                                          std::optional<VitTokens> tokens, std::type_identity<ClipViT>) {
  const auto open_clip = folder / detail::kOpenClipConfig;
  ClipVitConfig c = std::filesystem::exists(open_clip)
                        ? vit_config_from_open_clip(read_json(open_clip), open_clip.string())
                        : detail::hf_vision(folder).model;
  c.tokens = tokens.value_or(c.tokens);
  return c;
}

/// The tower's sizes, of which there is one set. Error: `tokens` is given, which is a choice of ViTs.
inline EfficientNetConfig vision_folder_config(const std::filesystem::path& folder,
                                               std::optional<VitTokens> tokens,
                                               std::type_identity<EfficientNetLite0>) {
  expect(!tokens, folder.string(), ": vision.tokens is of ViTs, but this is EfficientNet-Lite0");
  return {};
}

/// The tower's tensors under its module's names, and the file (or folder) that they came from. Of open_clip's
/// and OpenAI's files, which hold the text tower too, what is below `visual.`.
inline StateDict vision_folder_weights(const std::filesystem::path& folder, const ClipVitModule&,
                                       std::filesystem::path& source) {
  if (!std::filesystem::exists(folder / detail::kOpenClipConfig)) {
    source = folder;
    return vit_from_hf(load_hf_weights(folder), detail::hf_vision(folder).family, folder.string());
  }
  source = detail::open_clip_file(folder);
  const StateDict whole = load_tensors(source);
  detail::expect_openai_activation(folder, whole, source);
  StateDict dict = strip_prefix(whole, "visual.");
  expect(!dict.empty(), source.string(), ": no tensor below \"visual.\"");
  return dict;
}

/// The tower's tensors under its module's names, without the classifier, and the file that they came from.
inline StateDict vision_folder_weights(const std::filesystem::path& folder, const EfficientNetModule& tower,
                                       std::filesystem::path& source) {
  source = detail::efficient_net_file(folder);
  return rename_to_module(tower, efficient_net_features(load_tensors(source)),
                          [](const std::string& key) { return efficient_net_key(key); });
}

}  // namespace morphvlm
