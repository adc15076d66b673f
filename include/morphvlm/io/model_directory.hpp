// A whole model as a folder of parts (docs/models.md): vision/, language/, flamingo/ and a config.json that
// says how they join.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
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
#include "morphvlm/io/model_limits.hpp"
#include "morphvlm/io/vision_folder.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/model/vocabulary.hpp"

namespace morphvlm {

/// What config.json says about the tower beyond what its own folder does.
struct JoinedVision {
  std::optional<VitTokens> tokens = {};  ///< none: what the tower's own config means
};

/// What the frozen parts of a model are held in; what is meant to be trained stays in fp32.
enum class ModelDtype { float32, bfloat16 };

/// torch's names.
template <>
inline constexpr std::array<std::pair<ModelDtype, std::string_view>, 2> enum_names<ModelDtype>{
    {{ModelDtype::float32, "float32"}, {ModelDtype::bfloat16, "bfloat16"}}};

/// config.json of a model folder.
struct ModelFolderConfig {
  JoinedVision vision = {};                ///< what leaves the tower
  ModelDtype dtype = ModelDtype::float32;  ///< the frozen tower and language model are held in
  std::int64_t vocab_size = 0;  ///< after tokens were added; the language model's tables are resized to it
  std::int64_t media_token_id = -1;                ///< `<image>`
  std::int64_t eoc_token_id = -1;                  ///< `<|endofchunk|>`
  PerceiverConfig perceiver = {};                  ///< sizes of the resampler
  GatedCrossAttentionConfig cross_attention = {};  ///< sizes of the gated blocks; their gates are the file's
};

/// An opened model folder: what its parts are. Nothing but configs has been read.
struct ModelDirectory {
  std::filesystem::path folder = {};  ///< with vision/, language/ and flamingo/ in it
  ModelFolderConfig join = {};        ///< its config.json
  std::string vision_type = {};       ///< "clip_vit" (SigLIP and DINOv2 as well) or "efficientnet_lite0"
  std::string language_type = {};  ///< model_type of language/config.json: "llama", "mpt", "mosaic_gpt", ...
};

namespace detail {

inline StateDict with_prefix(std::string_view prefix, const StateDict& dict) {
  StateDict out;
  for (const auto& [name, t] : dict) out.emplace_back(std::string(prefix) + name, t);
  return out;
}

inline void expect_sizes(const ModelFolderConfig& join, const std::string& where) {
  const auto size = [&](std::int64_t value, const char* key, std::int64_t most = kMaxModelWidth) {
    expect_model_size(value, key, where, most);
  };
  const auto& p = join.perceiver;
  const auto& x = join.cross_attention;
  size(join.vocab_size, "vocab_size", kMaxModelTokens);
  size(p.depth, "perceiver.depth", kMaxModelLayers);
  size(p.heads, "perceiver.heads");
  size(p.head_dim, "perceiver.head_dim");
  size(p.latents, "perceiver.latents");
  size(p.ff_mult, "perceiver.ff_mult");
  size(x.every, "cross_attention.every");
  size(x.heads, "cross_attention.heads");
  size(x.head_dim, "cross_attention.head_dim");
  size(x.ff_mult, "cross_attention.ff_mult");
}

// Rows that no file fills are drawn; how many is what the config says.
inline void expect_few_added(std::int64_t rows, std::int64_t vocab_size,
                             const std::filesystem::path& folder) {
  expect(vocab_size - rows <= kMaxAddedRows, (folder / "config.json").string(),
         ": vocab_size: expected at most ", kMaxAddedRows, " more than the language model's ", rows,
         ", found ", vocab_size);
}

}  // namespace detail

/// Reads a model folder's configs. Errors name the file and key; a tower or language model that is none of
/// ours is one.
inline ModelDirectory open_model_directory(const std::filesystem::path& folder) {
  ModelDirectory out{.folder = folder};
  const auto config = folder / "config.json";
  out.join = from_json<ModelFolderConfig>(read_json(config), config.string());
  const auto& join = out.join;
  detail::expect_sizes(join, config.string());
  expect(join.media_token_id >= 0 && join.media_token_id < join.vocab_size && join.eoc_token_id >= 0 &&
             join.eoc_token_id < join.vocab_size,
         config.string(), ": media_token_id ", join.media_token_id, " and eoc_token_id ", join.eoc_token_id,
         ": expected ids in a vocabulary of vocab_size ", join.vocab_size);
  out.vision_type = vision_folder_type(folder / "vision");
  const auto language = folder / "language/config.json";
  out.language_type = json_get<std::string>(read_json(language), "model_type", language.string());
  return out;
}

/// Whether the folder has a trained resampler and gated blocks.
inline bool has_blocks(const ModelDirectory& d) { return std::filesystem::exists(d.folder / "flamingo"); }

namespace detail {

template <class Model>
void init_blocks(Model& model, const at::Generator& generator, WeightSources& sources) {
  const Init init{at::kFloat, generator};
  model.init_resampler(init);
  model.init_gated_blocks(init);
  visit(model, [&](const std::string& name, const Tensor&) {
    if (matches(name, "perceiver.*") || matches(name, "gated_cross_attn.*")) sources[name] = "made here";
  });
}

}  // namespace detail

/// The config of a model of type `Model` that the folder describes.
template <class Model>
typename Model::Config model_directory_config(const ModelDirectory& d) {
  const auto language = d.folder / "language/config.json";
  typename Model::Config c{.vision = vision_folder_config(d.folder / "vision", d.join.vision.tokens,
                                                          std::type_identity<typename Model::Vision>{}),
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
/// from nowhere, a tensor that fits nowhere. Where there is no flamingo/ and `blocks` is defined, it draws
/// resampler and gated blocks, in fp32, gates as the config says. Without `init`, the model has no memory of
/// its own, takes over what the files hold, and is of the dtype that the folder asks for.
template <class Model>
Model load_model_directory(const ModelDirectory& d, typename Model::Config config, WeightSources& sources,
                           const Init& init, const at::Generator& blocks = {}) {
  Model model = Model::init(config, init);
  std::filesystem::path file;
  const StateDict vision = vision_folder_weights(d.folder / "vision", model.vision_encoder, file);
  take_weights(model, detail::with_prefix("vision_encoder.", vision), file.string(), sources);
  const auto language = d.folder / "language";
  const StateDict words = language_weights(model.lang_encoder, load_hf_weights(language));
  take_weights(model, detail::with_prefix("lang_encoder.", words), language.string(), sources);
  detail::expect_few_added(model.lang_encoder.token_tables().front()->size(0), d.join.vocab_size, d.folder);
  resize_vocabulary(model.lang_encoder, d.join.vocab_size, init.generator);
  model.config.language = model.lang_encoder.config;
  if (blocks.defined() && !has_blocks(d))
    detail::init_blocks(model, blocks, sources);
  else
    load_flamingo_checkpoint(
        model, detail::find_file(d.folder / "flamingo", {"checkpoint.safetensors", "checkpoint.pt"}),
        sources);
  expect_all_sources(model, sources, d.folder.string());
  freeze(model);
  return model;
}

/// The same without memory of its own, in the dtype that the folder asks for.
template <class Model>
Model load_model_directory(const ModelDirectory& d, typename Model::Config config, WeightSources& sources,
                           const at::Generator& blocks = {}) {
  const auto dtype = d.join.dtype == ModelDtype::bfloat16 ? at::kBFloat16 : at::kFloat;
  return load_model_directory<Model>(d, std::move(config), sources,
                                     {at::TensorOptions(dtype).device(at::kMeta)}, blocks);
}

}  // namespace morphvlm
