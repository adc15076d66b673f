// A program of someone else's: a module of its own, counted without memory.
#include <ATen/ops/empty.h>

#include <iostream>

#include "morphvlm/core.hpp"

struct Head {
  morphvlm::Tensor weight = {}, bias = {};
};
struct Model {
  Head first = {}, second = {};
};

int main() {
  const auto meta = morphvlm::TensorOptions().device(at::kMeta);
  Model model;
  model.first = {at::empty({3200, 3200}, meta), {}};
  model.second = {at::empty({13, 3200}, meta), at::empty({13}, meta)};
  const auto count = morphvlm::parameter_count(model);
  std::cout << "parameters: " << count << '\n';
  return count == 3200 * 3200 + 13 * 3200 + 13 ? 0 : 1;
}
