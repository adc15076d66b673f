// Asks a trained model about a picture: answer --model RUN_DIR --image FILE --question TEXT
#include <iostream>

#include "experiments/aokvqa_finetune.hpp"
#include "experiments/arguments.hpp"

namespace {

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path image;
  std::string question;
  std::filesystem::path data;  // where the language model's file is, if not where the run found it
};

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  const auto rest = morphvlm::experiments::read_arguments(arguments, argc, argv);
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
