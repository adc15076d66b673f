// CLIP's vision transformer (Radford et al. 2021), and by config those of SigLIP (Zhai et al. 2023) and
// DINOv2 (Oquab et al. 2023). Field names are open_clip's keys below `visual.`; undefined tensors stand for
// what a variant does not have.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"
#include "morphvlm/model/pixel_input.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/feed_forward.hpp"

namespace morphvlm {

/// Which hidden state leaves the tower. open_clip <= 2.22 returned patch tokens before the final norm, and
/// OpenFlamingo was trained on those; later versions return them after it.
enum class VitTokens { before_ln_post, after_ln_post };

/// Their names in configs.
template <>
inline constexpr std::array<std::pair<VitTokens, std::string_view>, 2> enum_names<VitTokens>{
    {{VitTokens::before_ln_post, "before_ln_post"}, {VitTokens::after_ln_post, "after_ln_post"}}};

/// Sizes of a ClipViT.
struct ClipVitConfig {
  std::int64_t image_size = 224;          ///< side of the square picture, in pixels
  std::int64_t patch_size = 14;           ///< side of a patch, which divides image_size
  std::int64_t hidden_size = 1024;        ///< width of a token (open_clip: width)
  std::int64_t num_hidden_layers = 24;    ///< blocks (open_clip: layers)
  std::int64_t num_attention_heads = 16;  ///< divides hidden_size
  std::int64_t intermediate_size = 4096;  ///< width inside of the feed-forward
  std::int64_t projection_dim = 768;      ///< of `proj`, which OpenFlamingo loads and never uses; 0: none
  Activation hidden_act = Activation::quick_gelu;  ///< CLIP by OpenAI: quick_gelu; most others: gelu
  double layer_norm_eps = 1e-5;                    ///< of every LayerNorm
  VitTokens tokens = VitTokens::before_ln_post;    ///< what the language model gets to see
  bool class_token = true;                         ///< SigLIP has none
  bool pre_norm = true;                            ///< `ln_pre`; neither SigLIP nor DINOv2 has it
  bool conv_bias = false;                          ///< of the patch convolution; SigLIP and DINOv2 have it
  std::optional<double> layer_scale_value =
      {};  ///< what LayerScale starts from (DINOv2); none: no LayerScale

  /// Patches along one side.
  std::int64_t grid() const { return image_size / patch_size; }
};

/// Self-attention with one fused projection. PyTorch equivalent: `nn.MultiheadAttention`.
struct VitAttention {
  Tensor in_proj_weight = {};  ///< [3 dim, dim]: q, k, v
  Tensor in_proj_bias = {};    ///< [3 dim]
  Linear<> out_proj = {};      ///< [dim, dim], with bias
  std::int64_t heads = 0;      ///< that the width is split into

  /// [n, tokens, dim] -> the same
  Tensor operator()(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    const auto qkv = affine(x, in_proj_weight.to(dtype), in_proj_bias.to(dtype)).chunk(3, -1);
    const auto head = [&](const Tensor& t) { return split_heads(t, heads); };
    return out_proj(join_heads(attend(head(qkv[0]), head(qkv[1]), head(qkv[2]), {})));
  }
};

/// A learned factor for each channel. open_clip equivalent: `LayerScale`.
struct LayerScale {
  Tensor gamma = {};  ///< [dim]; undefined: 1

  /// [..., dim] -> the same
  Tensor operator()(const Tensor& x) const { return gamma.defined() ? x.mul(gamma.to(x.scalar_type())) : x; }

  /// All factors are `value`; none: no factors.
  static LayerScale init(std::int64_t dim, std::optional<double> value, const Init& init) {
    return {.gamma = value ? at::full({dim}, *value, init.options) : Tensor{}};
  }
};

/// open_clip equivalent: `ResidualAttentionBlock`.
struct VitBlock {
  LayerNorm ln_1 = {};     ///< before the attention
  VitAttention attn = {};  ///< over all tokens
  LayerScale ls_1 = {};    ///< of the attention, before it is added
  LayerNorm ln_2 = {};     ///< before the feed-forward
  GeluMlp mlp = {};        ///< dim -> intermediate_size -> dim
  LayerScale ls_2 = {};    ///< of the feed-forward, before it is added

  /// [n, tokens, dim] -> the same
  Tensor operator()(const Tensor& x) const {
    const Tensor y = x.add(ls_1(attn(ln_1(x))));
    return y.add(ls_2(mlp(ln_2(y))));
  }

  /// Random parameters of these sizes.
  static VitBlock init(const ClipVitConfig& c, const Init& init) {
    const auto d = c.hidden_size;
    const auto in_proj = Linear<>::init(d, 3 * d, true, init);
    return {.ln_1 = LayerNorm::init(d, init, c.layer_norm_eps),
            .attn = {.in_proj_weight = in_proj.weight,
                     .in_proj_bias = in_proj.bias,
                     .out_proj = Linear<>::init(d, d, true, init),
                     .heads = c.num_attention_heads},
            .ls_1 = LayerScale::init(d, c.layer_scale_value, init),
            .ln_2 = LayerNorm::init(d, init, c.layer_norm_eps),
            .mlp = GeluMlp::init(d, c.intermediate_size, c.hidden_act, init),
            .ls_2 = LayerScale::init(d, c.layer_scale_value, init)};
  }
};

/// The stack of blocks, a level of its own because the checkpoint's keys have it.
struct VitTransformer {
  std::vector<VitBlock> resblocks = {};  ///< in order
};

/// The module behind ClipViT.
struct ClipVitModule {
  /// The patches' convolution, as the checkpoint stores it.
  struct Conv {
    Tensor weight = {};  ///< [dim, 3, patch, patch]
    Tensor bias = {};    ///< [dim], or undefined
  };
  Tensor class_embedding = {};                   ///< [dim], or undefined: patches alone
  Tensor positional_embedding = {};              ///< [1 + patches, dim], or [patches, dim]
  Tensor proj = {};                              ///< [dim, projection_dim], not used by the VLM
  Conv conv1 = {};                               ///< patches to tokens, patch_size pixels a step
  LayerNorm ln_pre = {};                         ///< without weight where the variant has none
  VitTransformer transformer = {};               ///< the blocks
  LayerNorm ln_post = {};                        ///< of the tokens after the last block
  std::int64_t patch_size = 0;                   ///< side of a patch, in pixels
  VitTokens tokens = VitTokens::before_ln_post;  ///< whether ln_post is applied to them

  /// pixels [n, 3, S, S] -> patch tokens [n, patches, dim]; the class token is dropped.
  Tensor operator()(const Tensor& pixels) const {
    Tensor x = embed(pixels);
    if (ln_pre.weight.defined()) x = ln_pre(x);
    for (const auto& block : transformer.resblocks) x = block(x);
    if (tokens == VitTokens::after_ln_post) x = ln_post(x);
    return x.slice(1, class_tokens());
  }

  /// pixels [n, 3, S, S] -> tokens with positions, the class token first: [n, (1 +) patches, dim]
  Tensor embed(const Tensor& pixels) const {
    detail::expect_scaled_pixels(pixels, "ClipViT");
    expect(pixels.dim() == 4 && pixels.size(1) == 3, "ClipViT: expected pixels [n, 3, S, S], found ",
           to_string(pixels.sizes()));
    const auto dtype = pixels.scalar_type();
    const Tensor bias = conv1.bias.defined() ? conv1.bias.to(dtype) : Tensor{};
    Tensor x = affine(patches(pixels), conv1.weight.to(dtype).flatten(1), bias);
    const auto places = positional_embedding.size(0) - class_tokens();
    expect(x.size(1) == places, "ClipViT: an image of ", to_string(pixels.sizes()), " makes ", x.size(1),
           " patches, but the model has positions for ", places);
    if (class_tokens() > 0) x = at::cat({class_embedding.to(dtype).expand({x.size(0), 1, -1}), x}, 1);
    return x.add(positional_embedding.to(dtype));
  }

  /// pixels [n, 3, S, S] -> each patch as one row, row by row of the image: [n, patches, 3 * patch * patch].
  /// A convolution whose stride is its width is a product with these, and on a CPU costs several times the
  /// memory.
  Tensor patches(const Tensor& pixels) const {
    const auto p = patch_size, high = pixels.size(2) / p, wide = pixels.size(3) / p;
    const Tensor whole = pixels.slice(2, 0, high * p).slice(3, 0, wide * p);
    return whole.reshape({pixels.size(0), 3, high, p, wide, p})
        .permute({0, 2, 4, 1, 3, 5})
        .flatten(3)
        .flatten(1, 2);
  }

  /// 1 or 0.
  std::int64_t class_tokens() const { return class_embedding.defined() ? 1 : 0; }

  /// Random parameters of these sizes.
  static ClipVitModule init(const ClipVitConfig& c, const Init& init) {
    expect(c.patch_size > 0 && c.image_size % c.patch_size == 0, "ClipViT: patch size ", c.patch_size,
           " does not divide image size ", c.image_size);
    const auto d = c.hidden_size;
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    auto normal = [&](at::IntArrayRef shape, double std) {
      return at::empty(shape, init.options).normal_(0, std, init.generator);
    };
    const std::int64_t positions = c.grid() * c.grid() + (c.class_token ? 1 : 0);
    ClipVitModule m{.class_embedding = c.class_token ? normal({d}, scale) : Tensor{},
                    .positional_embedding = normal({positions, d}, scale),
                    .proj = c.projection_dim > 0 ? normal({d, c.projection_dim}, scale) : Tensor{},
                    .conv1 = {.weight = normal({d, 3, c.patch_size, c.patch_size}, 0.02),
                              .bias = c.conv_bias ? at::zeros({d}, init.options) : Tensor{}},
                    .ln_pre = c.pre_norm ? LayerNorm::init(d, init, c.layer_norm_eps) : LayerNorm{},
                    .ln_post = LayerNorm::init(d, init, c.layer_norm_eps),
                    .patch_size = c.patch_size,
                    .tokens = c.tokens};
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      m.transformer.resblocks.push_back(VitBlock::init(c, init));
    return m;
  }
};

/// CLIP ViT as a vision tower.
struct ClipViT {
  /// The sizes.
  using Config = ClipVitConfig;
  /// The parameters.
  using Module = ClipVitModule;
  /// Width of a vision token.
  static std::int64_t feature_dim(const Config& c) { return c.hidden_size; }
};

}  // namespace morphvlm
