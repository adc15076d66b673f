// expect: morphvlm: LoRA<> names no site
#include "morphvlm/adapt/policy.hpp"

#ifdef MORPHVLM_BAD
using Policy = morphvlm::LoRA<>;
#else
using Policy = morphvlm::LoRA<morphvlm::Attn>;
#endif

int main() { return morphvlm::adapts<Policy, morphvlm::SelfAttn> ? 0 : 1; }
