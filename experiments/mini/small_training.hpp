// The small world's models: pre-trained once for each language model, then fine-tuned in many ways.
#pragma once

#include <ATen/ops/tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/mini/small_world.hpp"
#include "experiments/resident_bytes.hpp"
#include "experiments/stage.hpp"
#include "experiments/training_cost.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

/// The small world's Flamingo around language model L, adapted as P says.
template <LanguageModel L, AdapterPolicy P = NoAdapter>
using SmallModel = VLM<ClipViT, Perceiver, L, P>;

/// A world with its pre-trained weights.
template <LanguageModel L>
struct SmallWorld {
  SmallData data = {};
  StateDict weights = {};  ///< all of the model's but adapters
  Tensor latents = {};     ///< of every picture [n, 1, l, d]: the resampler is frozen
};

/// A model of the world's sizes with random weights.
template <class Model>
Model random_small_model(const SmallWorldConfig& c, std::uint64_t seed) {
  return Model::init(small_model_config<Model>(c), {at::kFloat, make_generator(split_mix(seed))});
}

/// Padded rows whose labels are the ids themselves.
inline Batch text_batch(std::span<const TokenIds> rows) {
  std::vector<LabelledIds> labelled;
  for (const auto& ids : rows) labelled.push_back({ids, ids});
  return collate_labelled(labelled, WordVocabulary::kPad);
}

namespace detail {

// Batch `index` of text alone: rows of abstracts, and one row in eight a question with its answer, so that
// the language model knows what such a text is.
inline Batch language_batch(const SmallData& d, RowOrder& abstracts, RowOrder& questions,
                            std::int64_t index) {
  std::vector<TokenIds> rows;
  const auto count = d.config.language_batch, about = std::max<std::int64_t>(1, count / 8);
  for (const auto row : abstracts.batch(index, count - about)) {
    const auto begin = d.text.begin() + row * d.config.text_length;
    rows.emplace_back(begin, begin + d.config.text_length);
  }
  for (const auto row : questions.batch(index, about))
    rows.push_back(vqa_text(d.words, d.pretrain.examples[static_cast<std::size_t>(row)], false));
  return text_batch(rows);
}

template <class Model>
double train_language(Model& model, const SmallData& d, const TrainLog& log) {
  set_trainable_parts(model, {.adapters = false, .language = true});
  freeze(model, kGates);
  const auto seed = static_cast<std::uint64_t>(d.config.seed);
  RowOrder abstracts{std::ssize(d.text) / d.config.text_length, seed};
  RowOrder questions{std::ssize(d.pretrain.examples), seed + 1};
  const auto history = train(
      model, d.config.language,
      [&](const Model& m, std::int64_t index) {
        return text_loss(m, language_batch(d, abstracts, questions, index));
      },
      log);
  return history.back().loss;
}

// Rows of several questions and answers, each after its picture: OpenFlamingo's interleaved form.
template <class Model>
Tensor flamingo_loss(const Model& m, const SmallData& d, const Tensor& features,
                     const std::vector<std::int64_t>& examples) {
  const auto chunks = d.config.flamingo_chunks;
  std::vector<TokenIds> rows;
  std::vector<std::int64_t> pictures;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const auto& example = d.pretrain.examples[static_cast<std::size_t>(examples[i])];
    if (static_cast<std::int64_t>(i) % chunks == 0) rows.emplace_back();
    const TokenIds text = vqa_text(d.words, example, true);
    rows.back().insert(rows.back().end(), text.begin(), text.end());
    pictures.push_back(example.image_id);
  }
  const Batch batch = text_batch(rows);
  const Tensor labels = openflamingo_labels(batch.text.ids, batch.text.attention_mask, WordVocabulary::kImage,
                                            WordVocabulary::kEndChunk);
  const Tensor seen = features.index_select(0, at::tensor(pictures)).unflatten(0, {-1, chunks});
  return next_token_loss(m, m.hidden(batch.text, m.resample(seen)), labels);
}

}  // namespace detail

/// Trains the resampler and the gated blocks on rows of `features` [n, tokens, d] by image id, questions in
/// an order that `seed` decides.
template <class Model>
std::vector<TrainStep> train_flamingo(Model& model, const SmallData& d, const Tensor& features,
                                      const TrainConfig& config, std::uint64_t seed, const TrainLog& log) {
  set_trainable_parts(model, {.adapters = false, .perceiver = true, .gated_cross_attention = true});
  RowOrder questions{std::ssize(d.pretrain.examples), seed};
  const auto count = d.config.flamingo_batch * d.config.flamingo_chunks;
  return train(
      model, config,
      [&](const Model& m, std::int64_t index) {
        return detail::flamingo_loss(m, d, features, questions.batch(index, count));
      },
      log);
}

/// Opens a world for language model L: pre-trained on text, then on pictures, unless that is done. `name`
/// distinguishes the language models' folders.
template <LanguageModel L>
SmallWorld<L> open_small_world(const SmallData& data, const std::string& name) {
  using Model = SmallModel<L>;
  SmallWorld<L> world{.data = data};
  const auto& c = data.config;
  auto model = random_small_model<Model>(c, static_cast<std::uint64_t>(c.seed));
  const auto folder = c.out / name;
  stage(folder, world_key(c), [&](const std::filesystem::path& fresh) {
    const double text = detail::train_language(model, data, {fresh / "language.jsonl", name + ": text"});
    const auto seed = static_cast<std::uint64_t>(c.seed) + 2;
    const auto history = train_flamingo(model, data, data.features, c.flamingo, seed,
                                        {fresh / "flamingo.jsonl", name + ": pictures"});
    freeze(model);
    save_safetensors(fresh / "weights.safetensors", state_dict(model));
    return Json{{"language_loss", text}, {"flamingo_loss", history.back().loss}};
  });
  world.weights = load_safetensors(folder / "weights.safetensors");
  load_base(model, world.weights, (folder / "weights.safetensors").string());
  at::NoGradGuard no_grad;
  world.latents = model.resample(data.features.unsqueeze(1));
  return world;
}

namespace detail {

template <LanguageModel L>
Batch instruction_batch(const SmallWorld<L>& w, const std::vector<std::int64_t>& rows,
                        std::vector<std::int64_t>& pictures) {
  std::vector<LabelledIds> texts;
  for (const auto row : rows) {
    const auto& example = w.data.finetune.examples[static_cast<std::size_t>(row)];
    texts.push_back(instruction_ids(w.data.words, example));
    pictures.push_back(example.image_id);
  }
  return collate_labelled(texts, WordVocabulary::kPad);
}

template <LanguageModel L>
Batch medical_batch(const SmallWorld<L>& w, const std::vector<std::int64_t>& rows) {
  std::vector<LabelledIds> texts;
  for (const auto row : rows)
    texts.push_back(medical_ids(w.data.words, w.data.medical[static_cast<std::size_t>(row)],
                                w.data.config.medical_length));
  return collate_labelled(texts, WordVocabulary::kPad);
}

// What a fine-tuning measures besides its loss, step by step.
struct StepMeter {
  FinetuneRun& run;
  std::int64_t accumulate;
  double vision = 0, medical = 0, flops = 0;

  void end_of_batch(std::int64_t index) {
    if ((index + 1) % accumulate != 0) return;
    const auto n = static_cast<double>(accumulate);
    run.vision_loss.push_back(vision / n);
    run.medical_loss.push_back(medical / n);
    run.flops.push_back(flops + (run.flops.empty() ? 0 : run.flops.back()));
    run.host_bytes.push_back(static_cast<double>(resident_bytes()));
    vision = medical = flops = 0;
  }
};

// The losses of a model that nothing trains, on the batches that it would have been trained on.
template <class Model, class LossOf>
std::vector<TrainStep> watch(const Model& model, const TrainConfig& c, LossOf& loss_of) {
  at::NoGradGuard no_grad;
  std::vector<TrainStep> history;
  for (std::int64_t step = 0; step < c.steps; ++step) {
    double loss = 0;
    for (std::int64_t micro = 0; micro < c.accumulate; ++micro)
      loss += loss_of(model, step * c.accumulate + micro).template item<double>();
    history.push_back({.step = step, .loss = loss / static_cast<double>(c.accumulate)});
  }
  return history;
}

}  // namespace detail

/// The world's model, adapted as P says and ready to be trained.
template <AdapterPolicy P, LanguageModel L>
SmallModel<L, P> adapted_model(const SmallWorld<L>& w, const FinetuneConfig& c) {
  auto model = random_small_model<SmallModel<L, P>>(w.data.config, c.seed + 1000);
  load_base(model, w.weights, "small world");
  model.config.cross_attention.gates = c.gates;
  model.config.cross_attention.gate_value = c.gate_value;
  set_trainable_parts(model, {.adapters = true});
  return model;
}

/// Fine-tunes adapters of policy P on the instruction form. The same config gives the same run, to the last
/// bit.
template <AdapterPolicy P, LanguageModel L>
FinetuneRun finetune(const SmallWorld<L>& w, const FinetuneConfig& c, const TrainLog& log = {{}, ""}) {
  auto model = adapted_model<P>(w, c);
  FinetuneRun run{.parameters = trainable_count(model)};
  RowOrder questions{std::ssize(w.data.finetune.examples), c.seed + 1};
  RowOrder abstracts{std::ssize(w.data.medical), c.seed + 2};
  detail::StepMeter meter{run, c.train.accumulate};
  const auto cost = TrainingCost::of_model(model);
  const auto loss_of = [&](const auto& m, std::int64_t index) {
    std::vector<std::int64_t> pictures;
    const Batch batch = detail::instruction_batch(w, questions.batch(index, c.batch), pictures);
    const Tensor latents = w.latents.index_select(0, at::tensor(pictures));
    Tensor loss = next_token_loss(m, m.hidden(batch.text, latents), batch.labels);
    meter.vision += loss.item<double>();
    meter.flops += cost.of(batch);
    if (c.medical_batch > 0) {
      const Batch text = detail::medical_batch(w, abstracts.batch(index, c.medical_batch));
      const Tensor medical = text_loss(m, text);
      meter.medical += medical.item<double>();
      meter.flops += cost.of(text);
      loss = loss.add(medical);
    }
    meter.end_of_batch(index);
    return loss;
  };
  if constexpr (std::is_same_v<P, NoAdapter>) {
    run.history = detail::watch(model, c.train, loss_of);
  } else {
    run.history = train(model, c.train, loss_of, log);
  }
  return run;
}

// What several experiments do is compiled once (small_training.cpp).
extern template SmallWorld<OpenLLaMA> open_small_world(const SmallData&, const std::string&);
extern template FinetuneRun finetune<LoRA<Attn>>(const SmallWorld<OpenLLaMA>&, const FinetuneConfig&,
                                                 const TrainLog&);

}  // namespace morphvlm::experiments
