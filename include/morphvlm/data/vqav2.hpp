// VQAv2 (Goyal et al. 2017) in its official files: questions, annotations with ten answers each, COCO's
// pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/data/coco_folder.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/json_rows.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm {

/// The three places of a split. Without annotations (the test splits) there are no answers.
struct VqaV2Files {
  std::filesystem::path questions = {};    ///< v2_OpenEnded_mscoco_val2014_questions.json
  std::filesystem::path annotations = {};  ///< v2_mscoco_val2014_annotations.json, or empty
  std::filesystem::path images = {};       ///< val2014
};

namespace detail {

/// The text of a file as it is mapped.
inline std::string_view text_of(const MappedFile& file) {
  return as_text({reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()}, file.path.string());
}

/// Answers of an annotation and its question's kind, into `example`.
inline void read_vqav2_annotation(const Json& row, VqaExample& example, const std::string& where) {
  expect(row.contains("answers") && row.at("answers").is_array(), where, ": expected a list \"answers\"");
  expect(!row.at("answers").empty(), where, ": no answer");
  for (const auto& answer : row.at("answers"))
    example.answers.push_back(json_get<std::string>(answer, "answer", where));
  if (row.contains("answer_type")) example.kind = json_get<std::string>(row, "answer_type", where);
  if (row.contains("image_id"))
    expect(json_get<std::int64_t>(row, "image_id", where) == example.image_id, where, ": image_id ",
           row.at("image_id").dump(), ", but the question ", example.id, " is about image ",
           example.image_id);
}

/// Ids for a message, so many that it stays readable.
struct IdList {
  std::string ids = {};
  std::int64_t count = 0;

  void add(const std::string& id) {
    if (++count <= 10) ids += ' ' + id;
    if (count == 11) ids += " ...";
  }
};

inline std::unordered_map<std::int64_t, std::size_t> read_vqav2_questions(const VqaV2Files& files,
                                                                          VqaDataset& out) {
  std::unordered_map<std::int64_t, std::size_t> row_of;
  const MappedFile file(files.questions);
  for_each_json_row(
      text_of(file), "questions", files.questions.string(),
      [&](const Json& row, std::size_t index, const std::string& at) {
        const auto image = json_get<std::int64_t>(row, "image_id", at),
                   id = json_get<std::int64_t>(row, "question_id", at);
        expect(row_of.emplace(id, index).second, at, ": question_id ", id, " stands there twice");
        out.examples.push_back({.image = coco_image(files.images, image, CocoNaming::with_split),
                                .question = json_get<std::string>(row, "question", at),
                                .image_id = image,
                                .id = std::to_string(id)});
      });
  expect(!out.examples.empty(), files.questions.string(), ": no question");
  return row_of;
}

}  // namespace detail

/// Reads one split, in the order of its questions. A missing or mistyped key is an Error naming file, row
/// (from 0) and key; so are questions without annotation and annotations without question, which are counted
/// and listed, and annotations of another image than their question's. Images are not opened.
inline VqaDataset read_vqav2(const VqaV2Files& files) {
  VqaDataset out{"VQAv2", {}, {}};
  const auto row_of = detail::read_vqav2_questions(files, out);
  if (files.annotations.empty()) return out;

  const std::string where = files.annotations.string();
  const MappedFile file(files.annotations);
  detail::IdList unknown, missing;
  for_each_json_row(detail::text_of(file), "annotations", where,
                    [&](const Json& row, std::size_t, const std::string& at) {
                      const auto id = json_get<std::int64_t>(row, "question_id", at);
                      const auto it = row_of.find(id);
                      if (it == row_of.end()) return unknown.add(std::to_string(id));
                      VqaExample& example = out.examples[it->second];
                      expect(example.answers.empty(), at, ": question_id ", id, " is annotated twice");
                      detail::read_vqav2_annotation(row, example, at);
                    });
  expect(unknown.count == 0, where, ": ", unknown.count, " annotations of questions that ",
         files.questions.string(), " does not have:", unknown.ids);
  for (const auto& example : out.examples)
    if (example.answers.empty()) missing.add(example.id);
  expect(missing.count == 0, where, ": no annotation of ", missing.count, " questions:", missing.ids);
  return out;
}

}  // namespace morphvlm
