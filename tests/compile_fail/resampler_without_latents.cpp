// expect: config.latents
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/model/roles.hpp"

struct Sizes {
#ifndef MORPHVLM_BAD
  std::int64_t latents = 64;
#endif
};
struct Resampling {
  using Config = Sizes;
  struct Module {
    morphvlm::Tensor operator()(const morphvlm::Tensor& x) const { return x; }
    static Module init(std::int64_t, const Config&, const morphvlm::Init&) { return {}; }
  };
};
static_assert(morphvlm::Resampler<Resampling>);

int main() {}
