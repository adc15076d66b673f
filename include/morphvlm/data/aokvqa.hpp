// A-OKVQA (Schwenk et al. 2022) in its official files, aokvqa_v1p0_{train,val,test}.json, with COCO 2017's
// pictures.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/data/coco_folder.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

namespace detail {

inline VqaExample read_aokvqa_row(const Json& row, const std::filesystem::path& images,
                                  const std::string& where) {
  VqaExample e{.question = json_get<std::string>(row, "question", where),
               .image_id = json_get<std::int64_t>(row, "image_id", where),
               .id = json_get<std::string>(row, "question_id", where),
               .choices = json_get<std::vector<std::string>>(row, "choices", where)};
  e.image = coco_image(images, e.image_id, CocoNaming::plain);
  expect(!e.choices.empty(), where, ": no choices");
  if (!row.contains("correct_choice_idx")) return e;  // the test split keeps its answers
  e.correct_choice = json_get<std::int64_t>(row, "correct_choice_idx", where);
  expect(e.correct_choice >= 0 && e.correct_choice < std::ssize(e.choices), where, ": correct_choice_idx ",
         e.correct_choice, " is no index of ", e.choices.size(), " choices");
  e.answers = json_get<std::vector<std::string>>(row, "direct_answers", where);
  e.rationales = json_get<std::vector<std::string>>(row, "rationales", where);
  e.difficult = json_get<bool>(row, "difficult_direct_answer", where);
  return e;
}

}  // namespace detail

/// Reads a split. `images` is the folder of its pictures ("val2017"). Either all rows tell their answers or
/// none does. Errors name file, row (from 0) and key.
inline VqaDataset read_aokvqa(const std::filesystem::path& file, const std::filesystem::path& images) {
  const Json rows = read_json(file);
  expect(rows.is_array() && !rows.empty(), file.string(), ": expected a list of questions that is not empty");
  VqaDataset out{"A-OKVQA", {}, {}};
  std::set<std::string> ids;
  for (const auto& row : rows) {
    const std::string where = file.string() + ": row " + std::to_string(out.examples.size());
    out.examples.push_back(detail::read_aokvqa_row(row, images, where));
    expect(ids.insert(out.examples.back().id).second, where, ": question_id \"", out.examples.back().id,
           "\" stands there twice");
    const bool told = out.examples.back().correct_choice >= 0,
               first = out.examples.front().correct_choice >= 0;
    expect(told == first, where, ": expected a correct_choice_idx in every row or in none, found ",
           told ? "one here and none in row 0" : "none here and one in row 0");
  }
  return out;
}

}  // namespace morphvlm
