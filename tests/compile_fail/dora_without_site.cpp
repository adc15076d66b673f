// expect: morphvlm: DoRA<> names no site
#include "morphvlm/adapt/policy.hpp"

#ifdef MORPHVLM_BAD
using Policy = morphvlm::DoRA<>;
#else
using Policy = morphvlm::DoRA<morphvlm::Attn>;
#endif

int main() { return morphvlm::adapts<Policy, morphvlm::SelfAttn> ? 0 : 1; }
