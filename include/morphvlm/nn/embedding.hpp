// Token embedding.
#pragma once

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>

#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// A table looked up by token id. PyTorch equivalent: `nn.Embedding`.
struct Embedding {
  Tensor weight = {};  ///< [vocabulary, dim]

  /// ids int64 [...] -> [..., dim]
  Tensor operator()(const Tensor& ids) const { return at::embedding(weight, ids); }

  /// Normal with standard deviation `std` (HF's initializer_range).
  static Embedding init(std::int64_t vocabulary, std::int64_t dim, const Init& init, double std = 0.02) {
    return {.weight = at::empty({vocabulary, dim}, init.options).normal_(0, std, init.generator)};
  }
};

}  // namespace morphvlm
