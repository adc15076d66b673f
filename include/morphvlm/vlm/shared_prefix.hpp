// Many continuations of few texts: what stands before the first image is read once for all images.
#pragma once

#include <utility>

#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm {

/// Texts cut at their first media token. Everything before it is the same for every image, so U distinct
/// beginnings serve B texts. A prompt that starts with the image has empty beginnings (time 0) and shares
/// nothing.
struct SharedPrefix {
  TextInput prefix = {};  ///< ids [U, P], left-padded
  Tensor rows = {};       ///< int64 [B]: whose beginning each text has
  TextInput rest = {};    ///< ids [B, S] from the media token on; attention_mask [B, P + S]

  /// The same on a device.
  SharedPrefix to(c10::Device device) const {
    return {prefix.to(device), rows.defined() ? rows.to(device) : rows, rest.to(device)};
  }
};

/// VLM::hidden of the texts' rests, [B, S, dim]; gradients flow through the shared beginnings. `latents`
/// [B, media, l, d]. `cache`, if given, is left ready for decoding each of the B texts further; it may come
/// with the layers below the first gated one filled for all of the U texts (see VLM::ungated_hidden).
template <class Model>
Tensor hidden(const Model& model, const SharedPrefix& text, const Tensor& latents,
              VlmCache* cache = nullptr) {
  VlmCache shared = cache ? std::move(*cache) : VlmCache{};
  if (text.prefix.ids.size(1) > 0) model.hidden(text.prefix, {}, &shared);
  VlmCache each = shared.select_text(text.rows);
  Tensor out = model.hidden(text.rest, latents, &each);
  if (cache) *cache = std::move(each);
  return out;
}

}  // namespace morphvlm
