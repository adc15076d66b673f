// What compile_time compiles: one unit of a user who includes everything and instantiates a model.
#include <morphvlm/morphvlm.hpp>

using Model = morphvlm::VLM<morphvlm::ClipViT, morphvlm::Perceiver, morphvlm::OpenLLaMA,
                            morphvlm::LoRA<morphvlm::Attn>>;

at::Tensor answer(const Model& model, const at::Tensor& pixels, const morphvlm::TextInput& text) {
  return model(pixels, text);
}
