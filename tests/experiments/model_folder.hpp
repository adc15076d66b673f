// A small model folder with a tokenizer of single characters, for tests of the programs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

/// 59 tokens: a few characters alone.
inline std::string small_vocabulary() {
  const std::string characters = "abcdefghijklmnopqrstuvwxyz0123456789QSAI:?.,-";
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>", "Ġ", "Ċ"};
  for (const char c : characters) tokens.emplace_back(1, c);
  for (int i = 0; tokens.size() < 59; ++i) tokens.push_back("#" + std::to_string(i));
  Json vocab = Json::object();
  for (std::size_t i = 0; i < tokens.size(); ++i) vocab[tokens[i]] = i;
  return vocab.dump();
}

/// Makes the folder.
inline void make_model_folder(const std::filesystem::path& model) {
  std::filesystem::copy(golden_path("model_dir"), model, std::filesystem::copy_options::recursive);
  put(model / "language/vocab.json", small_vocabulary());
  put(model / "language/merges.txt", "#version: 0.2\n");
  put(model / "language/tokenizer_config.json",
      R"({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"})");
}

}  // namespace morphvlm::testing
