// Counts the parameters of a projection, without memory for them.
#include <ATen/ops/empty.h>

#include <iostream>

#include <morphvlm/core.hpp>

struct Projection {
  morphvlm::Tensor weight = {}, bias = {};
};

int main() {
  const auto meta = morphvlm::TensorOptions().device(at::kMeta);
  const Projection projection{at::empty({13, 3200}, meta), at::empty({13}, meta)};
  std::cout << "morphvlm " << morphvlm::toolkit_version() << ", " << morphvlm::parameter_count(projection)
            << " parameters\n";
  return morphvlm::parameter_count(projection) == 13 * 3200 + 13 ? 0 : 1;
}
