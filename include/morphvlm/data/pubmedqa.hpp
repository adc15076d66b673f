// PubMedQA (Jin et al. 2019) in its official files: ori_pqal.json, test_ground_truth.json.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"

namespace morphvlm {

/// What a decision may be.
inline constexpr std::array<std::string_view, 3> kPubMedDecisions{"yes", "no", "maybe"};

/// A question that an abstract asks, the abstract without its conclusion, and the conclusion.
struct PubMedQaExample {
  std::string id = {};                     ///< PMID
  std::string question = {};               ///< QUESTION
  std::vector<std::string> contexts = {};  ///< CONTEXTS: the abstract's parts but for the conclusion
  std::vector<std::string> labels = {};    ///< LABELS of the contexts: BACKGROUND, METHODS, ...
  std::vector<std::string> meshes = {};    ///< MESHES: the article's MeSH descriptors
  std::string long_answer = {};            ///< LONG_ANSWER: the conclusion
  std::string decision = {};  ///< final_decision, of kPubMedDecisions; empty where nobody decided
};

namespace detail {

inline void expect_decision(const std::string& decision, const std::string& where) {
  expect(std::ranges::find(kPubMedDecisions, decision) != kPubMedDecisions.end(), where,
         ": expected yes, no or maybe, found \"", decision, '"');
}

inline PubMedQaExample read_pubmedqa_row(const std::string& id, const Json& row, const std::string& where) {
  PubMedQaExample e{.id = id,
                    .question = json_get<std::string>(row, "QUESTION", where),
                    .contexts = json_get<std::vector<std::string>>(row, "CONTEXTS", where),
                    .labels = json_get<std::vector<std::string>>(row, "LABELS", where),
                    .meshes = json_get<std::vector<std::string>>(row, "MESHES", where),
                    .long_answer = json_get<std::string>(row, "LONG_ANSWER", where)};
  if (row.contains("final_decision")) {
    e.decision = json_get<std::string>(row, "final_decision", where);
    expect_decision(e.decision, where + ": final_decision");
  }
  return e;
}

}  // namespace detail

/// Reads ori_pqal.json (1,000 questions, labelled), ori_pqau.json or ori_pqaa.json. Either all rows have a
/// decision or none has. Errors name file, PMID and key.
inline std::vector<PubMedQaExample> read_pubmedqa(const std::filesystem::path& file) {
  const Json rows = read_json(file);
  expect(rows.is_object() && !rows.empty(), file.string(), ": expected an object of questions by PMID");
  std::vector<PubMedQaExample> out;
  for (const auto& [id, row] : rows.items())
    out.push_back(detail::read_pubmedqa_row(id, row, file.string() + ": " + id));
  for (const auto& example : out)
    expect(example.decision.empty() == out.front().decision.empty(), file.string(), ": ", example.id,
           ": expected a final_decision in every row or in none, found ",
           example.decision.empty() ? "none here and one in row " : "one here and none in row ",
           out.front().id);
  return out;
}

/// Error that names the first example without a decision, for what asks or learns decisions. `where` leads
/// it.
inline void expect_decisions(const std::vector<PubMedQaExample>& examples, std::string_view where) {
  for (const auto& example : examples)
    expect(!example.decision.empty(), where, ": ", example.id,
           ": expected a final_decision of yes, no or maybe, found none (unlabelled questions cannot be "
           "scored)");
}

/// Reads test_ground_truth.json, or predictions of the same form: decisions by PMID.
inline std::map<std::string, std::string> read_pubmedqa_decisions(const std::filesystem::path& file) {
  const Json rows = read_json(file);
  expect(rows.is_object() && !rows.empty(), file.string(), ": expected an object of decisions by PMID");
  std::map<std::string, std::string> out;
  for (const auto& [id, row] : rows.items()) {
    expect(row.is_string(), file.string(), ": ", id, ": expected a decision, found ", row.dump());
    out[id] = row.get<std::string>();
    detail::expect_decision(out[id], file.string() + ": " + id);
  }
  return out;
}

/// The examples whose id is among the truth's, in their order: the official test split. Error: an id that is
/// missing.
inline std::vector<PubMedQaExample> select_examples(const std::vector<PubMedQaExample>& all,
                                                    const std::map<std::string, std::string>& truth) {
  std::vector<PubMedQaExample> out;
  for (const auto& example : all)
    if (truth.contains(example.id)) out.push_back(example);
  expect(out.size() == truth.size(), "PubMedQA: ", truth.size() - out.size(), " of ", truth.size(),
         " questions of the split are not in the data");
  return out;
}

}  // namespace morphvlm
