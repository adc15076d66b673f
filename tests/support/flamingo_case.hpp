// A whole Flamingo of tests/golden (flamingo*.safetensors): weights by the formula, outputs of open_flamingo.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>

#include "morphvlm/adapt.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

/// The adapter's config goes where the model has one.
template <class Model>
typename Model::Config flamingo_config(const Json& meta) {
  typename Model::Config c;
  const auto& vision = meta.at("vision");
  c.vision = {.image_size = vision.at("image_size"),
              .patch_size = vision.at("patch_size"),
              .hidden_size = vision.at("width"),
              .num_hidden_layers = vision.at("layers"),
              .num_attention_heads = vision.at("heads"),
              .intermediate_size = vision.at("width").get<std::int64_t>() * 4,
              .projection_dim = vision.at("output_dim")};
  update_from_json(c.language, meta.at("language"), "language");
  c.cross_attention.every = meta.at("cross_attn_every_n_layers");
  c.media_token_id = meta.at("media_token_id");
  c.eoc_token_id = meta.at("eoc_token_id");
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) {
    c.adapter = {.rank = meta.at("lora").at("rank"), .alpha = meta.at("lora").at("alpha")};
  }
  return c;
}

/// The reference's spelling of a model's keys, `language` renaming those of the language model.
template <class Model, class F>
auto flamingo_keys(const Model& model, F language) {
  const auto every = model.config.cross_attention.every;
  return [every, language](const std::string& key) {
    return openflamingo_key(language(key), Model::Language::layers_path, every);
  };
}

/// The model with the reference's weights, frozen. Strict: keys agree one by one.
template <class Model, class F = std::identity>
Model load_flamingo(const Golden& golden, F language = {}) {
  auto model =
      Model::init(flamingo_config<Model>(golden.meta), {at::TensorOptions(at::kFloat).device(at::kMeta)});
  StateDict dict = formula_state(golden.meta.at("parameters"));
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) {
    for (auto& entry : formula_state(golden.meta.at("lora_parameters"))) dict.push_back(entry);
  }
  load_state_dict(model, rename_to_module(model, dict, flamingo_keys(model, language)),
                  "the reference's weights");
  freeze(model);
  return model;
}

inline Tensor flamingo_pixels(const std::string& key, std::int64_t batch) {
  return formula_input(key, {batch, 2, 1, 3, 42, 42}).squeeze(2);
}

inline Tensor causal_loss(const Tensor& logits, const Tensor& labels) {
  return at::cross_entropy_loss(logits.slice(1, 0, -1).flatten(0, 1), labels.slice(1, 1).flatten());
}

/// Every stored gradient `prefix`* against the model's, to 1e-4.
template <class Model>
void expect_flamingo_gradients(const Model& model, const Golden& golden, const std::string& prefix) {
  const auto theirs = flamingo_keys(model, std::identity{});
  std::size_t compared = 0, stored = 0;
  for (const auto& [name, t] : golden.tensors) stored += name.starts_with(prefix);
  visit(model, [&](const std::string& name, const Tensor& t) {
    for (const auto& [golden_name, expected] : golden.tensors) {
      if (golden_name != prefix + theirs(name)) continue;
      ++compared;
      ASSERT_TRUE(t.grad().defined()) << name;
      EXPECT_LE(relative_error(t.grad(), expected), 1e-4) << name;
    }
  });
  EXPECT_EQ(compared, stored);
  EXPECT_GT(stored, 0u);
}

/// Everything that a language model is held to inside a Flamingo, `Model<P>` being the whole with adapters P.
/// The name of that alias must be the program's only one: g++ 12 takes aliases of a name in two files'
/// unnamed namespaces for the same.
template <template <class> class Model>
struct FlamingoCase {
  using AllSites = LoRA<Attn, FeedForward>;

  Golden golden;
  TextInput text = {.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};

  Tensor where_valid(const Tensor& t) const {
    return t.masked_fill(golden["attention_mask"].to(at::kBool).unsqueeze(-1).logical_not(), 0);
  }

  template <class F = std::identity>
  void expect_logits(F language = {}) const {
    const auto model = load_flamingo<Model<NoAdapter>>(golden, language);
    const Tensor logits = model(flamingo_pixels("pixels", 3), text);
    EXPECT_CLOSE(where_valid(logits), where_valid(golden["logits"]), 1e-5);
    EXPECT_CLOSE(causal_loss(logits, golden["labels"]), golden["loss"], 1e-5);
  }

  // The language model alone, left-padded: in one pass, and in pieces behind a cache.
  template <class F = std::identity>
  void expect_language_logits(F language = {}) const {
    const auto model = load_flamingo<Model<NoAdapter>>(golden, language);
    const auto& lm = model.lang_encoder;
    const Tensor &ids = golden["prompt_ids"], &mask = golden["prompt_mask"];
    const auto run = [&](std::int64_t from, std::int64_t to, KvCache* cache) {
      const Tensor piece = ids.slice(1, from, to);
      const DecoderContext context = lm.context(piece, mask.slice(1, 0, to), cache);
      const Tensor x = lm.embed(piece, context);
      return lm.logits(
          lm.layers(x, context, cache, NoHook{}, 0, Model<NoAdapter>::Language::layer_count(lm.config)));
    };
    const Tensor padding = mask.to(at::kBool).unsqueeze(-1).logical_not();
    const Tensor expected = golden["language_logits"].masked_fill(padding, 0);
    EXPECT_CLOSE(run(0, 11, nullptr).masked_fill(padding, 0), expected, 1e-5);
    KvCache cache;
    const Tensor first = run(0, 6, &cache), second = run(6, 10, &cache), last = run(10, 11, &cache);
    EXPECT_CLOSE(at::cat({first, second, last}, 1).masked_fill(padding, 0), expected, 1e-5);
  }

  // The sizes are odd and the weights random, so bf16's error is that of a few rounded sums: compared in
  // norm.
  void expect_logits_in_bf16() const {
    auto model = load_flamingo<Model<NoAdapter>>(golden);
    convert(model, at::kBFloat16);
    const Tensor logits = model(flamingo_pixels("pixels", 3).to(at::kBFloat16), text).to(at::kFloat);
    const Tensor expected = where_valid(golden["logits"]), error = where_valid(logits).sub(expected);
    EXPECT_LE(error.norm().div(expected.norm()).template item<double>(), 1e-2);
  }

  void expect_adapter_gradients() const {
    auto model = load_flamingo<Model<AllSites>>(golden);
    set_trainable_parts(model, {.adapters = true});
    const Tensor logits = model(flamingo_pixels("pixels", 3), text);
    EXPECT_CLOSE(where_valid(logits), where_valid(golden["lora/logits"]), 1e-5);
    const Tensor loss = causal_loss(logits, golden["labels"]);
    EXPECT_CLOSE(loss, golden["lora/loss"], 1e-5);
    backward(loss);
    expect_flamingo_gradients(model, golden, "lora/grad/");
  }

  void expect_merged_logits() const {
    auto model = load_flamingo<Model<AllSites>>(golden);
    EXPECT_GT(merge_adapters(model), 0);
    const Tensor logits = model(flamingo_pixels("pixels", 3), text);
    EXPECT_CLOSE(where_valid(logits), where_valid(golden["lora/logits"]), 1e-5);
  }

  // Left-padded, with cache; the fixture was made both with and without one.
  void expect_greedy() const {
    const auto model = load_flamingo<Model<AllSites>>(golden);
    const TextInput prompt{.ids = golden["prompt_ids"], .attention_mask = golden["prompt_mask"]};
    const Tensor latents = model.resample(model.encode_vision(flamingo_pixels("prompt_pixels", 2)));
    const auto length = prompt.ids.size(1);
    const std::int64_t count = golden.meta.at("greedy_new_tokens"), eos = golden.meta.at("greedy_eos");
    const Tensor ids = generate(model, prompt, latents, {.max_new_tokens = count}).ids;
    EXPECT_TRUE(ids.equal(golden["greedy_ids"].slice(1, length))) << ids;
    const Generated stopped =
        generate(model, prompt, latents, {.max_new_tokens = count, .eos_token_id = eos});
    EXPECT_TRUE(stopped.ids.equal(golden["greedy_ids_eos"].slice(1, length))) << stopped.ids;
  }

  // The reference fills ended rows with eos where the padding is token 0, so rows are compared up to their
  // end.
  void expect_beams() const {
    const auto model = load_flamingo<Model<AllSites>>(golden);
    const TextInput prompt{.ids = golden["prompt_ids"], .attention_mask = golden["prompt_mask"]};
    const Tensor latents = model.resample(model.encode_vision(flamingo_pixels("prompt_pixels", 2)));
    const Generated found = generate(model, prompt, latents,
                                     {.max_new_tokens = golden.meta.at("greedy_new_tokens"),
                                      .eos_token_id = golden.meta.at("greedy_eos"),
                                      .num_beams = 3,
                                      .length_penalty = 0.0});
    const Tensor expected = golden["beam_ids"].slice(1, prompt.ids.size(1));
    ASSERT_EQ(found.ids.size(1), expected.size(1));
    for (std::int64_t row = 0; row < 2; ++row) {
      const auto length = found.lengths[row].template item<std::int64_t>();
      EXPECT_TRUE(found.ids[row].slice(0, 0, length).equal(expected[row].slice(0, 0, length)))
          << found.ids << expected;
    }
  }
};

}  // namespace morphvlm::testing
