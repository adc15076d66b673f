// Asks a trained model about a picture: answer --model RUN_DIR --image FILE --question TEXT
#include <iostream>

#include "experiments/mini/aokvqa_finetune.hpp"
#include "experiments/programs/program.hpp"

namespace {

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path image;
  std::string question;
  std::filesystem::path data;  // where the language model's file is, if not where the run found it
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> =
    std::to_array<FieldNote>({{"model", "the folder of the row's run"},
                              {"image", "a PNG or JPEG file"},
                              {"question", "what is asked about it"},
                              {"data", "where the language model's file is, if not where the run found it"}});

int main(int argc, char** argv) {
  using namespace morphvlm;
  return experiments::program<Arguments>(
      {.name = "answer",
       .purpose = "Asks a model that a row of the paper has trained about a picture.",
       .required = {"model", "image", "question"}},
      argc, argv, [](const Arguments& arguments) {
        const auto image = read_image(arguments.image);
        const auto ask = experiments::open_run(arguments.model, arguments.data);
        std::cout << ask(image, arguments.question) << '\n';
      });
}
