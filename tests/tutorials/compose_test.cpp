// docs/tutorials/compose.md shows pieces of this file.
#include <gtest/gtest.h>

#include "tests/formats/files.hpp"

#include <morphvlm/morphvlm.hpp>
using namespace morphvlm;

using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

namespace {

Model::Config small_config() {
  return {.vision = {.image_size = 16,
                     .patch_size = 8,
                     .hidden_size = 24,
                     .num_hidden_layers = 1,
                     .num_attention_heads = 2,
                     .intermediate_size = 48},
          .perceiver = {.depth = 1, .heads = 2, .head_dim = 8, .latents = 4, .ff_mult = 2},
          .language = {.vocab_size = 40,
                       .hidden_size = 32,
                       .intermediate_size = 64,
                       .num_hidden_layers = 2,
                       .num_attention_heads = 4},
          .cross_attention = {.every = 2, .heads = 2, .head_dim = 8, .gate_value = 0.5},
          .adapter = {.rank = 4, .alpha = 8},
          .media_token_id = 39,
          .eoc_token_id = 38};
}

Model random_model() { return Model::init(small_config(), {at::kFloat, make_generator(1)}); }

TEST(TutorialCompose, CountsWithoutMemory) {
  const auto config = presets::flamingo<Model>(presets::open_llama_3b);
  Model shapes = Model::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  set_trainable_parts(shapes, {.adapters = true});
  EXPECT_EQ(trainable_count(shapes), 11'558'912);
  EXPECT_EQ(parameter_count(shapes), 4'322'579'596);
}

TEST(TutorialCompose, TwoStepsThenTheAdapterTravels) {
  Model model = random_model();
  const Tensor pixels = at::zeros({2, 1, 3, 16, 16});
  const std::vector<VqaTokens> rows{{.prefix = {5, 6, 7}, .rest = {39, 8}, .answer = {11, 38}},
                                    {.prefix = {5, 9}, .rest = {39, 8}, .answer = {12, 38}}};
  const Batch batch = collate(rows, 0);
  const Tensor logits = model(pixels, batch.text);
  EXPECT_EQ(logits.sizes(), (std::vector<std::int64_t>{2, batch.text.ids.size(1), 40}));

  set_trainable_parts(model, {.adapters = true});
  const Tensor latents = model.resample(model.encode_vision(pixels));
  const auto history = train(model, TrainConfig{.steps = 2, .lr = 1e-2}, [&](const Model& m, std::int64_t) {
    return next_token_loss(m, m.hidden(batch.text, latents), batch.labels);
  });
  ASSERT_EQ(history.size(), 2u);
  EXPECT_LT(history[1].loss, history[0].loss);

  const morphvlm::testing::ScratchFolder scratch;
  const auto folder = scratch / "adapter";
  save_adapter(model, folder);
  Model other = random_model();  // the same base, its adapters as they were made
  EXPECT_FALSE(other(pixels, batch.text).equal(model(pixels, batch.text)));
  load_adapter(other, folder);
  EXPECT_TRUE(other(pixels, batch.text).equal(model(pixels, batch.text)));
}

}  // namespace
