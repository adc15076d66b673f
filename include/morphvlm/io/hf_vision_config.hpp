// Vision transformers' sizes from transformers' config.json. What a ClipViT does not do is refused by name.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/io/model_limits.hpp"
#include "morphvlm/model/clip_vit.hpp"

namespace morphvlm {

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

inline void take_dinov2_fields(ClipVitConfig& c, const Json& json, const std::string& where) {
  expect_member(json, "use_swiglu_ffn", false, false, where);
  expect_member(json, "qkv_bias", true, true, where);
  expect_member(json, "apply_layernorm", true, true, where);
  take_field(c.layer_scale_value, json, "layerscale_value", where);
  double ratio = 4;
  take_field(ratio, json, "mlp_ratio", where);
  const double wide = static_cast<double>(c.hidden_size) * ratio;
  expect(wide >= 1 && wide <= kMaxModelWidth, where, ": mlp_ratio: found ", ratio);
  c.intermediate_size = static_cast<std::int64_t>(wide);
}

// Whole CLIPs and towers with a projection have one in their files, bare towers do not.
inline bool has_projection(const Json& json) {
  const Json none;
  return json.contains("vision_config") ||
         member_or(json, "architectures", none) == Json::array({"CLIPVisionModelWithProjection"});
}

}  // namespace detail

/// A CLIP's (whole, or its vision tower), SigLIP's or DINOv2's sizes from its config.json. SigLIP and DINOv2
/// give tokens after the last norm, as transformers' `last_hidden_state`; CLIP those before it, as there.
/// `where` leads the message of errors: another model_type, a wrong type, a feature that is not here.
inline HfVitConfig vit_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const HfVit family = detail::hf_vit_family(json, where);
  const bool nested = json.contains("vision_config");
  const Json& tower =
      nested ? detail::expect_object(json.at("vision_config"), where + ": vision_config") : json;
  HfVitConfig out{.family = family, .model = detail::hf_vit_defaults(family)};
  ClipVitConfig& c = out.model;
  detail::expect_member(tower, "num_channels", 3, 3, where);
  detail::take_field(c.image_size, tower, "image_size", where);
  detail::take_field(c.patch_size, tower, "patch_size", where);
  detail::take_field(c.hidden_size, tower, "hidden_size", where);
  detail::take_field(c.num_hidden_layers, tower, "num_hidden_layers", where);
  detail::take_field(c.num_attention_heads, tower, "num_attention_heads", where);
  detail::take_field(c.intermediate_size, tower, "intermediate_size", where);
  detail::take_field(c.hidden_act, tower, "hidden_act", where);
  detail::take_field(c.layer_norm_eps, tower, "layer_norm_eps", where);
  if (family == HfVit::dinov2) detail::take_dinov2_fields(c, tower, where);
  if (family == HfVit::clip && detail::has_projection(json)) {
    c.projection_dim = 512;
    detail::take_field(c.projection_dim, json, "projection_dim", where);
  }
  return out;
}

}  // namespace morphvlm
