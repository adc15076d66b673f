// Base weights into a model that may carry adapters.
#pragma once

#include <string>
#include <string_view>

#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

/// Loads all parameters but the adapters' strictly from `dict`; adapters keep what they have, but for what
/// starts from the weights (DoRA's magnitudes, PiSSA's factors) and now starts from these. See
/// load_state_dict.
template <class M>
void load_base(M& module, StateDict dict, std::string_view where) {
  for (auto& adapter : state_dict(module, kAdapterParameters)) dict.push_back(std::move(adapter));
  load_state_dict(module, dict, where);
  detail::restart_adapters(module, [](const std::string&) { return true; });
}

}  // namespace morphvlm
