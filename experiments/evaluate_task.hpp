// The data sets that `evaluate` asks a model about: what is asked, and how answers are scored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

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
  std::int64_t max_tokens = 512;  ///< of a PubMedQA prompt; longer contexts are cut
};

/// One question to a model.
struct TaskItem {
  std::string id = {};
  std::string prompt = {};
  std::vector<std::filesystem::path> images = {};  ///< as many for every question of a task
  std::vector<std::string> choices = {};  ///< what the prompt may go on with; empty: the model writes
};

/// A data set's questions and its score.
struct Task {
  std::string name = {};
  std::vector<TaskItem> items = {};
  /// Answers in the order of the items: what was written, or the choice -> scores by name.
  std::function<Json(const std::vector<std::string>&)> score = {};
  /// The same answers' own scores, 0 to 1; empty where a single answer has none.
  std::function<std::vector<double>(const std::vector<std::string>&)> each = {};
};

/// Reads a data set and makes its prompts. Errors name the file that is missing or wrong, images that are
/// missing (how many, and the first few), and a task that is not known.
Task make_task(const TaskConfig& config, const Tokenizer& tokenizer);

}  // namespace morphvlm::experiments
