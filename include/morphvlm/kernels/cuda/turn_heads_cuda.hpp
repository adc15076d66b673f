// Heads rotated and filled up to whole vectors on CUDA, in one pass over memory.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <string_view>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"

namespace morphvlm::detail {

// Two numbers of a head's first half and their partners in the second to a thread. Backwards is the
// transposed rotation.
inline constexpr std::string_view kTurnHeads = R"(
extern "C" __global__ void __launch_bounds__(256) turn_heads(
    const unsigned* in, const unsigned* cos, const unsigned* sin, unsigned* out, long long tokens, int table_tokens,
    int heads, int pairs, int in_pairs, int out_pairs, int backwards) {
  const int quarter = pairs / 2;
  const long long place = (long long)blockIdx.x * 256 + threadIdx.x;
  if (place >= tokens * heads * quarter) return;
  const int i = (int)(place % quarter);
  const long long head = place / quarter;
  const unsigned a = in[head * in_pairs + i], b = in[head * in_pairs + quarter + i];
  unsigned first = a, second = b;
  if (cos) {
    const long long row = (head / heads) % table_tokens * pairs;
    const unsigned c1 = cos[row + i], c2 = cos[row + quarter + i];
    unsigned s1 = sin[row + i], s2 = sin[row + quarter + i];
    if (backwards) {
      const unsigned other = s1 ^ 0x80008000u;
      s1 = s2 ^ 0x80008000u;
      s2 = other;
    }
    first = pair_of(fmaf(first_of(a), first_of(c1), -(first_of(b) * first_of(s1))),
                    fmaf(second_of(a), second_of(c1), -(second_of(b) * second_of(s1))));
    second = pair_of(fmaf(first_of(b), first_of(c2), first_of(a) * first_of(s2)),
                     fmaf(second_of(b), second_of(c2), second_of(a) * second_of(s2)));
  }
  unsigned* const to = out + head * out_pairs;
  to[i] = first;
  to[quarter + i] = second;
  for (int rest = pairs + i; rest < out_pairs; rest += quarter) to[rest] = 0;
}
)";

inline const CudaKernel& turn_heads_kernel() {
  static const CudaKernel kKernel("turn_heads", cuda_source("", kTurnHeads));
  return kKernel;
}

// in [batch, time, heads, width] -> [batch, time, heads, out_width], of which `dim` numbers are rotated by
// the table, if there is one, and others are 0. All contiguous.
inline Tensor turn_heads(const Tensor& in, const Tensor& cos, const Tensor& sin, std::int64_t dim,
                         std::int64_t out_width, bool backwards) {
  Tensor out = at::empty({in.size(0), in.size(1), in.size(2), out_width}, in.options().requires_grad(false));
  if (in.is_meta()) return out;
  const auto tokens = in.size(0) * in.size(1), heads = in.size(2);
  const auto threads = tokens * heads * (dim / 4);
  turn_heads_kernel().launch(in.device(), grid_of_threads(threads), in.const_data_ptr(), address(cos),
                             address(sin), out.mutable_data_ptr(), static_cast<long long>(tokens),
                             static_cast<int>(cos.defined() ? cos.size(0) * cos.size(2) : 1),
                             static_cast<int>(heads), static_cast<int>(dim / 2),
                             static_cast<int>(in.size(3) / 2), static_cast<int>(out_width / 2),
                             backwards ? 1 : 0);
  return out;
}

}  // namespace morphvlm::detail
