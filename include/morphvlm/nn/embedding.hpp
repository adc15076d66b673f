// Token embedding.
#pragma once

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

// LibTorch's own message names neither the id nor its place. On a device values are not looked at, since that
// waits for it.
inline void expect_rows(const Tensor& ids, std::int64_t rows, const char* what) {
  if (!ids.is_cpu() || ids.scalar_type() != at::kLong) return;
  const Tensor flat = ids.contiguous();
  const std::int64_t* id = flat.const_data_ptr<std::int64_t>();
  const std::int64_t count = flat.numel(),
                     columns = ids.dim() > 0 ? std::max<std::int64_t>(ids.size(-1), 1) : 1;
  for (std::int64_t i = 0; i < count; ++i)
    expect(id[i] >= 0 && id[i] < rows, what, ": id ", id[i], " at row ", i / columns, ", column ",
           i % columns, ": expected 0 to ", rows - 1, "; ids of another vocabulary than the model's?");
}

}  // namespace detail

/// A table looked up by token id. PyTorch equivalent: `nn.Embedding`.
struct Embedding {
  Tensor weight = {};  ///< [vocabulary, dim]

  /// ids int64 [...] -> [..., dim]. Error, on a CPU: an id beyond the table, with its place.
  Tensor operator()(const Tensor& ids) const {
    detail::expect_rows(ids, weight.size(0), "embedding");
    return at::embedding(weight, ids);
  }

  /// Normal with standard deviation `std` (HF's initializer_range).
  static Embedding init(std::int64_t vocabulary, std::int64_t dim, const Init& init, double std = 0.02) {
    return {.weight = at::empty({vocabulary, dim}, init.options).normal_(0, std, init.generator)};
  }
};

}  // namespace morphvlm
