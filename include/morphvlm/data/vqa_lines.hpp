// Questions of one's own: JSON lines of {"image", "question", "answer"}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

namespace detail {

inline VqaExample read_vqa_line(const Json& row, const std::filesystem::path& folder,
                                const std::string& where) {
  expect(row.is_object(), where, ": expected an object, found ", row.dump());
  VqaExample e{.question = json_get<std::string>(row, "question", where),
               .answers = {json_get<std::string>(row, "answer", where)}};
  for (const auto& [key, value] : row.items()) {
    if (key == "question" || key == "answer") continue;
    if (key == "image") {
      e.image = folder / json_get<std::string>(row, "image", where);
    } else if (key == "id") {
      e.id = value.is_string() ? value.get<std::string>() : value.dump();
    } else {
      fail(where, ": unknown key \"", key, "\"; expected image, question, answer and, if you like, id");
    }
  }
  return e;
}

}  // namespace detail

/// Reads one question a line: {"image": "cats/1.jpg", "question": "What is it?", "answer": "a cat"}. Image
/// paths count from the file's folder; either all lines have an image or none has. A line may have an "id";
/// else its number is one. Empty lines are passed over. Errors name file, line and key.
inline VqaDataset read_vqa_lines(const std::filesystem::path& file) {
  VqaDataset out{file.filename().string(), {}, {}};
  std::istringstream lines(read_text_file(file));
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = file.string() + ": line " + std::to_string(++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    VqaExample e = detail::read_vqa_line(parse_json(line, where), file.parent_path(), where);
    if (e.id.empty()) e.id = std::to_string(number);
    expect(out.examples.empty() || out.examples.front().image.empty() == e.image.empty(), where,
           ": expected an image ", e.image.empty() ? "as in" : "in none, as", " the lines before");
    out.examples.push_back(std::move(e));
  }
  expect(!out.examples.empty(), file.string(), ": expected one question a line, found none");
  return out;
}

}  // namespace morphvlm
