// docs/tutorials/language_model.md shows pieces of this file and of language_model.hpp.
#include "tests/tutorials/language_model.hpp"

#include <ATen/ops/allclose.h>
#include <gtest/gtest.h>

#include <morphvlm/morphvlm.hpp>

namespace {

using namespace tutorial;

static_assert(LanguageModel<PocketLM>);

template <class P>
using PocketVlm = VLM<ClipViT, Perceiver, PocketLM, P>;
using Model = PocketVlm<LoRA<Attn>>;

Model::Config small_config() {
  return {.vision = {.image_size = 16,
                     .patch_size = 8,
                     .hidden_size = 24,
                     .num_hidden_layers = 1,
                     .num_attention_heads = 2,
                     .intermediate_size = 48},
          .perceiver = {.depth = 1, .heads = 2, .head_dim = 8, .latents = 4, .ff_mult = 2},
          .language = pocket_tiny,
          .cross_attention = {.every = 2, .heads = 2, .head_dim = 8, .gate_value = 0.5},
          .adapter = {.rank = 4, .alpha = 8},
          .media_token_id = 39,
          .eoc_token_id = 38};
}

Model random_model() { return Model::init(small_config(), {at::kFloat, make_generator(1)}); }

const Tensor kIds = at::tensor({5, 39, 8, 11}, at::kLong).unsqueeze(0);

TEST(TutorialLanguageModel, Size) {
  const auto module =
      PocketModule<NoAdapter>::init(pocket_tiny, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  const auto layer = 4 * 32 * 32 + 3 * 32 * 64 + 2 * 2 * 32;
  EXPECT_EQ(parameter_count(module), 40 * 32 + 64 * 32 + 2 * layer + 2 * 32);
}

TEST(TutorialLanguageModel, CacheGivesWhatThePlainPassGives) {
  const Model model = random_model();
  const Tensor latents = model.resample(model.encode_vision(at::ones({1, 1, 3, 16, 16})));
  const Tensor whole = model.hidden({.ids = kIds}, latents);
  VlmCache cache;
  const Tensor first = model.hidden({.ids = kIds.slice(1, 0, 3)}, latents, &cache);
  const Tensor last = model.hidden({.ids = kIds.slice(1, 3)}, {}, &cache);
  EXPECT_TRUE(at::allclose(at::cat({first, last}, 1), whole, 1e-5, 1e-5));
}

TEST(TutorialLanguageModel, PaddingOnTheLeftChangesNothing) {
  const Model model = random_model();
  const Tensor latents = model.resample(model.encode_vision(at::ones({1, 1, 3, 16, 16})));
  const Tensor padded = at::cat({at::zeros({1, 2}, at::kLong), kIds}, 1);
  const Tensor mask = at::cat({at::zeros({1, 2}, at::kLong), at::ones({1, 4}, at::kLong)}, 1);
  const Tensor plain = model.hidden({.ids = kIds}, latents);
  const Tensor shifted = model.hidden({.ids = padded, .attention_mask = mask}, latents);
  EXPECT_TRUE(at::allclose(shifted.slice(1, 2), plain, 1e-5, 1e-5));
}

TEST(TutorialLanguageModel, AdaptersLearnAnAnswerAndItWritesIt) {
  Model model = random_model();
  set_trainable_parts(model, {.adapters = true});
  const Tensor latents = model.resample(model.encode_vision(at::ones({1, 1, 3, 16, 16})));
  const std::vector<VqaTokens> rows{{.prefix = {5}, .rest = {39, 8}, .answer = {11, 38}}};
  const Batch batch = collate(rows, 0);
  const TextInput question{.ids = at::tensor({5, 39, 8}, at::kLong).unsqueeze(0)};
  const auto answer = [&] { return generate(model, question, latents, {.max_new_tokens = 2}).ids; };
  const Tensor expected = at::tensor({11, 38}, at::kLong).unsqueeze(0);
  EXPECT_FALSE(answer().equal(expected)) << "there is nothing to learn";
  StateDict before;
  for (const auto& [name, t] : state_dict(model)) before.emplace_back(name, t.clone());
  const auto history = train(model, TrainConfig{.steps = 120, .lr = 2e-2}, [&](const Model& m, std::int64_t) {
    return next_token_loss(m, m.hidden(batch.text, latents), batch.labels);
  });
  EXPECT_LT(history.back().loss, history.front().loss);
  EXPECT_TRUE(answer().equal(expected));
  const StateDict after = state_dict(model);
  for (std::size_t i = 0; i < after.size(); ++i)
    EXPECT_EQ(after[i].second.equal(before[i].second), !matches(after[i].first, kAdapterParameters))
        << after[i].first;
}

}  // namespace
