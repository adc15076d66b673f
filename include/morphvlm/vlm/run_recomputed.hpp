// A decoder's layers with activation checkpointing.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/core/recompute.hpp"
#include "morphvlm/nn/masked_cross_attention.hpp"

namespace morphvlm {

/// What runs again in the backward pass, which then keeps only its input. Whole decoder layers: `every` of
/// them at a time, `layers` of them in all, counted from the first that is trained or passes a gradient on.
/// Or, selectively (as Korthikanti et al. 2022 do with attention), the feed-forward of each layer and gated
/// block, whose activations are the widest: what attention keeps stays, and only two thirds of a layer run
/// twice. Both together shorten the second run's own memory.
struct Recompute {
  std::int64_t every = 0;     ///< whole layers to a segment; 0: none is recomputed
  std::int64_t layers = -1;   ///< how many; negative: all
  bool feed_forward = false;  ///< the feed-forwards, of all layers
};

/// Their help and ranges.
template <>
inline constexpr auto field_notes<Recompute> = std::to_array<FieldNote>(
    {{"every", "layers to a segment whose activations are computed again; 0: none", at_least(0)},
     {"layers", "how many layers, from the first trained one; -1: all", at_least(-1)},
     {"feed_forward", "the feed-forwards of all layers and gated blocks are computed again"}});

/// Decoder layers [first, last).
struct LayerRange {
  std::int64_t first = 0;  ///< the first of them
  std::int64_t last = 0;   ///< the one behind the last
};

namespace detail {

// The first decoder layer from which on activations need gradients, when the decoder's input needs none.
template <class Model>
std::int64_t first_trained_layer(const Model& model, const std::vector<MediaKeyValues>& media) {
  using L = typename Model::Language;
  const auto every = model.config.cross_attention.every;
  std::int64_t first = L::layer_count(model.config.language);
  const std::string prefix = std::string(L::layers_path) + '.';
  visit(model.lang_encoder, [&](const std::string& name, const Tensor& t) {
    if (!t.requires_grad() || !name.starts_with(prefix)) return;
    std::int64_t layer = 0;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
    first = std::min(first, layer);
  });
  for (std::size_t i = 0; i < model.gated_cross_attn.size(); ++i) {
    const auto layer = (static_cast<std::int64_t>(i) + 1) * every - 1;
    const bool is_open = i < media.size() && (media[i].k.requires_grad() || media[i].v.requires_grad());
    if (is_open || trainable_count(model.gated_cross_attn[i]) > 0) first = std::min(first, layer);
  }
  return first;
}

// The places of the media's keys and values that gated blocks in the range read, as positions in `media`.
template <class Model>
std::pair<std::size_t, std::size_t> media_of(const Model& model, LayerRange range, std::size_t media) {
  const auto every = model.config.cross_attention.every;
  const auto block = [&](std::int64_t layer) {
    return std::min(media, static_cast<std::size_t>(layer / every));
  };
  return {block(range.first), block(range.last)};
}

}  // namespace detail

/// run(x, media, first, last) over `all` layers in segments, as model.recompute says. `x` [batch, time, dim].
template <class Model, class Run>
Tensor run_recomputed(const Model& model, Tensor x, const std::vector<MediaKeyValues>& media, LayerRange all,
                      const Run& run) {
  const auto& policy = model.recompute;
  auto begin = all.first;
  if (!x.requires_grad()) begin = std::clamp(detail::first_trained_layer(model, media), all.first, all.last);
  const auto end = policy.layers < 0 ? all.last : std::min(all.last, begin + policy.layers);
  if (begin > all.first) x = run(x, media, all.first, begin);
  for (auto first = begin; first < end; first += policy.every) {
    const LayerRange range{first, std::min(end, first + policy.every)};
    const auto places = detail::media_of(model, range, media.size());
    std::vector<Tensor> inputs{x};
    for (auto i = places.first; i < places.second; ++i) {
      inputs.push_back(media[i].k);
      inputs.push_back(media[i].v);
    }
    const auto segment = [run, range, places, count = media.size()](const std::vector<Tensor>& in) {
      std::vector<MediaKeyValues> seen(count);
      for (auto i = places.first; i < places.second; ++i) {
        seen[i] = {in[1 + 2 * (i - places.first)], in[2 + 2 * (i - places.first)]};
      }
      return run(in.front(), seen, range.first, range.last);
    };
    x = recomputed(segment, std::move(inputs));
  }
  return end < all.last ? run(x, media, std::max(begin, end), all.last) : x;
}

}  // namespace morphvlm
