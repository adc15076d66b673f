// PubMedQA's scores. Reference: pubmedqa/evaluation.py, which uses scikit-learn's.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Shares in [0, 1].
struct PubMedQaScore {
  double accuracy = 0;  ///< of the questions, those decided as the truth says
  double macro_f1 = 0;  ///< mean over the classes that truth or predictions have
};

/// Scores predictions against the truth, both by PMID. Error: an id that only one of them has, as in the
/// official evaluation.
inline PubMedQaScore pubmedqa_score(const std::map<std::string, std::string>& truth,
                                    const std::map<std::string, std::string>& predictions) {
  std::string missing, extra;
  for (const auto& [id, decision] : truth)
    if (!predictions.contains(id)) missing += ' ' + id;
  for (const auto& [id, decision] : predictions)
    if (!truth.contains(id)) extra += ' ' + id;
  expect(missing.empty() && extra.empty(),
         "PubMedQA: predict all and only the questions of the split; missing:",
         missing.empty() ? " none" : missing, "; not in the split:", extra.empty() ? " none" : extra);
  expect(!truth.empty(), "PubMedQA: no question to score");
  struct Counts {
    std::int64_t right = 0, said = 0, true_ones = 0;
  };
  std::map<std::string, Counts> classes;
  std::int64_t right = 0;
  for (const auto& [id, decision] : truth) {
    const auto& said = predictions.at(id);
    ++classes[decision].true_ones;
    ++classes[said].said;
    if (said == decision) ++classes[said].right, ++right;
  }
  PubMedQaScore score{.accuracy = static_cast<double>(right) / static_cast<double>(truth.size())};
  // 2 right / (said + true) is the harmonic mean of precision and recall, 0 where both are.
  for (const auto& [name, c] : classes)
    score.macro_f1 += 2 * static_cast<double>(c.right) / static_cast<double>(c.said + c.true_ones);
  score.macro_f1 /= static_cast<double>(classes.size());
  return score;
}

}  // namespace morphvlm
