// expect: packed.in
#include <cstdint>
#include <string_view>

#include "morphvlm/quant/quantized.hpp"

struct Format {
  static constexpr std::string_view name = "Format";
  struct Packed {
    morphvlm::Tensor codes = {};
    std::int64_t out = 0;
#ifndef MORPHVLM_BAD
    std::int64_t in = 0;
#endif
  };
  static Packed pack(const morphvlm::Tensor&) { return {}; }
  static morphvlm::Tensor unpack(const Packed& p, at::ScalarType) { return p.codes; }
  static Packed empty(std::int64_t, std::int64_t, const morphvlm::TensorOptions&) { return {}; }
};
static_assert(morphvlm::WeightFormat<Format>);

int main() {}
