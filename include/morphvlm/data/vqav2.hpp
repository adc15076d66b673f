// VQAv2 (Goyal et al. 2017) in its official files: questions, annotations with ten answers each, COCO's
// pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/data/coco_folder.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

/// The three places of a split. Without annotations (the test splits) there are no answers.
struct VqaV2Files {
  std::filesystem::path questions = {};    ///< v2_OpenEnded_mscoco_val2014_questions.json
  std::filesystem::path annotations = {};  ///< v2_mscoco_val2014_annotations.json, or empty
  std::filesystem::path images = {};       ///< val2014
};

namespace detail {

inline const Json& json_list(const Json& file, const char* key, const std::string& where) {
  expect(file.is_object() && file.contains(key) && file.at(key).is_array(), where,
         ": expected an object with a list \"", key, '"');
  return file.at(key);
}

/// Answers of an annotation and its question's kind, into `example`.
inline void read_vqav2_annotation(const Json& row, VqaExample& example, const std::string& where) {
  const Json& answers = json_list(row, "answers", where);
  expect(!answers.empty(), where, ": no answer");
  for (const auto& answer : answers)
    example.answers.push_back(json_get<std::string>(answer, "answer", where));
  if (row.contains("answer_type")) example.kind = json_get<std::string>(row, "answer_type", where);
}

}  // namespace detail

/// Reads one split, in the order of its questions. A missing or mistyped key is an Error naming file, row
/// (from 0) and key; so are questions without annotation and annotations without question, which are listed.
/// Images are not opened.
inline VqaDataset read_vqav2(const VqaV2Files& files) {
  const std::string where = files.questions.string();
  VqaDataset out{"VQAv2", {}, {}};
  std::unordered_map<std::int64_t, std::size_t> row_of;
  const Json questions = read_json(files.questions);
  for (const auto& row : detail::json_list(questions, "questions", where)) {
    const std::string at = where + ": row " + std::to_string(out.examples.size());
    const auto image = json_get<std::int64_t>(row, "image_id", at),
               id = json_get<std::int64_t>(row, "question_id", at);
    expect(row_of.emplace(id, out.examples.size()).second, at, ": question_id ", id, " stands there twice");
    out.examples.push_back({.image = coco_image(files.images, image, CocoNaming::with_split),
                            .question = json_get<std::string>(row, "question", at),
                            .image_id = image,
                            .id = std::to_string(id)});
  }
  expect(!out.examples.empty(), where, ": no question");
  if (files.annotations.empty()) return out;

  const std::string notes = files.annotations.string();
  const Json annotations = read_json(files.annotations);
  std::string unknown;
  std::size_t index = 0;
  for (const auto& row : detail::json_list(annotations, "annotations", notes)) {
    const std::string at = notes + ": row " + std::to_string(index++);
    const auto id = json_get<std::int64_t>(row, "question_id", at);
    const auto it = row_of.find(id);
    if (it == row_of.end()) {
      if (unknown.size() < 200) unknown += ' ' + std::to_string(id);
      continue;
    }
    VqaExample& example = out.examples[it->second];
    expect(example.answers.empty(), at, ": question_id ", id, " is annotated twice");
    detail::read_vqav2_annotation(row, example, at);
  }
  expect(unknown.empty(), notes, ": annotations of questions that ", where, " does not have:", unknown);
  std::string missing;
  for (const auto& example : out.examples)
    if (example.answers.empty() && missing.size() < 200) missing += ' ' + example.id;
  expect(missing.empty(), notes, ": no annotation of the questions", missing);
  return out;
}

}  // namespace morphvlm
