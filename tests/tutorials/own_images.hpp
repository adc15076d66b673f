// What a reader of docs/tutorials/fine_tune.md has: a model folder, pictures, and questions about them.
#pragma once

#include <filesystem>
#include <string>

#include "morphvlm/core/json.hpp"
#include "tests/experiments/model_folder.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

/// Makes `my-model/`, `mine.jsonl` and `held_out.jsonl` with their pictures in `folder`.
inline void make_own_images(const std::filesystem::path& folder) {
  make_model_folder(folder / "my-model");
  std::filesystem::create_directories(folder / "cats");
  std::string text;
  int number = 0;
  for (const std::string picture : {"jpeg_420.jpg", "jpeg_gray.jpg", "jpeg_progressive.jpg"}) {
    const auto name = "cats/" + std::to_string(++number) + ".jpg";
    std::filesystem::copy_file(golden_path("images") / picture, folder / name);
    const std::string answer(2, "abc"[number - 1]);
    text += Json{{"image", name}, {"question", "what is it?"}, {"answer", answer}}.dump() + "\n";
  }
  put(folder / "mine.jsonl", text);
  put(folder / "held_out.jsonl", text);
}

}  // namespace morphvlm::testing
