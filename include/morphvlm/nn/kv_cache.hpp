// Keys and values of what has been read so far. Layers hold no state: decoding passes this explicitly.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// One layer's keys and values, [batch, kv_heads, time, head_dim] each; undefined while empty.
struct LayerCache {
  Tensor k = {};  ///< [batch, kv_heads, time, head_dim], or undefined
  Tensor v = {};  ///< the same

  /// Appends along time; gradients flow through. With `place` (int64 [new]), writes there instead, in place.
  void append(const Tensor& new_k, const Tensor& new_v, const Tensor& place = {}) {
    if (place.defined()) {
      k.index_copy_(2, place, new_k);
      v.index_copy_(2, place, new_v);
      return;
    }
    k = k.defined() ? at::cat({k, new_k}, 2) : new_k;
    v = v.defined() ? at::cat({v, new_v}, 2) : new_v;
  }
};

/// All layers' caches. A cache made for the layers from n on leaves those below undefined.
struct KvCache {
  std::vector<LayerCache> layers = {};  ///< in order; empty before the first token
  /// Of a cache of fixed length: int64 [1], where the next token's keys and values go; what stands behind is
  /// not there yet. Undefined: the cache grows.
  Tensor place = {};

  /// Positions held, or that there is room for in a cache of fixed length.
  std::int64_t length() const {
    return layers.empty() || !layers.back().k.defined() ? 0 : layers.back().k.size(2);
  }

  /// The cache of the given batch rows (int64 [n]), in that order, repeats allowed: one prefix for many
  /// continuations, or beams that change places.
  KvCache select(const Tensor& rows) const {
    KvCache out{.place = place};
    for (const auto& [k, v] : layers) {
      out.layers.push_back(k.defined() ? LayerCache{k.index_select(0, rows), v.index_select(0, rows)}
                                       : LayerCache{});
    }
    return out;
  }

  /// Beams change places: as select, but a cache of fixed length stays where it is in memory. Rows that
  /// change places have the first `same` positions in common.
  void reorder(const Tensor& rows, std::int64_t same = 0) {
    if (!place.defined()) {
      *this = select(rows);
      return;
    }
    // On a device it would have to be waited for how many are there.
    const auto last = place.is_cpu() ? *place.const_data_ptr<std::int64_t>() : length();
    for (const auto& layer : layers) {
      for (const Tensor& t : {layer.k, layer.v}) {
        if (!t.defined()) continue;
        const Tensor moved = t.slice(2, same, last);
        moved.copy_(moved.index_select(0, rows));
      }
    }
  }

  /// A copy of fixed length, with room for `more` tokens: steps that read it have the same shapes and
  /// addresses every time, as a CUDA graph needs.
  KvCache with_room(std::int64_t more) const {
    KvCache out;
    for (const auto& [k, v] : layers) {
      const auto roomy = [&](const Tensor& t) {
        return t.defined() ? at::constant_pad_nd(t, {0, 0, 0, more}).contiguous() : t;
      };
      out.layers.push_back({roomy(k), roomy(v)});
    }
    out.place = at::full({1}, length(), TensorOptions(at::kLong).device(layers.back().k.device()));
    return out;
  }
};

}  // namespace morphvlm
