// What compile_time compiles beside vlm_unit.cc: a unit of a user of LibTorch alone.
#include <torch/torch.h>

at::Tensor answer(const at::Tensor& x, const at::Tensor& weight) { return at::linear(x, weight); }
