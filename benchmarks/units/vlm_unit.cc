// What compile_time compiles: one unit of a user who composes a model and runs it.
#include <morphvlm/vlm.hpp>

using Model = morphvlm::VLM<morphvlm::ClipViT, morphvlm::Perceiver, morphvlm::OpenLLaMA,
                            morphvlm::LoRA<morphvlm::Attn>>;

at::Tensor answer(const Model& model, const at::Tensor& pixels, const morphvlm::TextInput& text) {
  return model(pixels, text);
}
