// Visual question answering data as plain rows, whatever data set they come from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace morphvlm {

/// Which part of a data set.
enum class Split { train, val, test };

/// One question about one image.
struct VqaExample {
  std::filesystem::path image = {};       ///< its file; empty: no image
  std::string question = {};              ///< as the data set spells it
  std::vector<std::string> answers = {};  ///< as many as annotators; empty where they are kept secret
  std::int64_t image_id = 0;  ///< the data set's number of the image, which several questions may share
  std::string kind = {};      ///< "yes/no", "open", ...: what the score is broken down by
  std::string id = {};        ///< the data set's own name of the question, where it has one
  std::vector<std::string> choices = {};     ///< of a multiple-choice question
  std::int64_t correct_choice = -1;          ///< index into choices; -1: not told
  std::vector<std::string> rationales = {};  ///< why the answer is right
  bool difficult = false;                    ///< A-OKVQA: without an agreed direct answer
};

/// A data set's examples in the order of its files.
struct VqaDataset {
  std::string name = {};                       ///< for messages
  std::vector<VqaExample> examples = {};       ///< a "row" of the data set is an index into them
  std::vector<std::string> answer_names = {};  ///< the closed set of answers, empty where there is none
};

/// The examples whose image id is in [begin, end), in the same order: all questions of an image stay
/// together.
inline VqaDataset image_range(const VqaDataset& data, std::int64_t begin, std::int64_t end) {
  VqaDataset out{data.name, {}, data.answer_names};
  for (const VqaExample& example : data.examples)
    if (example.image_id >= begin && example.image_id < end) out.examples.push_back(example);
  return out;
}

}  // namespace morphvlm
