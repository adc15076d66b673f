// The data that `train` teaches a model: texts with what is learned in them, each with its picture or none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/data/instruction.hpp"
#include "morphvlm/data/prompt.hpp"
#include "morphvlm/text/tokenizer.hpp"

namespace morphvlm::experiments {

/// Which data (docs/train.md).
struct TrainDataConfig {
  std::string task = "lines";                    ///< lines, vqav2, aokvqa, coco, pubmedqa, pubmedqa-long
  std::filesystem::path data = {};               ///< a file of lines, or a data set's folder
  std::string prompt = std::string(kVqaPrompt);  ///< of questions about pictures
  std::int64_t max_tokens = 512;                 ///< of a text; longer ones are cut
};

/// One text to learn from.
struct TrainRow {
  std::string id = {};
  std::filesystem::path image = {};  ///< empty: none; all rows have one or none has
  LabelledIds text = {};
};

/// Reads and tokenizes the data. Errors name the file that is missing or wrong, missing pictures, a task that
/// is not known, a text whose answer was cut off whole.
std::vector<TrainRow> read_train_rows(const TrainDataConfig& config, const Tokenizer& tokenizer);

}  // namespace morphvlm::experiments
