// Spellings of vision towers' keys elsewhere.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "morphvlm/core/state_dict.hpp"

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

}  // namespace morphvlm
