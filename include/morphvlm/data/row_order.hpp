// The order in which rows are trained on.
#pragma once

#include <cstdint>
#include <vector>

#include "morphvlm/core/rng.hpp"

namespace morphvlm {

/// Rows of a data set in an order that (seed, epoch) decides, drawn batch by batch.
struct RowOrder {
  std::int64_t n = 0;                    ///< rows of the data set; at least 1
  std::uint64_t seed = 0;                ///< see shuffled
  std::int64_t epoch = -1;               ///< that `order` is of; -1: none yet
  std::vector<std::int64_t> order = {};  ///< all rows, as `epoch` has them

  /// The rows of batch number `index`, of `count` each.
  std::vector<std::int64_t> batch(std::int64_t index, std::int64_t count) {
    std::vector<std::int64_t> rows;
    for (auto at = index * count; at < (index + 1) * count; ++at) {
      if (at / n != epoch) {
        epoch = at / n;
        order = shuffled(n, seed, static_cast<std::uint64_t>(epoch));
      }
      rows.push_back(order[static_cast<std::size_t>(at % n)]);
    }
    return rows;
  }
};
}  // namespace morphvlm
