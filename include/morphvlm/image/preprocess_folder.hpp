// What a vision tower's folder says about its pixels -> ClipPreprocess.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/image/clip_preprocess.hpp"

namespace morphvlm {

/// Longest side, in pixels, that a folder may ask pictures to be brought to: towers take some hundred.
inline constexpr std::int64_t kMaxPixelSide = 4096;

namespace detail {

inline std::vector<double> channel_values(const Json& json, const char* key, const std::string& where,
                                          const std::vector<double>& fallback) {
  if (!json.contains(key)) return fallback;
  auto values = json_get<std::vector<double>>(json, key, where);
  expect(values.size() == 3, where, ": ", key, ": expected 3 values, found ", values.size());
  return values;
}

inline std::int64_t expect_side(std::int64_t side, const std::string& where) {
  expect(side > 0 && side <= kMaxPixelSide, where, ": expected 1 to ", kMaxPixelSide, " pixels, found ",
         side);
  return side;
}

// transformers writes a length, {"shortest_edge": n} or {"height": n, "width": n}; `whole`: it is the last.
inline std::int64_t image_side(const Json& size, bool& whole, const std::string& where) {
  whole = size.is_object() && size.contains("height");
  if (holds_integer<std::int64_t>(size)) return expect_side(size.get<std::int64_t>(), where);
  const auto side =
      expect_side(json_get<std::int64_t>(size, whole ? "height" : "shortest_edge", where), where);
  expect(!whole || json_get<std::int64_t>(size, "width", where) == side, where, ": expected a square, found ",
         size.dump());
  return side;
}

inline void expect_step(const Json& json, const char* key, const Json& expected, const std::string& where) {
  expect(!json.contains(key) || json.at(key) == expected, where, ": ", key, ": expected ", expected.dump(),
         ", found ", json.contains(key) ? json.at(key).dump() : "nothing");
}

inline ClipPreprocess hf_preprocess(const Json& json, const ClipPreprocess& fallback,
                                    const std::string& where) {
  ClipPreprocess out = fallback;
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"}) expect_step(json, key, true, where);
  expect_step(json, "resample", 3, where);  // bicubic
  out.mean = channel_values(json, "image_mean", where, fallback.mean);
  out.std = channel_values(json, "image_std", where, fallback.std);
  const bool crop = !json.contains("do_center_crop") ? json.contains("crop_size")
                                                     : json_get<bool>(json, "do_center_crop", where);
  bool whole = false;
  const auto side = json.contains("size") ? image_side(json.at("size"), whole, where + ": size") : out.size;
  out.size = side;
  out.whole_image = !crop;
  expect(crop || whole, where, ": expected a height and a width in \"size\" where nothing is cut");
  if (!crop) return out;
  expect(!whole, where, ": expected \"size\" to be a short side where a square is cut out");
  out.resize = side;
  bool ignored = false;
  if (json.contains("crop_size")) out.size = image_side(json.at("crop_size"), ignored, where + ": crop_size");
  return out;
}

}  // namespace detail

/// How pictures are brought to the tower in `folder`: by preprocessor_config.json (transformers), or
/// preprocess_cfg of open_clip_config.json; what neither says is as in `fallback`. Errors name file and key:
/// a wrong type, a step or an interpolation that is not done here (bicubic alone is).
inline ClipPreprocess read_preprocess(const std::filesystem::path& folder, const ClipPreprocess& fallback) {
  const auto hf = folder / "preprocessor_config.json", open_clip = folder / "open_clip_config.json";
  if (std::filesystem::exists(hf)) return detail::hf_preprocess(read_json(hf), fallback, hf.string());
  ClipPreprocess out = fallback;
  if (!std::filesystem::exists(open_clip)) return out;
  const Json json = read_json(open_clip);
  if (!json.is_object() || !json.contains("preprocess_cfg")) return out;
  const std::string where = open_clip.string() + ": preprocess_cfg";
  const Json& steps = json.at("preprocess_cfg");
  expect(steps.is_object(), where, ": expected an object");
  out.mean = detail::channel_values(steps, "mean", where, fallback.mean);
  out.std = detail::channel_values(steps, "std", where, fallback.std);
  detail::expect_step(steps, "interpolation", "bicubic", where);
  const bool squash = steps.contains("resize_mode") && steps.at("resize_mode") == "squash";
  if (!squash) detail::expect_step(steps, "resize_mode", "shortest", where);
  out.whole_image = squash;
  return out;
}

}  // namespace morphvlm
