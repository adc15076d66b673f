// What a vision tower's folder says about its pixels -> ClipPreprocess. What is not done here is refused by
// name.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/image/clip_preprocess.hpp"

namespace morphvlm {

/// Longest side, in pixels, that a folder may ask pictures to be brought to: towers take some hundred.
inline constexpr std::int64_t kMaxPixelSide = 4096;

/// Keys of transformers' preprocessor_config.json, and of `image_processor` in processor_config.json.
inline constexpr FileKey kImageProcessorKeys[] = {
    {"image_processor_type"},
    {"feature_extractor_type"},
    {"size"},
    {"default_to_square"},
    {"do_center_crop"},
    {"crop_size"},
    {"do_convert_rgb"},
    {"resample"},
    {"rescale_factor"},
    {"image_mean"},
    {"image_std"},
    {"do_resize", KeyUse::refused, "true"},
    {"do_rescale", KeyUse::refused, "true"},
    {"do_normalize", KeyUse::refused, "true"},
    {"do_pad", KeyUse::refused, "false"},
    {"do_flip_channel_order", KeyUse::refused, "false"},
    {"use_square_size", KeyUse::refused, "false"},
    {"auto_map", KeyUse::refused},
    {"pad_size", KeyUse::ignored},
    {"processor_class", KeyUse::ignored},
    {"data_format", KeyUse::ignored},
    {"input_data_format", KeyUse::ignored},
    {"return_tensors", KeyUse::ignored},
    {"device", KeyUse::ignored},
    {"disable_grouping", KeyUse::ignored},
    {"image_seq_length", KeyUse::ignored},
    {"_valid_processor_keys", KeyUse::ignored},
};

/// Keys of transformers' processor_config.json, as far as pictures go.
inline constexpr FileKey kProcessorConfigKeys[] = {
    {"image_processor"},
    {"processor_class", KeyUse::ignored},
};

/// Keys of `preprocess_cfg` in open_clip_config.json. Its size is never what counts in open_clip: the tower's
/// goes over it.
inline constexpr FileKey kOpenClipPreprocessKeys[] = {
    {"mean"},
    {"std"},
    {"interpolation"},
    {"resize_mode"},
    {"mode", KeyUse::refused, "\"RGB\""},
    {"size", KeyUse::ignored},
    {"fill_color", KeyUse::ignored},
};

namespace detail {

/// An image processor of transformers: what its class means by keys that a file leaves out.
struct ImageProcessor {
  std::string_view name;            ///< of the class
  std::string_view model, tower;    ///< `model_type`s that it belongs to
  bool crop;                        ///< whether a square is cut out
  std::array<double, 3> mean, std;  ///< R, G, B
};
inline constexpr ImageProcessor kImageProcessors[] = {
    {"CLIPImageProcessor", "clip", "clip_vision_model", true, kClipMean, kClipStd},
    {"SiglipImageProcessor", "siglip", "siglip_vision_model", false, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}},
    {"BitImageProcessor", "dinov2", "dinov2", true, kClipMean, kClipStd},
};
inline constexpr std::int64_t kImageProcessorSide = 224;

inline const ImageProcessor& image_processor_called(std::string name, std::string_view key,
                                                    const std::string& where) {
  const std::string found = name;
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (const auto at = name.find("FeatureExtractor"); at != std::string::npos)
    name.replace(at, std::string_view("FeatureExtractor").size(), "ImageProcessor");
  std::string list;
  for (const ImageProcessor& p : kImageProcessors) {
    if (name == p.name) return p;
    list += (list.empty() ? "" : ", ") + std::string(p.name);
  }
  fail(where, ": ", key, ": expected one of ", list, ", found \"", found, "\"");
}

// By config.json's model_type; nullptr without the file.
inline const ImageProcessor* image_processor_of_model(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path)) return nullptr;
  const auto type = json_get<std::string>(read_json(path), "model_type", path.string());
  for (const ImageProcessor& p : kImageProcessors)
    if (type == p.model || type == p.tower) return &p;
  fail(path.string(), ": model_type: no image processor is known for \"", type, "\"");
}

// As transformers finds it: by the file's own class, its older spelling, or the model.
inline const ImageProcessor* image_processor_of(const Json& json, const std::filesystem::path& folder,
                                                const std::string& where) {
  for (const char* key : {"image_processor_type", "feature_extractor_type"})
    if (json.contains(key) && !json.at(key).is_null())
      return &image_processor_called(json_get<std::string>(json, key, where), key, where);
  return image_processor_of_model(folder);
}

inline void take_defaults(ClipPreprocess& out, const ImageProcessor& p, std::int64_t side) {
  out.size = side;
  out.resize = p.crop ? side : 0;
  out.whole_image = !p.crop;
  out.mean.assign(p.mean.begin(), p.mean.end());
  out.std.assign(p.std.begin(), p.std.end());
}

inline void take_channels(std::vector<double>& values, const Json& json, const char* key,
                          const std::string& where) {
  if (!json.contains(key)) return;
  values = json.at(key).is_number() ? std::vector<double>(3, json.at(key).get<double>())
                                    : json_get<std::vector<double>>(json, key, where);
  expect(values.size() == 3, where, ": ", key, ": expected 3 values, found ", values.size());
  for (const double v : values)
    expect(std::isfinite(static_cast<float>(v)), where, ": ", key, ": found ", json.at(key).dump());
}

inline void take_deviations(std::vector<double>& values, const Json& json, const char* key,
                            const std::string& where) {
  take_channels(values, json, key, where);
  for (const double v : values)
    expect(static_cast<float>(v) > 0, where, ": ", key, ": expected values above 0, found ", v);
}

inline std::int64_t expect_side(const Json& object, const char* key, const std::string& where) {
  const auto side = json_get<std::int64_t>(object, key, where);
  expect(side > 0 && side <= kMaxPixelSide, where, ": ", key, ": expected 1 to ", kMaxPixelSide,
         " pixels, found ", side);
  return side;
}

/// A length, and whether it is of both sides or of the short one.
struct PixelSide {
  std::int64_t length;
  bool square;
};

// transformers writes n, [n, n], {"shortest_edge": n} or {"height": n, "width": n}.
inline PixelSide pixel_side(const Json& json, const char* key, bool square, const std::string& where) {
  const Json& size = json.at(key);
  if (size.is_number()) return {expect_side(json, key, where), square};
  const std::string inside = where + ": " + key;
  Json sides = size;
  if (size.is_array() && size.size() == 2) sides = Json{{"height", size[0]}, {"width", size[1]}};
  const bool is_short = sides.is_object() && sides.size() == 1 && sides.contains("shortest_edge");
  const bool both =
      sides.is_object() && sides.size() == 2 && sides.contains("height") && sides.contains("width");
  expect(is_short || both, inside,
         R"(: expected a length, {"shortest_edge": n} or {"height": n, "width": n}, found )", size.dump());
  if (is_short) return {expect_side(sides, "shortest_edge", inside), false};
  const auto side = expect_side(sides, "height", inside);
  expect(expect_side(sides, "width", inside) == side, inside, ": expected a square, found ", size.dump());
  return {side, true};
}

// Where a step is null, transformers leaves it out, as where it is false.
inline bool step_is_on(const Json& json, const char* key, bool left_out, const std::string& where) {
  if (!json.contains(key)) return left_out;
  return !json.at(key).is_null() && json_get<bool>(json, key, where);
}

// A step that no list knows may change pixels; other unknown keys these classes of transformers pass over.
inline void expect_known_steps(const Json& json, const std::string& where) {
  refuse_keys(json, kImageProcessorKeys, where);
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"})
    expect(step_is_on(json, key, true, where), where, ": ", key, ": expected true, found null");
  for (const auto& [name, value] : json.items()) {
    const bool off = value.is_null() || value == false;
    if (!name.starts_with("do_") || off) continue;
    bool known = false;
    for (const FileKey& key : kImageProcessorKeys) known = known || key.name == name;
    expect(known, where, ": ", name, ": unknown step, found ", value.dump());
  }
}

inline void take_resample(ResizeFilter& filter, const Json& json, const std::string& where) {
  if (!json.contains("resample")) return;
  const Json& found = json.at("resample");
  expect(found == 3 || found == 2, where, ": resample: expected 3 (bicubic) or 2 (bilinear), found ",
         found.dump());
  filter = found == 3 ? ResizeFilter::bicubic : ResizeFilter::bilinear;
}

inline void take_rescale(double& white, const Json& json, const std::string& where) {
  if (!json.contains("rescale_factor")) return;
  white = 1.0 / json_get<double>(json, "rescale_factor", where);
  const auto as_float = static_cast<float>(white);
  expect(as_float > 0 && std::isfinite(as_float), where,
         ": rescale_factor: expected a number above 0, found ", json.at("rescale_factor").dump());
}

inline void take_sizes(ClipPreprocess& out, const Json& json, bool crop, const std::string& where) {
  const bool square = step_is_on(json, "default_to_square", false, where);
  PixelSide side{out.resize == 0 ? out.size : out.resize, out.whole_image};
  if (json.contains("size")) side = pixel_side(json, "size", square, where);
  std::optional<PixelSide> cut;
  if (json.contains("crop_size") && !json.at("crop_size").is_null())
    cut = pixel_side(json, "crop_size", true, where);
  expect(crop || side.square, where, ": size: expected a height and a width where nothing is cut");
  expect(!crop || !side.square, where, ": size: expected a short side where a square is cut out");
  out.whole_image = !crop;
  out.size = crop && cut ? cut->length : crop ? out.size : side.length;
  out.resize = crop ? side.length : 0;
  expect(!crop || !cut || cut->square, where, ": crop_size: expected a height and a width");
  expect(!crop || out.size <= out.resize, where, ": crop_size: expected at most the ", out.resize,
         " pixels of \"size\", found ", out.size);
}

inline ClipPreprocess hf_preprocess(const Json& json, const std::filesystem::path& folder,
                                    const ClipPreprocess& fallback, const std::string& where) {
  expect(json.is_object(), where, ": expected an object, found ", json.dump());
  expect_known_steps(json, where);
  ClipPreprocess out = fallback;
  const ImageProcessor* const p = image_processor_of(json, folder, where);
  if (p != nullptr) take_defaults(out, *p, kImageProcessorSide);
  out.steps = PixelSteps::transformers;
  out.convert_rgb = step_is_on(json, "do_convert_rgb", true, where);
  take_resample(out.filter, json, where);
  take_rescale(out.white, json, where);
  take_channels(out.mean, json, "image_mean", where);
  take_deviations(out.std, json, "image_std", where);
  const bool left_out = p != nullptr ? p->crop : json.contains("crop_size");
  take_sizes(out, json, step_is_on(json, "do_center_crop", left_out, where), where);
  return out;
}

inline ClipPreprocess open_clip_preprocess(const std::filesystem::path& path, std::int64_t side) {
  ClipPreprocess out{.size = side};
  const Json json = read_json(path);
  if (!json.is_object() || !json.contains("preprocess_cfg")) return out;
  const std::string where = path.string() + ": preprocess_cfg";
  const Json& found = json.at("preprocess_cfg");
  expect(found.is_object(), where, ": expected an object, found ", found.dump());
  Json steps = Json::object();  // open_clip passes over what is null
  for (const auto& [key, value] : found.items())
    if (!value.is_null()) steps[key] = value;
  refuse_keys(steps, kOpenClipPreprocessKeys, where);
  take_channels(out.mean, steps, "mean", where);
  take_deviations(out.std, steps, "std", where);
  const auto choice = [&](const char* key, const char* first, const char* second) {
    const Json value = steps.contains(key) ? steps.at(key) : Json(first);
    expect(value == first || value == second, where, ": ", key, ": expected \"", first, "\" or \"", second,
           "\", found ", value.dump());
    return value == first;
  };
  // Only training knows what open_clip calls random; its evaluation takes bicubic for it.
  const bool random = steps.contains("interpolation") && steps.at("interpolation") == "random";
  if (!random && !choice("interpolation", "bicubic", "bilinear")) out.filter = ResizeFilter::bilinear;
  out.whole_image = !choice("resize_mode", "shortest", "squash");
  return out;
}

}  // namespace detail

/// How pictures are brought to the tower in `folder`: by preprocess_cfg of open_clip_config.json, where the
/// tower is open_clip's, else by transformers' processor_config.json (`image_processor` in it) or
/// preprocessor_config.json. Keys that a file leaves out are what its library means by that. Without such a
/// file, CLIP's and SigLIP's pictures become what their classes make, of `fallback.size`, and other folders'
/// are as in `fallback`. Errors name file and key: a wrong type, a step that is not done here, DINOv2 without
/// its file.
inline ClipPreprocess read_preprocess(const std::filesystem::path& folder, const ClipPreprocess& fallback) {
  const auto open_clip = folder / "open_clip_config.json", processor = folder / "processor_config.json",
             alone = folder / "preprocessor_config.json";
  if (std::filesystem::exists(open_clip)) return detail::open_clip_preprocess(open_clip, fallback.size);
  if (std::filesystem::exists(processor)) {
    const Json json = read_json(processor);
    expect(json.is_object(), processor.string(), ": expected an object, found ", json.dump());
    if (json.contains("image_processor"))
      return detail::hf_preprocess(json.at("image_processor"), folder, fallback,
                                   processor.string() + ": image_processor");
  }
  if (std::filesystem::exists(alone))
    return detail::hf_preprocess(read_json(alone), folder, fallback, alone.string());
  const auto* const p = detail::image_processor_of_model(folder);
  if (p == nullptr) return fallback;
  // Its class has CLIP's mean and deviation, with which no DINOv2 was trained.
  expect(p->model != "dinov2", alone.string(), ": missing; DINOv2's pictures are not to be guessed");
  ClipPreprocess out = fallback;
  detail::take_defaults(out, *p, fallback.size);
  out.steps = PixelSteps::transformers;
  return out;
}

}  // namespace morphvlm
