// easy-VQA: synthetic shapes with questions whose answers are one of 13. Folder (the `data` folder of the
// easy-vqa package): answers.txt, {train,test}/questions.json = [[question, answer, image id], …],
// {train,test}/images/<image id>.png.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

namespace detail {

inline std::vector<std::string> read_answer_names(const std::filesystem::path& path) {
  std::vector<std::string> names;
  for (std::string& line : split_lines(read_text_file(path)))
    if (!line.empty()) names.push_back(std::move(line));
  expect(!names.empty(), path.string(), ": expected one answer a line, found none");
  return names;
}

/// One row of questions.json, checked but for its image; `where` names file and row.
inline VqaExample read_easy_vqa_row(const Json& row, const std::vector<std::string>& answers,
                                    const std::string& where) {
  const bool shape = row.is_array() && row.size() == 3 && row[0].is_string() && row[1].is_string() &&
                     row[2].is_number_integer();
  expect(shape, where, ": expected [question, answer, image id], found ", row.dump());
  auto answer = row[1].get<std::string>();
  expect(std::ranges::find(answers, answer) != answers.end(), where, ": the answer \"", answer,
         "\" is not in answers.txt");
  const auto image_id = row[2].get<std::int64_t>();
  expect(image_id >= 0, where, ": image id ", image_id, " is negative");
  const char* kind = answer == "yes" || answer == "no" ? "yes/no" : "open";
  return {{}, row[0].get<std::string>(), {std::move(answer)}, image_id, kind};
}

}  // namespace detail

/// Reads one split from `root`. A row of another form, an unknown answer or an image that is not there is an
/// error naming file and row (from 0). Images are not decoded here.
inline VqaDataset read_easy_vqa(const std::filesystem::path& root, Split split) {
  const std::filesystem::path folder = root / (split == Split::train ? "train" : "test");
  const std::filesystem::path questions = folder / "questions.json";
  VqaDataset out{"easy-vqa", {}, detail::read_answer_names(root / "answers.txt")};
  const Json rows = read_json(questions);
  expect(rows.is_array() && !rows.empty(), questions.string(),
         ": expected a list of questions that is not empty");
  std::unordered_set<std::int64_t> found;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string where = questions.string() + ": row " + std::to_string(i);
    VqaExample example = detail::read_easy_vqa_row(rows[i], out.answer_names, where);
    example.image = folder / "images" / (std::to_string(example.image_id) + ".png");
    if (found.insert(example.image_id).second)
      expect(std::filesystem::is_regular_file(example.image), where, ": the image ", example.image.string(),
             " is missing");
    out.examples.push_back(std::move(example));
  }
  return out;
}

}  // namespace morphvlm
