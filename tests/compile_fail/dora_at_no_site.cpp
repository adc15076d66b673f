// expect: morphvlm: DoRA<...> takes adapter sites: SelfAttn, CrossAttn, Mlp, CrossMlp, Attn, FeedForward
#include "morphvlm/adapt/policy.hpp"

#ifdef MORPHVLM_BAD
using Policy = morphvlm::DoRA<morphvlm::Attn, int>;
#else
using Policy = morphvlm::DoRA<morphvlm::Attn, morphvlm::CrossMlp>;
#endif

int main() { return morphvlm::adapts<Policy, morphvlm::SelfAttn> ? 0 : 1; }
