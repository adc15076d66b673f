// The data that `train` teaches a model: texts with what is learned in them, each with its picture or none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/programs/bad_rows.hpp"
#include "experiments/programs/special_words.hpp"
#include "morphvlm/core/field_notes.hpp"
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
  std::string special_tokens = "error";  ///< or text: special tokens' spelling in questions and answers
};

/// One text to learn from.
struct TrainRow {
  std::string id = {};
  std::filesystem::path image = {};  ///< empty: none; all rows have one or none has
  LabelledIds text = {};
};

/// Reads and tokenizes the data; rows that cannot be used go to `bad`. Errors name the file that is missing
/// or wrong, missing pictures, a task that is not known, a text whose answer was cut off whole.
std::vector<TrainRow> read_train_rows(const TrainDataConfig& config, const Tokenizer& tokenizer,
                                      BadRows& bad);
/// The same; the first bad row is an Error.
std::vector<TrainRow> read_train_rows(const TrainDataConfig& config, const Tokenizer& tokenizer);

}  // namespace morphvlm::experiments

namespace morphvlm {
/// Their help and ranges.
template <>
inline constexpr auto field_notes<experiments::TrainDataConfig> =
    std::to_array<FieldNote>({{"task", "lines, vqav2, aokvqa, coco, pubmedqa or pubmedqa-long"},
                              {"data", "a file of lines, or a data set's folder"},
                              {"prompt", "of questions about pictures"},
                              {"max_tokens", "of a text; longer ones are cut", at_least(2)},
                              experiments::kSpecialTokensNote});
}  // namespace morphvlm
