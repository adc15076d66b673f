// A loaded model whose frozen projections are to be kept in another way than the files have them.
#pragma once

#include "morphvlm/vlm.hpp"
#include "morphvlm/vlm/quantized_model.hpp"

namespace morphvlm::experiments {

/// Calls f with the model on a device, its frozen projections kept as policy Kept says, tensor by tensor, so
/// that the device never holds the whole ones. `model` is given up.
template <AdapterPolicy Kept, VisionTower V, LanguageModel L, AdapterPolicy P, class F>
void with_kept(VLM<V, Perceiver, L, P>& model, c10::Device device, F&& f) {
  auto kept = quantized<VLM<V, Perceiver, L, Kept>>(model, device);
  model = {};  // the whole projections
  f(kept);
}

}  // namespace morphvlm::experiments
