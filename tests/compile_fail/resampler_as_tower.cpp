// expect: VisionTower
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/vlm/vlm.hpp"

#ifdef MORPHVLM_BAD
using Tower = morphvlm::Perceiver;
#else
using Tower = morphvlm::ClipViT;
#endif
using Model = morphvlm::VLM<Tower, morphvlm::Perceiver, morphvlm::OpenLLaMA>;

int main() { return Model::Config{}.media_token_id == -1 ? 0 : 1; }
