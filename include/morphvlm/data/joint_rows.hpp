// Which rows the steps of joint training read: each step a batch with pictures and a batch of text alone.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/ops/randperm.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Rows of the two data sets.
struct JointRows {
  std::vector<std::int64_t> with_images = {};  ///< of the data with pictures; fewer at an epoch's end
  std::vector<std::int64_t> text_alone = {};   ///< of the data without
};

/// Multimodal-GPT's order of rows for one process. The pictures set the epochs: each is a new shuffle
/// (torch's, seeded with the number of the epoch) whose last batch may be smaller. Texts go round without an
/// end, and their batches cross from one round into the next.
struct JointOrder {
  std::int64_t pictures = 0;                   ///< rows with pictures
  std::int64_t texts = 0;                      ///< rows without
  std::int64_t batch = 1;                      ///< rows of each kind in a step
  at::Generator text_rng = make_generator(0);  ///< shuffles the texts, once a round
  std::vector<Tensor> rounds = {};             ///< of the texts, as far as asked for

  /// Batches in an epoch.
  std::int64_t steps_per_epoch() const {
    expect(pictures > 0 && texts > 0 && batch > 0,
           "joint order: expected rows of both kinds and a batch, found ", pictures, ", ", texts, " and ",
           batch);
    return (pictures + batch - 1) / batch;
  }

  /// The rows of step 0, 1, ...: the same whenever asked.
  JointRows step_rows(std::int64_t step) {
    const auto steps = steps_per_epoch(), epoch = step / steps, first = step % steps * batch;
    const Tensor shuffle =
        at::randperm(pictures, make_generator(static_cast<std::uint64_t>(epoch)), at::kLong);
    JointRows out;
    for (auto i = first; i < std::min(first + batch, pictures); ++i)
      out.with_images.push_back(shuffle.const_data_ptr<std::int64_t>()[i]);
    for (auto i = step * batch; i < (step + 1) * batch; ++i) out.text_alone.push_back(text_row(i));
    return out;
  }

 private:
  std::int64_t text_row(std::int64_t i) {
    while (std::ssize(rounds) <= i / texts) rounds.push_back(at::randperm(texts, text_rng, at::kLong));
    return rounds[static_cast<std::size_t>(i / texts)].const_data_ptr<std::int64_t>()[i % texts];
  }
};

}  // namespace morphvlm
