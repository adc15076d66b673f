// Activations below the first gated block, kept per distinct text.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/collate.hpp"

namespace morphvlm {

/// What VLM::ungated_hidden gives for each text seen so far. A data set with few question strings asks the
/// same texts over and over; while the layers below the first gated block are frozen and unadapted, the
/// answer never changes.
struct UngatedHiddenCache {
  std::map<TokenIds, Tensor> known = {};  ///< text -> [time, dim]

  /// What a training row reads: everything but the last token, which is only predicted.
  static TokenIds read_text(const VqaTokens& row) {
    TokenIds text = whole_text(row);
    if (!row.answer.empty()) text.pop_back();
    return text;
  }

  /// Fills in SharedBatch's `ungated_hidden` fields from the table, computing what is new (under no-grad).
  template <class Model>
  void fill(const Model& model, std::span<const VqaTokens> rows, SharedBatch& batch) {
    const auto prefix_time = batch.text.prefix.ids.size(1), rest_time = batch.text.rest.ids.size(1);
    const auto& sample = of(model, read_text(rows[0]));
    batch.text.prefix.ungated_hidden =
        at::zeros({batch.text.prefix.ids.size(0), prefix_time, sample.size(-1)}, sample.options());
    batch.text.rest.ungated_hidden =
        at::zeros({std::ssize(rows), rest_time, sample.size(-1)}, sample.options());
    for (std::size_t u = 0; u < batch.owner.size(); ++u) {
      const auto& row = rows[batch.owner[u]];
      const auto length = std::ssize(row.prefix);
      batch.text.prefix.ungated_hidden.select(0, static_cast<std::int64_t>(u))
          .slice(0, prefix_time - length)
          .copy_(of(model, read_text(row)).slice(0, 0, length));
    }
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const Tensor tail = of(model, read_text(rows[r])).slice(0, std::ssize(rows[r].prefix));
      batch.text.rest.ungated_hidden.select(0, static_cast<std::int64_t>(r))
          .slice(0, 0, std::min(tail.size(0), rest_time))
          .copy_(tail.slice(0, 0, rest_time));
    }
  }

  /// The activations of one text.
  template <class Model>
  const Tensor& of(const Model& model, const TokenIds& ids) {
    auto [it, fresh] = known.try_emplace(ids);
    if (fresh) {
      at::NoGradGuard no_grad;
      it->second = model.ungated_hidden({.ids = at::tensor(ids, at::kLong).unsqueeze(0)}).squeeze(0);
    }
    return it->second;
  }
};

}  // namespace morphvlm
