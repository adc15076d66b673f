// Questions of one's own: JSON lines of {"image", "question", "answer"}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/json_rows.hpp"

namespace morphvlm {

namespace detail {

inline VqaExample read_vqa_line(const Json& row, const std::filesystem::path& folder,
                                const std::string& where) {
  VqaExample e{.question = json_get<std::string>(row, "question", where),
               .answers = {json_get<std::string>(row, "answer", where)}};
  for (const auto& [key, value] : row.items()) {
    if (key == "question" || key == "answer") continue;
    if (key == "image") {
      const auto name = json_get<std::string>(row, "image", where);
      expect(!name.empty(), where,
             ": key \"image\": expected the name of a picture, found \"\" (without a "
             "picture, leave the key out)");
      e.image = folder / name;
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
  for_each_json_line(file, [&](const Json& row, std::int64_t number, const std::string& where) {
    VqaExample e = detail::read_vqa_line(row, file.parent_path(), where);
    if (e.id.empty()) e.id = std::to_string(number);
    expect(out.examples.empty() || out.examples.front().image.empty() == e.image.empty(), where,
           ": expected an image ", e.image.empty() ? "as in" : "in none, as", " the lines before");
    out.examples.push_back(std::move(e));
  });
  expect(!out.examples.empty(), file.string(), ": expected one question a line, found none");
  return out;
}

}  // namespace morphvlm
