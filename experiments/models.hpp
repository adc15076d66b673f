// The models of the experiments, each a type.
#pragma once

#include "morphvlm/adapt.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

/// Flamingo around a LLaMA-architecture language model, adapted as P says.
template <AdapterPolicy P>
using Model = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

}  // namespace morphvlm::experiments

namespace morphvlm {
extern template struct VLM<ClipViT, Perceiver, OpenLLaMA, NoAdapter>;
extern template struct VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;
}  // namespace morphvlm
