// Asks a trained model about a picture: answer --model RUN_DIR --image FILE --question TEXT
#include <iostream>
#include <span>

#include "experiments/aokvqa_finetune.hpp"
#include "morphvlm/core/config.hpp"

namespace {

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path image;
  std::string question;
  std::filesystem::path data;  // where the language model's file is, if not where the run found it
};

// Flags may be written `--name value` as well as `--name=value`.
std::vector<std::string> joined(std::span<char*> words) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    if (word.starts_with("--") && word.find('=') == std::string::npos && i + 1 < words.size()) {
      word += std::string("=") + words[++i];
    }
    out.push_back(word);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  const auto words = joined(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
  std::vector<const char*> flags;
  for (const auto& word : words) flags.push_back(word.c_str());
  const auto rest = morphvlm::apply_flags(arguments, flags);
  if (!rest.empty() || arguments.model.empty() || arguments.image.empty() || arguments.question.empty()) {
    std::cerr << "usage: answer --model RUN_DIR --image FILE --question TEXT [--data FOLDER]\n";
    return 2;
  }
  const auto image = morphvlm::read_image(arguments.image);
  const auto ask = morphvlm::experiments::open_run(arguments.model, arguments.data);
  std::cout << ask(image, arguments.question) << '\n';
  return 0;
} catch (const std::exception& e) {
  std::cerr << "answer: " << e.what() << '\n';
  return 1;
}
