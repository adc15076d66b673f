// A whole model as a folder of parts (docs/models.md): vision/, language/, flamingo/ and a config.json that
// says how they join.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/efficient_net.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/model/vocabulary.hpp"

namespace morphvlm {

/// What config.json says about the tower beyond what its own folder does.
struct JoinedVision {
  VitTokens tokens = VitTokens::before_ln_post;
};

/// config.json of a model folder.
struct ModelJoin {
  JoinedVision vision = {};
  std::int64_t vocab_size = 0;  ///< after tokens were added; the language model's tables are resized to it
  std::int64_t media_token_id = -1;  ///< `<image>`
  std::int64_t eoc_token_id = -1;    ///< `<|endofchunk|>`
  PerceiverConfig perceiver = {};
  GatedCrossAttentionConfig cross_attention = {};
};

/// An opened model folder: what its parts are. Nothing but configs has been read.
struct ModelDirectory {
  std::filesystem::path folder = {};
  ModelJoin join = {};
  std::string vision_type = {};    ///< "clip_vit" or "efficientnet_lite0"
  std::string language_type = {};  ///< model_type of language/config.json: "llama", "mpt", "mosaic_gpt", ...
};

namespace detail {

inline constexpr const char* kOpenClipConfig = "open_clip_config.json";

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
  c.image_size = json_get<std::int64_t>(vision, "image_size", where);
  c.patch_size = json_get<std::int64_t>(vision, "patch_size", where);
  c.hidden_size = json_get<std::int64_t>(vision, "width", where);
  c.num_hidden_layers = json_get<std::int64_t>(vision, "layers", where);
  const auto head = optional("head_width", std::int64_t{64});
  expect(head > 0 && c.hidden_size % head == 0, where, ": head_width ", head, " does not divide width ",
         c.hidden_size);
  c.num_attention_heads = c.hidden_size / head;
  c.intermediate_size =
      static_cast<std::int64_t>(static_cast<double>(c.hidden_size) * optional("mlp_ratio", 4.0));
  c.projection_dim = json_get<std::int64_t>(model, "embed_dim", where);
  const bool quick = model.contains("quick_gelu") && json_get<bool>(model, "quick_gelu", where);
  c.hidden_act = quick ? Activation::quick_gelu : Activation::gelu;
  return c;
}

inline ClipVitConfig vision_config(const ModelDirectory& d, std::type_identity<ClipViT>) {
  ClipVitConfig c = open_clip_config(d.folder / "vision" / kOpenClipConfig);
  c.tokens = d.join.vision.tokens;
  return c;
}

inline EfficientNetConfig vision_config(const ModelDirectory&, std::type_identity<EfficientNetLite0>) {
  return {};
}

// open_clip's files hold the text tower too; only what is below `visual.` is ours.
inline StateDict vision_weights(const ModelDirectory& d, const ClipVitModule&, std::filesystem::path& file) {
  file = find_file(d.folder / "vision",
                   {"open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin"});
  StateDict dict = strip_prefix(load_tensors(file), "visual.");
  expect(!dict.empty(), file.string(), ": no tensor below \"visual.\"");
  return dict;
}

inline std::filesystem::path efficient_net_file(const std::filesystem::path& folder) {
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().extension() == ".pth") return entry.path();
  }
  return {};
}

inline StateDict vision_weights(const ModelDirectory& d, const EfficientNetModule& tower,
                                std::filesystem::path& file) {
  file = efficient_net_file(d.folder / "vision");
  return rename_to_module(tower, efficient_net_features(load_tensors(file)),
                          [](const std::string& key) { return efficient_net_key(key); });
}

inline StateDict with_prefix(std::string_view prefix, const StateDict& dict) {
  StateDict out;
  for (const auto& [name, t] : dict) out.emplace_back(std::string(prefix) + name, t);
  return out;
}

}  // namespace detail

/// Reads a model folder's configs. Errors name the file and key; a tower or language model that is none of
/// ours is one.
inline ModelDirectory open_model_directory(const std::filesystem::path& folder) {
  ModelDirectory out{.folder = folder};
  const auto config = folder / "config.json";
  out.join = from_json<ModelJoin>(read_json(config), config.string());
  const auto& join = out.join;
  expect(join.media_token_id >= 0 && join.media_token_id < join.vocab_size && join.eoc_token_id >= 0 &&
             join.eoc_token_id < join.vocab_size,
         config.string(), ": media_token_id ", join.media_token_id, " and eoc_token_id ", join.eoc_token_id,
         ": expected ids in a vocabulary of vocab_size ", join.vocab_size);
  if (std::filesystem::exists(folder / "vision" / detail::kOpenClipConfig)) {
    out.vision_type = "clip_vit";
  } else {
    expect(!detail::efficient_net_file(folder / "vision").empty(), (folder / "vision").string(),
           ": expected ", detail::kOpenClipConfig, " or EfficientNet-Lite0's .pth");
    out.vision_type = "efficientnet_lite0";
  }
  const auto language = folder / "language/config.json";
  out.language_type = json_get<std::string>(read_json(language), "model_type", language.string());
  return out;
}

/// The config of a model of type `Model` that the folder describes.
template <class Model>
typename Model::Config model_directory_config(const ModelDirectory& d) {
  const auto language = d.folder / "language/config.json";
  typename Model::Config c{.vision = detail::vision_config(d, std::type_identity<typename Model::Vision>{}),
                           .perceiver = d.join.perceiver,
                           .language = language_config_from_hf<typename Model::Language::Config>(
                               read_json(language), language.string()),
                           .cross_attention = d.join.cross_attention,
                           .media_token_id = d.join.media_token_id,
                           .eoc_token_id = d.join.eoc_token_id};
  c.cross_attention.gates = GatePolicy::loaded;
  return c;
}

/// Loads the folder's weights into a model of type `Model`, frozen; adapters are as `init` makes them. The
/// tower and the language model from their folders, the rest (and trained embeddings) from
/// flamingo/checkpoint.pt or .safetensors. `sources` tells what came from where. Error: a parameter that came
/// from nowhere, a tensor that fits nowhere.
template <class Model>
Model load_model_directory(const ModelDirectory& d, typename Model::Config config, WeightSources& sources,
                           const Init& init = {at::kFloat, {}}) {
  Model model = Model::init(config, init);
  std::filesystem::path file;
  const StateDict vision = detail::vision_weights(d, model.vision_encoder, file);
  take_weights(model, detail::with_prefix("vision_encoder.", vision), file.string(), sources);
  const auto language = d.folder / "language";
  const StateDict words = language_weights(model.lang_encoder, load_hf_weights(language));
  take_weights(model, detail::with_prefix("lang_encoder.", words), language.string(), sources);
  resize_vocabulary(model.lang_encoder, d.join.vocab_size, init.generator);
  model.config.language = model.lang_encoder.config;
  load_flamingo_checkpoint(
      model, detail::find_file(d.folder / "flamingo", {"checkpoint.safetensors", "checkpoint.pt"}), sources);
  expect_all_sources(model, sources, d.folder.string());
  freeze(model);
  return model;
}

}  // namespace morphvlm
