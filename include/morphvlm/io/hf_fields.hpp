// Fields of other people's config.json: sizes, numbers and lists of keys that their readers share.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/model_limits.hpp"

namespace morphvlm {

/// What every config.json of transformers may say, whatever its model.
inline constexpr FileKey kHfConfigKeys[] = {
    {"quantization_config", KeyUse::refused},
    {"per_layer_config", KeyUse::refused},
    {"pruned_heads", KeyUse::refused, "{}"},
    {"is_encoder_decoder", KeyUse::refused, "false"},
    {"add_cross_attention", KeyUse::refused, "false"},
    {"architectures", KeyUse::ignored},
    {"transformers_version", KeyUse::ignored},
    {"dtype", KeyUse::ignored},
    {"torch_dtype", KeyUse::ignored},
    {"use_cache", KeyUse::ignored},
    {"initializer_range", KeyUse::ignored},
    {"bos_token_id", KeyUse::ignored},
    {"eos_token_id", KeyUse::ignored},
    {"pad_token_id", KeyUse::ignored},
    {"output_attentions", KeyUse::ignored},
    {"output_hidden_states", KeyUse::ignored},
    {"return_dict", KeyUse::ignored},
};

namespace detail {

inline const Json& member_or(const Json& object, std::string_view key, const Json& fallback) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? fallback : *it;
}

// What a size of that name may be at most.
inline std::int64_t largest_size(std::string_view key) {
  if (key == "num_hidden_layers" || key == "n_layers" || key == "layers") return kMaxModelLayers;
  return key == "vocab_size" || key.starts_with("max_") ? kMaxModelTokens : kMaxModelWidth;
}

// A missing key or null leaves the field as it is. Integers are sizes.
template <class T>
void take_field(T& field, const Json& object, std::string_view key, const std::string& where) {
  const Json none;
  const Json& found = member_or(object, key, none);
  if (found.is_null()) return;
  update_from_json(field, found, where + ": " + std::string(key));
  if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::optional<std::int64_t>>)
    expect_model_size(std::optional<std::int64_t>(field).value(), key, where, largest_size(key));
}

template <class T>
void take_size(T& field, const Json& object, std::string_view key, const std::string& where) {
  const auto it = object.find(key);
  expect(it != object.end() && !it->is_null(), where, ": key \"", key, "\" is missing");
  take_field(field, object, key, where);
}

// What is added to a variance before its root is taken.
inline void take_epsilon(double& field, const Json& object, std::string_view key, const std::string& where) {
  take_field(field, object, key, where);
  expect(std::isfinite(field) && field >= 0, where, ": ", key, ": expected a number from 0, found ", field);
}

// A side in pixels, as a number or as [height, width] of a square.
inline void take_side(std::int64_t& side, const Json& object, std::string_view key,
                      const std::string& where) {
  const Json none;
  const Json& found = member_or(object, key, none);
  if (!found.is_array()) return take_field(side, object, key, where);
  const std::string path = where + ": " + std::string(key);
  std::vector<std::int64_t> both;
  update_from_json(both, found, path);
  expect(both.size() == 2 && both[0] == both[1], path, ": expected a number or the sides of a square, found ",
         found.dump());
  side = expect_model_size(both[0], key, where);
}

// The width inside of a feed-forward as a multiple of the width outside.
inline std::int64_t take_ratio(double ratio, std::int64_t width, const Json& object, std::string_view key,
                               const std::string& where) {
  take_field(ratio, object, key, where);
  const double wide = static_cast<double>(width) * ratio;
  expect(wide >= 1 && wide <= kMaxModelWidth, where, ": ", key, ": found ", ratio);
  return static_cast<std::int64_t>(wide);
}

inline const Json& expect_object(const Json& json, const std::string& where) {
  expect(json.is_object(), where, ": expected an object, found ", json.dump());
  return json;
}

}  // namespace detail

}  // namespace morphvlm
