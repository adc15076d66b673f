// Spellings of vision towers' keys elsewhere.
#pragma once

#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/keys.hpp"

namespace morphvlm {

/// The key that EfficientNet's PyTorch port uses for ours: its fields begin with an underscore.
inline std::string efficient_net_key(std::string_view key) {
  std::string out;
  for (std::size_t begin = 0; begin <= key.size();) {
    const auto end = std::min(key.find('.', begin), key.size());
    const auto part = key.substr(begin, end - begin);
    const bool own =
        part == "blocks" || part.ends_with("_conv") || part.starts_with("conv_") || part.starts_with("bn");
    out += (begin > 0 ? "." : "") + std::string(own ? "_" : "") + std::string(part);
    begin = end + 1;
  }
  return out;
}

/// The entries of an EfficientNet checkpoint that a tower has: no classifier, no counts of batches.
inline StateDict efficient_net_features(const StateDict& dict) {
  StateDict out;
  for (const auto& entry : dict) {
    if (!entry.first.starts_with("_fc.") && !entry.first.ends_with(".num_batches_tracked"))
      out.push_back(entry);
  }
  return out;
}

/// Whose names a vision transformer's tensors have in transformers' files.
enum class HfVit { clip, siglip, dinov2 };

namespace detail {

using KeyPairs = std::array<std::pair<std::string_view, std::string_view>, 5>;

/// How one family's files name the parts of a ClipViT.
struct HfVitNames {
  std::string_view prefix, layers;
  KeyPairs outside;                       ///< {ours, theirs}, beginnings of keys
  std::array<std::string_view, 3> q_k_v;  ///< below a layer
  std::array<std::pair<std::string_view, std::string_view>, 7> inside;  ///< below a layer
  bool batched;  ///< the class token is [1, 1, dim] and the positions [1, n, dim], not [dim] and [n, dim]
};

inline constexpr HfVitNames kHfClipNames{
    .prefix = "vision_model.",
    .layers = "encoder.layers.",
    .outside = {{{"class_embedding", "embeddings.class_embedding"},
                 {"positional_embedding", "embeddings.position_embedding.weight"},
                 {"conv1.", "embeddings.patch_embedding."},
                 {"ln_pre.", "pre_layrnorm."},
                 {"ln_post.", "post_layernorm."}}},
    .q_k_v = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."},
    .inside = {{{"attn.out_proj.", "self_attn.out_proj."},
                {"ln_1.", "layer_norm1."},
                {"ln_2.", "layer_norm2."},
                {"mlp.c_fc.", "mlp.fc1."},
                {"mlp.c_proj.", "mlp.fc2."}}},
    .batched = false};

inline constexpr HfVitNames kHfDinov2Names{
    .prefix = "dinov2.",
    .layers = "encoder.layer.",
    .outside = {{{"class_embedding", "embeddings.cls_token"},
                 {"positional_embedding", "embeddings.position_embeddings"},
                 {"conv1.", "embeddings.patch_embeddings.projection."},
                 {"ln_post.", "layernorm."}}},
    .q_k_v = {"attention.attention.query.", "attention.attention.key.", "attention.attention.value."},
    .inside = {{{"attn.out_proj.", "attention.output.dense."},
                {"ln_1.", "norm1."},
                {"ln_2.", "norm2."},
                {"mlp.c_fc.", "mlp.fc1."},
                {"mlp.c_proj.", "mlp.fc2."},
                {"ls_1.gamma", "layer_scale1.lambda1"},
                {"ls_2.gamma", "layer_scale2.lambda1"}}},
    .batched = true};

inline constexpr std::string_view kVitLayers = "transformer.resblocks.",
                                  kHfVitProjection = "visual_projection.weight";

inline const HfVitNames& hf_vit_names(HfVit family) {
  return family == HfVit::dinov2 ? kHfDinov2Names : kHfClipNames;
}

// The key with its beginning exchanged by the first pair that fits; as it is where none does.
template <class Pairs>
std::string exchange_beginning(std::string_view key, const Pairs& pairs, bool to_theirs) {
  for (const auto& [ours, theirs] : pairs) {
    const auto from = to_theirs ? ours : theirs, to = to_theirs ? theirs : ours;
    if (!from.empty() && key.starts_with(from)) return std::string(to).append(key.substr(from.size()));
  }
  return std::string(key);
}

/// One layer's q, k and v, of weights or of biases, until all three are there.
struct SplitProjection {
  std::array<Tensor, 3> parts = {};
  std::array<std::string, 3> keys = {};
};

inline Tensor fuse_projection(const SplitProjection& split, const std::string& key, std::string_view where) {
  for (std::size_t i = 0; i < 3; ++i) {
    const Tensor& part = split.parts[i];
    expect(part.defined(), where, ": q, k and v make ", key, ", but one of them is missing");
    expect(part.dim() > 0 && part.sizes() == split.parts[0].sizes() &&
               part.scalar_type() == split.parts[0].scalar_type(),
           where, ": ", split.keys[i], ": expected ", describe(split.parts[0]), " as ", split.keys[0],
           ", found ", describe(part));
  }
  return at::cat({split.parts[0], split.parts[1], split.parts[2]});
}

// An embedding in the shape that ClipViT has it in; another shape than expected stays, for the loader to
// report.
inline Tensor without_batch(const Tensor& t, std::string_view ours) {
  const bool token = ours == "class_embedding";
  if (!ours.ends_with("_embedding") || t.dim() != 3 || t.size(0) != 1 || (token && t.size(1) != 1)) return t;
  return token ? t[0][0] : t[0];
}

inline Tensor with_batch(const Tensor& t, std::string_view ours) {
  if (!ours.ends_with("_embedding")) return t;
  return ours == "class_embedding" ? t.view({1, 1, -1}) : t.unsqueeze(0);
}

// One tensor of a layer, `rest` its name there, into `out`; or into `split`, if it is q, k or v.
inline void layer_tensor_from_hf(const std::string& block, std::string_view rest,
                                 const StateDict::value_type& entry, const HfVitNames& names, StateDict& out,
                                 std::map<std::string, SplitProjection>& split) {
  for (std::size_t i = 0; i < 3; ++i) {
    if (!rest.starts_with(names.q_k_v[i])) continue;
    auto& projection = split[block + "attn.in_proj_" + std::string(rest.substr(names.q_k_v[i].size()))];
    projection.parts[i] = entry.second;
    projection.keys[i] = entry.first;
    return;
  }
  out.emplace_back(block + exchange_beginning(rest, names.inside, false), entry.second);
}

// What a tower's file has besides its tower: heads, the other half of a CLIP, tokens for masked pictures.
inline bool beside_the_tower(std::string_view key) {
  return key.starts_with("head.") || key == "embeddings.mask_token" || key == "embeddings.position_ids";
}

}  // namespace detail

/// A vision transformer's tensors under ClipViT's names, from transformers' files of CLIP (whole, or its
/// vision tower), SigLIP or DINOv2: q, k and v become one, a CLIP's projection is transposed. What is beside
/// the tower (text model, heads, mask token) is left out; names unknown here stay as they are, for the strict
/// loader to report. `where` leads the message of an Error: q, k or v missing, or of several shapes.
inline StateDict vit_from_hf(const StateDict& dict, HfVit family, std::string_view where) {
  const auto& names = detail::hf_vit_names(family);
  const bool prefixed =
      std::ranges::any_of(dict, [&](const auto& entry) { return entry.first.starts_with(names.prefix); });
  StateDict out;
  std::map<std::string, detail::SplitProjection> split;
  for (const auto& entry : dict) {
    const auto& [full, tensor] = entry;
    if (full == detail::kHfVitProjection)
      out.emplace_back("proj", tensor.dim() == 2 ? tensor.t().contiguous() : tensor);
    if (full == detail::kHfVitProjection || (prefixed && !full.starts_with(names.prefix))) continue;
    const auto key = std::string_view(full).substr(prefixed ? names.prefix.size() : 0);
    if (detail::beside_the_tower(key)) continue;
    if (const auto [layer, rest] = detail::split_index(key, names.layers); layer >= 0) {
      const std::string block = std::string(detail::kVitLayers) + std::to_string(layer) + '.';
      detail::layer_tensor_from_hf(block, rest, entry, names, out, split);
    } else {
      const auto ours = detail::exchange_beginning(key, names.outside, false);
      out.emplace_back(ours, names.batched ? detail::without_batch(tensor, ours) : tensor);
    }
  }
  for (const auto& [key, projection] : split)
    out.emplace_back(key, detail::fuse_projection(projection, key, where));
  return out;
}

/// A ClipViT's tensors under the names of transformers' files, `vision_model.` included: what vit_from_hf
/// undoes. A tower without heads; its projection, if it has one, is that of CLIPVisionModelWithProjection.
inline StateDict vit_to_hf(const StateDict& dict, HfVit family) {
  const auto& names = detail::hf_vit_names(family);
  const std::string prefix(family == HfVit::dinov2 ? "" : names.prefix);
  StateDict out;
  for (const auto& [key, tensor] : dict) {
    if (key == "proj") {
      out.emplace_back(detail::kHfVitProjection, tensor.t().contiguous());
      continue;
    }
    const auto [layer, rest] = detail::split_index(key, detail::kVitLayers);
    if (layer < 0) {
      out.emplace_back(prefix + detail::exchange_beginning(key, names.outside, true),
                       names.batched ? detail::with_batch(tensor, key) : tensor);
      continue;
    }
    const std::string block = prefix + std::string(names.layers) + std::to_string(layer) + '.';
    constexpr std::string_view fused = "attn.in_proj_";
    if (!rest.starts_with(fused)) {
      out.emplace_back(block + detail::exchange_beginning(rest, names.inside, true), tensor);
      continue;
    }
    const auto parts = tensor.chunk(3);
    for (std::size_t i = 0; i < 3; ++i)
      out.emplace_back(block + std::string(names.q_k_v[i]) + std::string(rest.substr(fused.size())),
                       parts[i]);
  }
  return out;
}

}  // namespace morphvlm
