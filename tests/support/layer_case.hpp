// One case of tests/golden/layers.safetensors: weights by the formula, input, output, cotangent, gradients.
#pragma once

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/io/keys.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

/// Our field names are the reference's.
struct SameKeys {
  std::string operator()(const std::string& key) const { return key; }
};

struct LayerCase {
  std::string name;
  Golden golden = open_golden("layers");

  const Tensor& operator[](const std::string& key) const { return golden[name + "/" + key]; }
  const Json& config() const { return golden.meta.at("cases").at(name); }
  /// An input that gradients are asked for.
  Tensor input(const std::string& key) const { return (*this)[key].clone().set_requires_grad(true); }

  /// Gives `module` the case's weights, all trainable. `theirs(our key)` is the reference's key.
  template <class M, class F = SameKeys>
  M load(M module, F&& theirs = {}) const {
    const StateDict dict = formula_state(config().at("parameters"), name + ".");
    load_state_dict(module, rename_to_module(module, dict, theirs), name);
    unfreeze(module, "*");
    return module;
  }

  /// d (y . dy) / d every input and parameter, against the reference's. What it has no gradient for must not
  /// have one here either.
  template <class M, class F = SameKeys>
  void expect_gradients(const Tensor& y, const std::vector<std::pair<std::string, Tensor>>& inputs,
                        const M& module, F&& theirs = {}) const {
    auto wanted = inputs;
    visit(module, [&](const std::string& key, const Tensor& t) { wanted.emplace_back(theirs(key), t); });
    std::vector<Tensor> tensors;
    for (const auto& [key, t] : wanted) tensors.push_back(t);
    const auto found = gradients(y, tensors, (*this)["dy"]);

    std::size_t compared = 0, stored = 0;
    for (const auto& [key, t] : golden.tensors) stored += key.starts_with(name + "/grad/");
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto key = name + "/grad/" + wanted[i].first;
      for (const auto& [stored_key, expected] : golden.tensors) {
        if (stored_key != key) continue;
        ++compared;
        ASSERT_TRUE(found[i].defined()) << key;
        EXPECT_LE(relative_error(found[i], expected), 1e-4) << key;
      }
    }
    std::size_t defined = 0;
    for (const auto& t : found) defined += t.defined();
    EXPECT_EQ(compared, stored);
    EXPECT_EQ(defined, stored);
    EXPECT_GT(stored, 0U);
  }
};

/// Where modules get shapes only, to be filled by a loader.
inline Init on_meta() { return {.options = TensorOptions(at::kFloat).device(at::kMeta)}; }

}  // namespace morphvlm::testing
