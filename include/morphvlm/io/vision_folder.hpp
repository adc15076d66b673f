// A vision tower as a folder: open_clip's, transformers' (CLIP, SigLIP, DINOv2), or EfficientNet-Lite0's
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/io/hf_vision_config.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/io/model_limits.hpp"
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

inline ClipVitConfig open_clip_config(const std::filesystem::path& path) {
  const std::string where = path.string();
  const Json model = json_get<Json>(read_json(path), "model_cfg", where);
  const Json vision = json_get<Json>(model, "vision_cfg", where);
  ClipVitConfig c;
  const auto optional = [&](const char* key, auto fallback) {
    return vision.contains(key) ? json_get<decltype(fallback)>(vision, key, where) : fallback;
  };
  const auto size = [&](const Json& of, const char* key, std::int64_t most = kMaxModelWidth) {
    return expect_model_size(json_get<std::int64_t>(of, key, where), key, where, most);
  };
  c.image_size = size(vision, "image_size");
  c.patch_size = size(vision, "patch_size");
  c.hidden_size = size(vision, "width");
  c.num_hidden_layers = size(vision, "layers", kMaxModelLayers);
  const auto head = optional("head_width", std::int64_t{64});
  expect(head > 0 && c.hidden_size % head == 0, where, ": head_width ", head, " does not divide width ",
         c.hidden_size);
  c.num_attention_heads = c.hidden_size / head;
  const double ratio = optional("mlp_ratio", 4.0), wide = static_cast<double>(c.hidden_size) * ratio;
  expect(wide >= 1 && wide <= kMaxModelWidth, where, ": mlp_ratio: found ", ratio);
  c.intermediate_size = static_cast<std::int64_t>(wide);
  c.projection_dim = size(model, "embed_dim");
  const bool quick = model.contains("quick_gelu") && json_get<bool>(model, "quick_gelu", where);
  c.hidden_act = quick ? Activation::quick_gelu : Activation::gelu;
  return c;
}

inline HfVitConfig hf_vision(const std::filesystem::path& folder) {
  return vit_config_from_hf(read_json(folder / kHfConfig), (folder / kHfConfig).string());
}

inline std::filesystem::path efficient_net_file(const std::filesystem::path& folder) {
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".pth") return entry.path();
  }
  return {};
}

}  // namespace detail

/// "clip_vit" for a folder with open_clip_config.json or transformers' config.json, "efficientnet_lite0" for
/// one with a .pth file; an Error for any other.
inline std::string vision_folder_type(const std::filesystem::path& folder) {
  for (const auto* name : {detail::kOpenClipConfig, detail::kHfConfig})
    if (std::filesystem::exists(folder / name)) return "clip_vit";
  expect(!detail::efficient_net_file(folder).empty(), folder.string(), ": expected ", detail::kOpenClipConfig,
         ", transformers' ", detail::kHfConfig, " or EfficientNet-Lite0's .pth");
  return "efficientnet_lite0";
}

/// The tower's sizes. `tokens`, where given, goes before what the folder's own config means.
inline ClipVitConfig vision_folder_config(const std::filesystem::path& folder,
                                          std::optional<VitTokens> tokens, std::type_identity<ClipViT>) {
  const auto open_clip = folder / detail::kOpenClipConfig;
  ClipVitConfig c = std::filesystem::exists(open_clip) ? detail::open_clip_config(open_clip)
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
/// files, which hold the text tower too, what is below `visual.`.
inline StateDict vision_folder_weights(const std::filesystem::path& folder, const ClipVitModule&,
                                       std::filesystem::path& source) {
  if (!std::filesystem::exists(folder / detail::kOpenClipConfig)) {
    source = folder;
    return vit_from_hf(load_hf_weights(folder), detail::hf_vision(folder).family, folder.string());
  }
  source = detail::find_file(
      folder, {"open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin"});
  StateDict dict = strip_prefix(load_tensors(source), "visual.");
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
