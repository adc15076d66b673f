// What the programs for model folders put into a model: its tokenizer and its pictures.
#pragma once

#include <ATen/ops/stack.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "experiments/programs/model_registry.hpp"
#include "morphvlm/image/clip_preprocess.hpp"
#include "morphvlm/image/image.hpp"
#include "morphvlm/image/preprocess_folder.hpp"
#include "morphvlm/text/load_tokenizer.hpp"

namespace morphvlm::experiments {

/// The tokenizer in `path` (empty: the model's language folder) with the media tokens added. Error: they get
/// other ids than the model's config says.
inline Tokenizer open_tokenizer(const std::filesystem::path& path, const ModelDirectory& folder) {
  const auto where = path.empty() ? folder.folder / "language" : path;
  Tokenizer tokenizer = load_tokenizer(where);
  const MediaTokens media = add_media_tokens(tokenizer);
  expect(media.image == folder.join.media_token_id && media.end_of_chunk == folder.join.eoc_token_id,
         where.string(), ": gives <image> the id ", media.image, " and <|endofchunk|> ", media.end_of_chunk,
         "; the model's config.json says ", folder.join.media_token_id, " and ", folder.join.eoc_token_id);
  return tokenizer;
}

/// How pictures are brought to a model's tower, by its folder.
inline ClipPreprocess preprocess_of(const std::filesystem::path& vision, const ClipVitConfig& c) {
  ClipPreprocess out = read_preprocess(vision, {.size = c.image_size});
  expect(out.size == c.image_size, vision.string(), ": pictures are brought to ", out.size,
         " pixels, but the tower sees ", c.image_size);
  return out;
}

inline ClipPreprocess preprocess_of(const std::filesystem::path& vision, const EfficientNetConfig&) {
  return read_preprocess(vision, {.mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}});
}

/// How many tokens a text may have at most, where positions are learned: there is none for more.
template <class Model>
std::optional<std::int64_t> most_positions(const Model& model) {
  if constexpr (std::is_same_v<typename Model::Language, BioGPT>)
    return model.config.language.max_position_embeddings;
  return std::nullopt;
}

/// Vision tokens [rows, media, tokens, d] of pictures, row after row, `media` to each.
template <class Model>
Tensor picture_features(const Model& model, std::span<const std::filesystem::path> pictures,
                        std::int64_t media, const ClipPreprocess& preprocess) {
  std::vector<Tensor> pixels;
  for (const auto& picture : pictures) pixels.push_back(clip_pixels(read_image(picture), preprocess));
  const auto options = at::TensorOptions(vision_dtype(model)).device(device_of(model.vision_encoder));
  return model.encode_vision(at::stack(pixels).unflatten(0, {-1, media}).to(options));
}

}  // namespace morphvlm::experiments
