// Base weights into a model that may carry adapters.
#pragma once

#include <string_view>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

/// Loads all parameters but the adapters' strictly from `dict`; adapters keep what they have. See
/// load_state_dict.
template <class M>
void load_base(M& module, StateDict dict, std::string_view where) {
  for (auto& adapter : state_dict(module, kAdapterParameters)) dict.push_back(std::move(adapter));
  load_state_dict(module, dict, where);
}

}  // namespace morphvlm
