#include "experiments/models.hpp"

namespace morphvlm {
template struct VLM<ClipViT, Perceiver, OpenLLaMA, NoAdapter>;
template struct VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;
}  // namespace morphvlm
