// expect: AdapterPolicy
#include "morphvlm/nn/self_attention.hpp"

// A site says where, not what: it is no policy.
#ifdef MORPHVLM_BAD
using Attention = morphvlm::SelfAttention<morphvlm::SelfAttn>;
#else
using Attention = morphvlm::SelfAttention<morphvlm::LoRA<morphvlm::SelfAttn>>;
#endif

int main() { return Attention{}.heads == 0 ? 0 : 1; }
