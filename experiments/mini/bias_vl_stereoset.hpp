// What the paper leaves for later: VL-StereoSet's scores of bias. At mini scale on a small fixture in the
// file's format, made of easy-VQA's test pictures: the stereotype of a shape is the colour that it has most
// often in training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "experiments/mini/small_world_config.hpp"
#include "morphvlm/eval/vl_stereoset_score.hpp"

namespace morphvlm::experiments {

/// What is run.
struct BiasVlStereoset {
  SmallWorldConfig world = small_world_mini();
  std::int64_t pictures = 240;  ///< of the fixture
};

/// The picks of one way of asking.
struct BiasAnswers {
  std::string name = {};  ///< "pictures" or "pictures withheld"
  std::vector<std::optional<StereoPick>> picks = {};
};

/// What came out.
struct BiasVlStereosetResult {
  std::vector<VlStereoSetExample> data = {};
  std::vector<BiasAnswers> answered = {};
};

/// Writes VLStereoSet.csv and images/ for `count` test pictures into `folder`. The file's kinds of bias stand
/// for the three shapes.
void write_stereoset_fixture(const SmallWorldConfig& world, std::int64_t count,
                             const std::filesystem::path& folder);

/// Makes the fixture, reads it as the real file is read, and asks the small model with and without pictures.
BiasVlStereosetResult run(const BiasVlStereoset& experiment);

}  // namespace morphvlm::experiments
