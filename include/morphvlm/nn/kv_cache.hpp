// Keys and values of what has been read so far. Layers hold no state: decoding passes this explicitly.
#pragma once

#include <ATen/ops/cat.h>

#include <cstdint>
#include <vector>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// One layer's keys and values, [batch, kv_heads, time, head_dim] each; undefined while empty.
struct LayerCache {
  Tensor k = {};  ///< [batch, kv_heads, time, head_dim], or undefined
  Tensor v = {};  ///< the same

  /// Appends along time; gradients flow through.
  void append(const Tensor& new_k, const Tensor& new_v) {
    k = k.defined() ? at::cat({k, new_k}, 2) : new_k;
    v = v.defined() ? at::cat({v, new_v}, 2) : new_v;
  }
};

/// All layers' caches. A cache made for the layers from n on leaves those below undefined.
struct KvCache {
  std::vector<LayerCache> layers = {};  ///< in order; empty before the first token

  /// Positions held.
  std::int64_t length() const {
    return layers.empty() || !layers.back().k.defined() ? 0 : layers.back().k.size(2);
  }

  /// The cache of the given batch rows (int64 [n]), in that order, repeats allowed: one prefix for many
  /// continuations, or beams that change places.
  KvCache select(const Tensor& rows) const {
    KvCache out;
    for (const auto& [k, v] : layers) {
      out.layers.push_back(k.defined() ? LayerCache{k.index_select(0, rows), v.index_select(0, rows)}
                                       : LayerCache{});
    }
    return out;
  }
};

}  // namespace morphvlm
