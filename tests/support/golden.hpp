// Reading tests/golden: fixtures made by independent references, and the formula their weights come from
// (tests/golden/README.md).
#pragma once

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "morphvlm/core.hpp"
#include "morphvlm/formats/safetensors.hpp"

namespace morphvlm::testing {

inline std::filesystem::path golden_path(const std::string& name) {
  return std::filesystem::path(MORPHVLM_GOLDEN_DIR) / name;
}

/// offset + scale * u(key, i), computed in double and rounded once.
inline Tensor formula(const std::string& key, at::IntArrayRef shape, double offset, double scale) {
  Tensor t = at::empty(shape, at::kFloat);
  float* out = t.mutable_data_ptr<float>();
  const std::uint64_t start = fnv1a(key);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const double u =
        static_cast<double>(split_mix(start + static_cast<std::uint64_t>(i)) >> 40) / (1 << 23) - 1;
    out[i] = static_cast<float>(offset + scale * u);
  }
  return t;
}

inline Tensor formula_input(const std::string& key, at::IntArrayRef shape) {
  return formula(key, shape, 0, 1);
}

/// A parameter's value by its key in the reference's spelling.
inline Tensor formula_parameter(const std::string& key, const std::vector<std::int64_t>& shape) {
  const bool vector = shape.size() == 1;
  if (key.ends_with("gate")) return formula(key, shape, 0.5, 0);
  if (key.ends_with("bias")) return formula(key, shape, 0, 0.1);
  if (vector && key.ends_with(".weight")) return formula(key, shape, 1, 0.1);
  if (key.find("embed") != std::string::npos || key.ends_with("latents")) return formula(key, shape, 0, 1);
  double fan_in = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
  return formula(key, shape, 0, std::sqrt(3.0 / fan_in));
}

/// One fixture file: tensors by name and its JSON description.
struct Golden {
  StateDict tensors = {};
  Json meta = {};

  const Tensor& operator[](const std::string& name) const {
    for (const auto& [key, t] : tensors) {
      if (key == name) return t;
    }
    fail("golden fixture has no tensor ", name);
  }
};

inline Golden open_golden(const std::string& name) {
  const auto file = open_safetensors(golden_path(name + ".safetensors"));
  Golden golden{.meta = parse_json(file.header.metadata.at("json"), name)};
  golden.tensors = load_safetensors(golden_path(name + ".safetensors"));
  return golden;
}

/// Parameters listed as [[key, shape], ...], made by the formula; `prefix` is cut off the names.
inline StateDict formula_state(const Json& list, const std::string& prefix = "") {
  StateDict dict;
  for (const auto& entry : list) {
    const auto key = entry.at(0).get<std::string>();
    dict.emplace_back(key.substr(prefix.size()),
                      formula_parameter(key, entry.at(1).get<std::vector<std::int64_t>>()));
  }
  return dict;
}

/// max |a - b| / max |b|
inline double relative_error(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const double scale = std::max(b.detach().to(at::kDouble).abs().max().item<double>(), 1e-30);
  return a.detach().to(at::kDouble).sub(b.detach().to(at::kDouble)).abs().max().item<double>() / scale;
}

}  // namespace morphvlm::testing

/// Shapes equal and max |a - b| <= tolerance * max |b|; a NaN fails.
#define EXPECT_CLOSE(a, b, tolerance) \
  EXPECT_LE(morphvlm::testing::relative_error((a), (b)), (tolerance)) << #a
