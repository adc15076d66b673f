// A-OKVQA's two scores. Reference: allenai/aokvqa, evaluation/eval_predictions.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

/// Multiple choice: 1 if the prediction is the correct choice, letter by letter.
inline double aokvqa_multiple_choice(const std::string& prediction, const VqaExample& example) {
  expect(example.correct_choice >= 0, "A-OKVQA: question \"", example.id, "\" does not tell its answer");
  return prediction == example.choices.at(static_cast<std::size_t>(example.correct_choice)) ? 1.0 : 0.0;
}

/// Direct answer: min(1, annotators who said exactly this / 3).
inline double aokvqa_direct_answer(const std::string& prediction, const VqaExample& example) {
  const auto matches = std::ranges::count(example.answers, prediction);
  return std::min(1.0, static_cast<double>(matches) / 3.0);
}

/// Which of the two scores, and what is asked of the predictions.
struct AokvqaScoreConfig {
  bool multiple_choice = true;  ///< false: direct answers
  /// Direct answers: questions without an agreed one do not count (the official code since 2022; before, they
  /// did).
  bool drop_difficult = true;
  /// An Error for a question without prediction, or a choice that is none; else these score 0.
  bool strict = true;
};

/// Mean score in [0, 1] over a data set, predictions by question id.
inline double aokvqa_score(const VqaDataset& data, const std::map<std::string, std::string>& predictions,
                           const AokvqaScoreConfig& c = {}) {
  double sum = 0;
  std::int64_t count = 0;
  for (const auto& example : data.examples) {
    if (!c.multiple_choice && c.drop_difficult && example.difficult) continue;
    ++count;
    const auto it = predictions.find(example.id);
    expect(it != predictions.end() || !c.strict, "A-OKVQA: question \"", example.id, "\" has no prediction");
    if (it == predictions.end()) continue;
    const bool is_choice = std::ranges::find(example.choices, it->second) != example.choices.end();
    expect(is_choice || !c.strict || !c.multiple_choice, "A-OKVQA: question \"", example.id, "\": \"",
           it->second, "\" is none of its choices");
    sum += c.multiple_choice ? aokvqa_multiple_choice(it->second, example)
                             : aokvqa_direct_answer(it->second, example);
  }
  expect(count > 0, "A-OKVQA: no question to score");
  return sum / static_cast<double>(count);
}

}  // namespace morphvlm
