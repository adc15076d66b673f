// The data sets that `evaluate` asks a model about: what is asked, and how answers are scored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/programs/special_words.hpp"
#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/text/tokenizer.hpp"

namespace morphvlm::experiments {

/// What is asked. Official file names are looked for in `data` (docs/evaluate.md).
struct TaskConfig {
  std::string task;            ///< lines, vqav2, aokvqa-mc, aokvqa-da, pubmedqa, vl-stereoset
  std::filesystem::path data;  ///< the data set's folder
  std::int64_t limit = 0;      ///< questions asked, drawn by the seed; 0: all
  std::int64_t shots = 0;      ///< demonstrations with images; 0: two without (OpenFlamingo); -1: none
  std::int64_t seed = 42;
  std::int64_t max_tokens = 512;         ///< of a PubMedQA prompt; longer contexts are cut
  std::string special_tokens = "error";  ///< or text: special tokens' spelling in questions and answers
  bool skip_bad_rows = false;            ///< what is wrong with an item is left to who asks it
};

/// The notes of what a task and its program have in common.
namespace notes {
inline constexpr FieldNote task{"task", "lines, vqav2, aokvqa-mc, aokvqa-da, pubmedqa, vl-stereoset"},
    data{"data", "the data set's folder, or the file of lines"},
    limit{"limit", "questions asked, drawn by the seed; 0: all", at_least(0)},
    shots{"shots", "demonstrations; 0: two without their pictures; -1: none", at_least(-1)},
    seed{"seed", "of the questions and demonstrations drawn", from_to(0, 4294967295.0)},
    max_tokens{"max_tokens", "of a PubMedQA prompt; longer contexts are cut", at_least(1)},
    skip_bad_rows{"skip_bad_rows",
                  "leave out and count questions that cannot be asked (a picture that cannot be read, a text "
                  "that is too long) instead of ending at the first"};
}  // namespace notes

/// One question to a model.
struct TaskItem {
  std::string id = {};
  std::string prompt = {};
  std::vector<std::filesystem::path> images = {};  ///< as many for every question of a task
  std::vector<std::string> choices = {};  ///< what the prompt may go on with; empty: the model writes
  std::string wrong = {};                 ///< why it cannot be asked; empty: it can
};

/// Answers to some of a task's items: what was written, or the choice.
struct Answers {
  std::vector<std::size_t> rows = {};   ///< the items, in their order
  std::vector<std::string> texts = {};  ///< an answer to each
};

/// A data set's questions and its score.
struct Task {
  std::string name = {};
  std::vector<TaskItem> items = {};
  /// Answers -> scores by name.
  std::function<Json(const Answers&)> score = {};
  /// The answers' own scores, 0 to 1; empty where a single answer has none.
  std::function<std::vector<double>(const Answers&)> each = {};
};

/// Reads a data set and makes its prompts. Errors name the file that is missing or wrong, images that are
/// missing (how many, and the first few), and a task that is not known.
Task make_task(const TaskConfig& config, const Tokenizer& tokenizer);

}  // namespace morphvlm::experiments

namespace morphvlm {
/// Their help and ranges.
template <>
inline constexpr auto field_notes<experiments::TaskConfig> = std::to_array<FieldNote>(
    {experiments::notes::task, experiments::notes::data, experiments::notes::limit, experiments::notes::shots,
     experiments::notes::seed, experiments::notes::max_tokens, experiments::kSpecialTokensNote,
     experiments::notes::skip_bad_rows});
}  // namespace morphvlm
