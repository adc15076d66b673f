// CLIP's vision tower from open_clip_config.json, open_clip's file beside its weights. What a ClipViT does
// not do is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/hf_fields.hpp"
#include "morphvlm/model/clip_vit.hpp"

namespace morphvlm {

/// `model_cfg` of open_clip_config.json; no other key may stand there.
inline constexpr FileKey kOpenClipModelKeys[] = {{"embed_dim"},
                                                 {"vision_cfg"},
                                                 {"quick_gelu"},
                                                 {"text_cfg", KeyUse::ignored},
                                                 {"multimodal_cfg", KeyUse::ignored},
                                                 {"custom_text", KeyUse::ignored},
                                                 {"init_logit_scale", KeyUse::ignored},
                                                 {"init_logit_bias", KeyUse::ignored},
                                                 {"nonscalar_logit_scale", KeyUse::ignored},
                                                 {"output_dict", KeyUse::ignored}};

/// `model_cfg.vision_cfg`; no other key may stand there. Which tokens leave the tower, before or after its
/// last norm, is the model folder's `vision.tokens`; open_clip's pooling comes after them.
inline constexpr FileKey kOpenClipVisionKeys[] = {
    {"image_size"},
    {"patch_size"},
    {"width"},
    {"layers"},
    {"head_width"},
    {"mlp_ratio"},
    {"ls_init_value"},
    {"no_ln_pre"},
    {"act_kwargs"},
    {"norm_kwargs"},
    {"timm_model_name", KeyUse::refused, "\"\""},
    {"attentional_pool", KeyUse::refused, "false"},
    {"block_type", KeyUse::refused, "\"default\""},
    {"qk_norm", KeyUse::refused, "false"},
    {"scaled_cosine_attn", KeyUse::refused, "false"},
    {"scale_heads", KeyUse::refused, "false"},
    {"scale_attn_inner", KeyUse::refused, "false"},
    {"scale_attn", KeyUse::refused, "false"},
    {"scale_fc", KeyUse::refused, "false"},
    {"pool_type", KeyUse::refused, "\"tok\"\n\"avg\""},
    {"pos_embed_type", KeyUse::refused, "\"learnable\"\n\"sin_cos_2d\""},
    {"final_ln_after_pool", KeyUse::ignored},
    {"output_tokens", KeyUse::ignored},
    {"patch_dropout", KeyUse::ignored},
    {"attn_pooler_queries", KeyUse::ignored},
    {"attn_pooler_heads", KeyUse::ignored},
    {"timm_model_pretrained", KeyUse::ignored},
    {"timm_pool", KeyUse::ignored},
    {"timm_proj", KeyUse::ignored},
    {"timm_proj_bias", KeyUse::ignored},
    {"timm_drop", KeyUse::ignored},
    {"timm_drop_path", KeyUse::ignored},
};

/// `norm_kwargs` of vision_cfg, of every LayerNorm; no other key may stand there.
inline constexpr FileKey kOpenClipNormKeys[] = {
    {"eps"}, {"elementwise_affine", KeyUse::refused, "true"}, {"bias", KeyUse::refused, "true"}};

/// `act_kwargs` of vision_cfg, of the exact GELU; no other key may stand there.
inline constexpr FileKey kOpenClipActivationKeys[] = {{"approximate"}};

namespace detail {

inline Activation open_clip_activation(const Json& model, const Json& vision, const std::string& where) {
  bool quick = false;
  take_field(quick, model, "quick_gelu", where);
  const Json none = Json::object();
  const std::string place = where + ": act_kwargs";
  const Json& kwargs = expect_object(member_or(vision, "act_kwargs", none), place);
  refuse_unknown_keys(kwargs, kOpenClipActivationKeys, place);
  expect(!quick || kwargs.empty(), place, ": expected none with quick_gelu, found ", kwargs.dump());
  if (quick) return Activation::quick_gelu;
  std::string approximate = "none";
  take_field(approximate, kwargs, "approximate", place);
  expect(approximate == "none" || approximate == "tanh", place,
         ": approximate: expected \"none\" or \"tanh\", found \"", approximate, "\"");
  return approximate == "tanh" ? Activation::gelu_tanh : Activation::gelu;
}

inline void take_open_clip_norm(ClipVitConfig& c, const Json& vision, const std::string& where) {
  const Json none = Json::object();
  const std::string place = where + ": norm_kwargs";
  const Json& kwargs = expect_object(member_or(vision, "norm_kwargs", none), place);
  refuse_keys(kwargs, kOpenClipNormKeys, place);
  refuse_unknown_keys(kwargs, kOpenClipNormKeys, place);
  take_epsilon(c.layer_norm_eps, kwargs, "eps", place);
}

}  // namespace detail

/// The tower's sizes from the text of open_clip_config.json; what it leaves out is what open_clip means by
/// it. `where` leads the message of errors: a missing key, a wrong type, a feature that is not here.
inline ClipVitConfig vit_config_from_open_clip(const Json& json, const std::string& where) {
  const Json model = json_get<Json>(json, "model_cfg", where);
  const Json vision = json_get<Json>(model, "vision_cfg", where);
  detail::expect_object(vision, where + ": vision_cfg");
  refuse_keys(vision, kOpenClipVisionKeys, where);
  refuse_unknown_keys(vision, kOpenClipVisionKeys, where + ": vision_cfg");
  refuse_keys(model, kOpenClipModelKeys, where);
  refuse_unknown_keys(model, kOpenClipModelKeys, where + ": model_cfg");
  ClipVitConfig c{.patch_size = 16, .hidden_size = 768, .num_hidden_layers = 12};
  detail::take_side(c.image_size, vision, "image_size", where);
  detail::take_side(c.patch_size, vision, "patch_size", where);
  detail::take_field(c.hidden_size, vision, "width", where);
  detail::take_field(c.num_hidden_layers, vision, "layers", where);
  std::int64_t head = 64;
  detail::take_field(head, vision, "head_width", where);
  expect(c.hidden_size % head == 0, where, ": head_width ", head, " does not divide width ", c.hidden_size);
  c.num_attention_heads = c.hidden_size / head;
  c.intermediate_size = detail::take_ratio(4, c.hidden_size, vision, "mlp_ratio", where);
  detail::take_field(c.layer_scale_value, vision, "ls_init_value", where);
  bool no_ln_pre = false;
  detail::take_field(no_ln_pre, vision, "no_ln_pre", where);
  c.pre_norm = !no_ln_pre;
  c.hidden_act = detail::open_clip_activation(model, vision, where);
  detail::take_open_clip_norm(c, vision, where);
  detail::take_size(c.projection_dim, model, "embed_dim", where);
  return c;
}

}  // namespace morphvlm
