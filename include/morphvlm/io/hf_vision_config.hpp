// Vision transformers' sizes from transformers' config.json. What a ClipViT does not do is refused by name.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/hf_fields.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/model/clip_vit.hpp"

namespace morphvlm {

/// config.json of a CLIP's or SigLIP's vision tower, beside kHfConfigKeys.
inline constexpr FileKey kHfTowerKeys[] = {
    {"image_size"},
    {"patch_size"},
    {"hidden_size"},
    {"intermediate_size"},
    {"num_hidden_layers"},
    {"num_attention_heads"},
    {"hidden_act"},
    {"layer_norm_eps"},
    {"num_channels", KeyUse::refused, "3"},
    {"vision_use_head", KeyUse::ignored},
    {"attention_dropout", KeyUse::ignored},
    {"initializer_factor", KeyUse::ignored},
};

/// config.json of a DINOv2, beside kHfConfigKeys.
inline constexpr FileKey kDinov2Keys[] = {
    {"image_size"},
    {"patch_size"},
    {"hidden_size"},
    {"mlp_ratio"},
    {"num_hidden_layers"},
    {"num_attention_heads"},
    {"hidden_act"},
    {"layer_norm_eps"},
    {"layerscale_value"},
    {"num_channels", KeyUse::refused, "3"},
    {"head_dim", KeyUse::refused},
    {"use_swiglu_ffn", KeyUse::refused, "false"},
    {"qkv_bias", KeyUse::refused, "true"},
    {"apply_layernorm", KeyUse::refused, "true"},
    {"use_mask_token", KeyUse::ignored},
    {"reshape_hidden_states", KeyUse::ignored},
    {"out_features", KeyUse::ignored},
    {"out_indices", KeyUse::ignored},
    {"stage_names", KeyUse::ignored},
    {"hidden_dropout_prob", KeyUse::ignored},
    {"attention_probs_dropout_prob", KeyUse::ignored},
    {"drop_path_rate", KeyUse::ignored},
};

/// config.json of a whole CLIP or SigLIP, around its tower's. `vision_config_dict` is CLIP's alone.
inline constexpr FileKey kHfWholeKeys[] = {{"model_type"},
                                           {"vision_config"},
                                           {"vision_config_dict"},
                                           {"projection_dim"},
                                           {"text_config", KeyUse::ignored},
                                           {"text_config_dict", KeyUse::ignored},
                                           {"logit_scale_init_value", KeyUse::ignored},
                                           {"initializer_factor", KeyUse::ignored}};

/// A vision transformer of transformers: its sizes here, and how its files name its tensors.
struct HfVitConfig {
  HfVit family = HfVit::clip;  ///< by `model_type`
  ClipVitConfig model = {};    ///< sizes; what the file leaves out is what transformers means by it
};

namespace detail {

inline HfVit hf_vit_family(const Json& json, const std::string& where) {
  constexpr std::array<std::pair<std::string_view, HfVit>, 5> known{{{"clip", HfVit::clip},
                                                                     {"clip_vision_model", HfVit::clip},
                                                                     {"siglip", HfVit::siglip},
                                                                     {"siglip_vision_model", HfVit::siglip},
                                                                     {"dinov2", HfVit::dinov2}}};
  const auto type = json_get<std::string>(json, "model_type", where);
  std::string list;
  for (const auto& [name, family] : known) {
    if (type == name) return family;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  fail(where, ": model_type: expected one of ", list, ", found \"", type, "\"");
}

/// What transformers means by the keys that a file leaves out. CLIP's projection is its model's, not its
/// tower's.
inline ClipVitConfig hf_vit_defaults(HfVit family) {
  ClipVitConfig c{.patch_size = 32,
                  .hidden_size = 768,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .intermediate_size = 3072,
                  .projection_dim = 0};
  if (family == HfVit::clip) return c;
  c.patch_size = family == HfVit::siglip ? 16 : 14;
  c.hidden_act = family == HfVit::siglip ? Activation::gelu_tanh : Activation::gelu;
  c.layer_norm_eps = 1e-6;
  c.tokens = VitTokens::after_ln_post;
  c.class_token = family == HfVit::dinov2;
  c.pre_norm = false;
  c.conv_bias = true;
  if (family == HfVit::dinov2) c.layer_scale_value = 1.0;
  return c;
}

inline void take_tower(ClipVitConfig& c, const Json& tower, const std::string& where) {
  take_side(c.image_size, tower, "image_size", where);
  take_side(c.patch_size, tower, "patch_size", where);
  take_field(c.hidden_size, tower, "hidden_size", where);
  take_field(c.num_hidden_layers, tower, "num_hidden_layers", where);
  take_field(c.num_attention_heads, tower, "num_attention_heads", where);
  expect(c.hidden_size % c.num_attention_heads == 0, where, ": num_attention_heads: expected a divisor of ",
         c.hidden_size, " (hidden_size), found ", c.num_attention_heads);
  take_field(c.hidden_act, tower, "hidden_act", where);
  take_epsilon(c.layer_norm_eps, tower, "layer_norm_eps", where);
}

inline bool is_whole(const Json& json) {
  const Json& type = json.at("model_type");
  return type == "clip" || type == "siglip";
}

// The part of a config.json that is its tower's. CLIP's older `vision_config_dict` replaces all that
// `vision_config` says, keys that it lacks included; transformers means its defaults by neither.
inline Json tower_config(const Json& json, HfVit family, const std::string& where, std::string& place) {
  place = where;
  if (!is_whole(json)) return json;
  for (const char* name : {"vision_config_dict", "vision_config"}) {
    const auto it = json.find(name);
    const bool read = family == HfVit::clip || std::string_view(name) == "vision_config";
    if (!read || it == json.end() || it->is_null()) continue;
    place = where + ": " + name;
    return expect_object(*it, place);
  }
  return Json::object();
}

// Whole CLIPs and towers with a projection have one in their files, bare towers do not.
inline bool has_projection(const Json& json) {
  const Json none;
  return is_whole(json) ||
         member_or(json, "architectures", none) == Json::array({"CLIPVisionModelWithProjection"});
}

}  // namespace detail

/// A CLIP's (whole, or its vision tower), SigLIP's or DINOv2's sizes from its config.json. SigLIP and DINOv2
/// give tokens after the last norm, as transformers' `last_hidden_state`; CLIP those before it, as there.
/// `where` leads the message of errors: another model_type, a wrong type, a feature that is not here.
inline HfVitConfig vit_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const HfVit family = detail::hf_vit_family(json, where);
  std::string place;
  const Json tower = detail::tower_config(json, family, where, place);
  refuse_keys(json, kHfConfigKeys, where);
  refuse_keys(tower, kHfConfigKeys, place);
  HfVitConfig out{.family = family, .model = detail::hf_vit_defaults(family)};
  ClipVitConfig& c = out.model;
  if (family == HfVit::dinov2) {
    refuse_keys(tower, kDinov2Keys, place);
    detail::take_tower(c, tower, place);
    detail::take_field(c.layer_scale_value, tower, "layerscale_value", place);
    c.intermediate_size = detail::take_ratio(4, c.hidden_size, tower, "mlp_ratio", place);
  } else {
    refuse_keys(tower, kHfTowerKeys, place);
    detail::take_tower(c, tower, place);
    detail::take_field(c.intermediate_size, tower, "intermediate_size", place);
  }
  if (family == HfVit::clip && detail::has_projection(json)) {
    c.projection_dim = 512;
    detail::take_field(c.projection_dim, json, "projection_dim", where);
  }
  return out;
}

}  // namespace morphvlm
