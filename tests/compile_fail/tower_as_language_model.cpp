// expect: LanguageModel
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/vlm/vlm.hpp"

#ifdef MORPHVLM_BAD
using Language = morphvlm::ClipViT;
#else
using Language = morphvlm::OpenLLaMA;
#endif
using Model = morphvlm::VLM<morphvlm::ClipViT, morphvlm::Perceiver, Language, morphvlm::NoAdapter>;

int main() { return Model::Config{}.media_token_id == -1 ? 0 : 1; }
