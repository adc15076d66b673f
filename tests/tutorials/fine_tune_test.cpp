// docs/tutorials/fine_tune.md shows pieces of this file.
#include <gtest/gtest.h>

#include <iostream>

#include <morphvlm/morphvlm.hpp>

#include "tests/tutorials/own_images.hpp"

using namespace morphvlm;

namespace {

using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

// What the pictures and questions of a file are to a model.
struct Lessons {
  Tensor latents = {};
  Batch batch = {};
};

Lessons read_lessons(const Model& model, const std::filesystem::path& folder,
                     const std::filesystem::path& lines) {
  Tokenizer tokenizer = load_tokenizer(folder / "language");
  add_media_tokens(tokenizer);
  const auto preprocess = read_preprocess(folder / "vision", {.size = model.config.vision.image_size});
  std::vector<Tensor> pixels;
  std::vector<LabelledIds> rows;
  for (const VqaExample& e : read_vqa_lines(lines).examples) {
    pixels.push_back(clip_pixels(read_image(e.image), preprocess));
    const FilledPrompt filled = fill_prompt(kVqaPrompt, e.question, e.answers.front());
    LabelledIds row{.ids = encode_sequence(tokenizer, filled.query)};
    row.labels.assign(row.ids.size(), kIgnoredLabel);  // the question is read, not learned
    for (const auto id : encode(tokenizer, filled.answer)) {
      row.ids.push_back(id);
      row.labels.push_back(id);
    }
    rows.push_back(row);
  }
  const Tensor media = at::stack(pixels).unsqueeze(1);  // one picture a question
  return {model.resample(model.encode_vision(media)), collate_labelled(rows, model.config.eoc_token_id)};
}

TEST(TutorialFineTune, InCpp) {
  const morphvlm::testing::ScratchFolder scratch;
  morphvlm::testing::make_own_images(scratch.path);
  const auto path = scratch / "my-model", lines = scratch / "mine.jsonl", adapter = scratch / "adapter";

  const ModelDirectory folder = open_model_directory(path);
  auto config = model_directory_config<Model>(folder);
  config.adapter = {.rank = 4, .alpha = 8};
  WeightSources sources;
  Model model = load_model_directory<Model>(folder, config, sources, {at::kFloat, make_generator(0)});
  std::cout << to_string(source_rows(model, sources));

  const Lessons lessons = read_lessons(model, path, lines);
  set_trainable_parts(model, {.adapters = true});
  const auto history = train(model, TrainConfig{.steps = 60, .lr = 0.02}, [&](const Model& m, std::int64_t) {
    return next_token_loss(m, m.hidden(lessons.batch.text, lessons.latents), lessons.batch.labels);
  });
  save_adapter(model, adapter);
  EXPECT_LT(history.back().loss, history.front().loss / 2);
  EXPECT_TRUE(std::filesystem::exists(adapter / "adapter.safetensors"));
}

}  // namespace
