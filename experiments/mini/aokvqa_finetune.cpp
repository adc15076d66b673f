#include "experiments/mini/aokvqa_finetune.hpp"

#include <limits>
#include <map>
#include <memory>
#include <set>

#include "experiments/mini/vision_pretrain.hpp"
#include "experiments/mini/workbench.hpp"
#include "experiments/stage.hpp"

namespace morphvlm::experiments {

namespace {

// Everything that the stages share; features come from the frozen tower and are mapped from a file.
struct AokvqaBench {
  const AokvqaFinetune& e;
  LanguageFile language = {};
  TextCodec codec = {};
  VqaDataset train_first = {}, train_second = {}, test = {};
  Tensor train_features = {}, test_features = {};
  std::map<std::pair<std::string, std::string>, VqaTokens> known = {};

  // The data set asks few questions again and again.
  const VqaTokens& tokens(const std::string& question, const std::string& answer) {
    auto [it, fresh] = known.try_emplace({question, answer});
    if (fresh) it->second = tokenize_vqa(codec.prompt, question, answer, codec.media_token, codec.encode);
    return it->second;
  }
};

Json history_json(const std::vector<TrainStep>& history) {
  Json out = Json::array();
  for (const auto& step : history) out.push_back(to_json(step));
  return out;
}

Trained trained_of(const std::string& name, const StageResult& stage) {
  Trained out{.name = name, .seconds = stage.seconds};
  out.parameters = stage.results.at("parameters");
  update_from_json(out.history, stage.results.at("history"), name);
  return out;
}

VqaDataset spread(const VqaDataset& data, std::int64_t count) {
  if (count <= 0 || count >= std::ssize(data.examples)) return data;
  VqaDataset out{data.name, {}, data.answer_names};
  for (std::int64_t i = 0; i < count; ++i) {
    out.examples.push_back(data.examples[static_cast<std::size_t>(i * std::ssize(data.examples) / count)]);
  }
  return out;
}

// The tower as it was trained.
ClipVitModule load_vision(const AokvqaFinetune& e) {
  return read_vision(e.vision.model, e.out / "vision" / "vision.safetensors");
}

// The tower, trained here, and the features of all pictures.
Trained vision_stage(AokvqaBench& bench, const VqaDataset& train, const VqaDataset& test, const Json& key) {
  const auto& e = bench.e;
  Tensor train_pixels;
  const auto pixels = [&]() -> const Tensor& {
    if (!train_pixels.defined()) train_pixels = load_pixels(train, e.vision.preprocess);
    return train_pixels;
  };
  const StageResult result = stage(e.out / "vision", key, [&](const std::filesystem::path& fresh) {
    std::vector<TrainStep> history;
    const auto vision = pretrain_vision(train, pixels(), e.vision, static_cast<std::uint64_t>(e.seed),
                                        {fresh / "train.jsonl", "vision tower"}, history);
    save_safetensors(fresh / "vision.safetensors", state_dict(vision));
    return Json{{"parameters", parameter_count(vision)}, {"history", history_json(history)}};
  });
  const auto vision = load_vision(e);
  const auto cache_key = weights_fingerprint(vision) + to_json(e.vision.preprocess).dump();
  bench.train_features = cached_features(e.out / "features_train.safetensors", cache_key,
                                         [&] { return vision_features(vision, pixels()); });
  bench.test_features = cached_features(e.out / "features_test.safetensors", cache_key, [&] {
    return vision_features(vision, load_pixels(test, e.vision.preprocess));
  });
  return trained_of("vision tower", result);
}

// The resampler's own start.
Trained perceiver_stage(const AokvqaBench& bench, const Json& key) {
  const auto& e = bench.e;
  return trained_of(
      "perceiver warm-up", stage(e.out / "perceiver", key, [&](const std::filesystem::path& fresh) {
        const auto seed = static_cast<std::uint64_t>(e.seed);
        auto perceiver = PerceiverModule::init(e.vision.model.hidden_size, e.perceiver,
                                               {at::kFloat, make_generator(seed)});
        const auto history =
            warm_up_perceiver(perceiver, bench.train_first, bench.train_features, e.vision.perceiver, seed,
                              {fresh / "train.jsonl", "perceiver warm-up"});
        save_safetensors(fresh / "perceiver.safetensors", state_dict(perceiver));
        return Json{{"parameters", parameter_count(perceiver)}, {"history", history_json(history)}};
      }));
}

// Adapters below the first gated block stay at zero: activations there depend on the text alone and are kept.
template <class M>
void freeze_adapters_below(M& model, std::int64_t first_layer) {
  for (std::int64_t i = 0; i < first_layer; ++i) {
    freeze(model, "lang_encoder.model.layers." + std::to_string(i) + ".*");
  }
}

// The tokens that compete for being the next one, while not the whole vocabulary does.
struct Competition {
  std::set<std::int64_t> tokens = {};
  Tensor ids = {};

  static Competition of_answers(const AokvqaBench& bench, const VqaDataset& data) {
    Competition out;
    for (const auto& answer : data.answer_names) {
      out.add(bench.codec.encode(fill_prompt(bench.codec.prompt, "", answer).answer));
    }
    return out;
  }

  void add(const TokenIds& more) {
    tokens.insert(more.begin(), more.end());
    ids = at::tensor(TokenIds(tokens.begin(), tokens.end()));
  }

  // Adds what the model would rather say at the supervised positions.
  template <class M>
  void add_favourites(const M& model, const Tensor& hidden, const Tensor& targets) {
    at::NoGradGuard no_grad;
    constexpr std::int64_t kFavourites = 32;
    const Tensor rows = targets.flatten().ne(kIgnoredLabel).nonzero().squeeze(-1);
    const Tensor logits = model.logits(hidden.flatten(0, 1).index_select(0, rows));
    const Tensor best = std::get<1>(logits.topk(kFavourites)).flatten().contiguous();
    const auto* data_ptr = best.template const_data_ptr<std::int64_t>();
    add(TokenIds(data_ptr, data_ptr + best.numel()));
  }
};

template <class M>
Json train_flamingo(M& model, AokvqaBench& bench, const VqaDataset& data, const FlamingoStage& config,
                    std::uint64_t seed, const TrainLog& log) {
  const auto sampler = QuestionSampler::over(data, config, seed);
  const auto full_from = (config.train.steps - config.full_steps) * config.train.accumulate;
  auto competition = Competition::of_answers(bench, data);
  UngatedHiddenCache entries;
  auto loss_of = [&](const M& m, std::int64_t index) {
    const bool full = index >= full_from, whole = full || index % config.whole_answer_every == 0;
    std::vector<VqaTokens> rows;
    std::vector<std::int64_t> pictures;
    for (const auto row : sampler.batch(index)) {
      const auto& example = data.examples[static_cast<std::size_t>(row)];
      rows.push_back(bench.tokens(example.question, example.answers.front()));
      if (!whole) rows.back().answer.resize(1);
      pictures.push_back(example.image_id);
    }
    SharedBatch batch = collate_shared(rows, bench.codec.pad_token, true);
    entries.fill(m, rows, batch);
    const Tensor features = bench.train_features.index_select(0, at::tensor(pictures)).unsqueeze(1);
    const Tensor out = hidden(m, batch.text, m.resample(features));
    if (!full && index % config.favourites_every == 0) competition.add_favourites(m, out, batch.targets);
    return target_loss(m, out, batch.targets, full ? Tensor{} : competition.ids);
  };
  const auto history = train(model, config.train, loss_of, log);
  return {{"parameters", trainable_count(model)}, {"history", history_json(history)}};
}

template <class M>
std::vector<VqaPrediction> ask(const M& model, const AokvqaBench& bench, bool with_pictures,
                               const std::string& title) {
  EvaluateConfig config = bench.e.evaluate;
  config.title = title;
  if (!with_pictures) return evaluate_blind(model, bench.test, bench.codec, config);
  at::NoGradGuard no_grad;
  const Tensor latents = model.resample(bench.test_features.unsqueeze(1));
  auto latents_of = [&](const std::vector<std::int64_t>& rows) {
    std::vector<std::int64_t> pictures;
    for (const auto row : rows)
      pictures.push_back(bench.test.examples[static_cast<std::size_t>(row)].image_id);
    return latents.index_select(0, at::tensor(pictures));
  };
  return evaluate(model, bench.test, bench.codec, latents_of, config);
}

template <class Make>
Answered answer_stage(const std::string& name, const AokvqaBench& bench, const Json& key, bool with_pictures,
                      Make&& make) {
  const StageResult result = stage(bench.e.out / ("answers-" + name), key, [&](const std::filesystem::path&) {
    Json predictions = Json::array();
    for (const auto& p : ask(make(), bench, with_pictures, "answers: " + name))
      predictions.push_back(to_json(p));
    return Json{{"predictions", predictions}};
  });
  Answered out{.name = name};
  update_from_json(out.predictions, result.results.at("predictions"), name);
  out.score = summarize(bench.test, out.predictions);
  return out;
}

// `seed` draws the adapters; everything else is read or overwritten.
template <AdapterPolicy P>
Model<P> pretrained_model(const AokvqaBench& bench, std::int64_t seed = 0) {
  AokvqaFinetune e = bench.e;
  e.seed += 1000 * seed;
  auto model = make_model<P>(e, bench.language, bench.codec);
  load_adapter(model, bench.e.out / "pretrained" / "weights");
  return model;
}

using Adapted = LoRA<Attn>;
constexpr TrainableParts kFlamingoParts{.adapters = false, .perceiver = true, .gated_cross_attention = true};

Trained pretrain_stage(AokvqaBench& bench, const Json& key) {
  return trained_of("pre-training",
                    stage(bench.e.out / "pretrained", key, [&](const std::filesystem::path& fresh) {
                      auto model = make_model<NoAdapter>(bench.e, bench.language, bench.codec);
                      set_trainable_parts(model, kFlamingoParts);
                      const auto seed = static_cast<std::uint64_t>(bench.e.seed);
                      const Json out = train_flamingo(model, bench, bench.train_first, bench.e.pretrain, seed,
                                                      {fresh / "train.jsonl", "pre-training"});
                      save_adapter(model, fresh / "weights");
                      return out;
                    }));
}

// The folder of a stage that is done for several seeds.
std::string seed_name(const std::string& name, std::int64_t seed) {
  return seed == 0 ? name : name + "-seed" + std::to_string(seed);
}

Json seeded(Json key, std::int64_t seed) {
  if (seed > 0) key["tuning_seed"] = seed;
  return key;
}

// Continues the pre-trained model as `prepare(model)` opens it, on the second part of the pictures.
template <AdapterPolicy P, class Prepare>
Trained tuning_stage(AokvqaBench& bench, const std::string& name, const std::string& title,
                     const FlamingoStage& config, const Json& key, std::int64_t seed, Prepare&& prepare) {
  return trained_of(
      title, stage(bench.e.out / seed_name(name, seed), seeded(key, seed), [&](const auto& fresh) {
        auto model = pretrained_model<P>(bench, seed);
        prepare(model);
        const auto order = static_cast<std::uint64_t>(bench.e.seed + 1 + 1000 * seed);
        const Json out = train_flamingo(model, bench, bench.train_second, config, order,
                                        {fresh / "train.jsonl", title + ", seed " + std::to_string(seed)});
        save_adapter(model, fresh / "weights");
        return out;
      }));
}

Trained finetune_stage(AokvqaBench& bench, const Json& key, std::int64_t seed) {
  return tuning_stage<Adapted>(bench, "finetuned", "LoRA fine-tuning", bench.e.finetune, key, seed,
                               [&](auto& model) {
                                 model.config.cross_attention.gates = GatePolicy::loaded;
                                 set_trainable_parts(model, {.adapters = true});
                                 freeze_adapters_below(model, model.first_gated_layer());
                               });
}

Trained control_stage(AokvqaBench& bench, const Json& key, std::int64_t seed) {
  return tuning_stage<NoAdapter>(bench, "control", "control", bench.e.control, key, seed,
                                 [](auto& model) { set_trainable_parts(model, kFlamingoParts); });
}

template <AdapterPolicy P>
Model<P> tuned_model(const AokvqaBench& bench, const std::string& stage_name) {
  auto model = pretrained_model<P>(bench);
  load_adapter(model, bench.e.out / stage_name / "weights");
  return model;
}

}  // namespace

AokvqaFinetune aokvqa_finetune_mini() {
  AokvqaFinetune e;
  e.vision.model = {.image_size = 64,
                    .patch_size = 8,
                    .hidden_size = 96,
                    .num_hidden_layers = 3,
                    .num_attention_heads = 3,
                    .intermediate_size = 384,
                    .projection_dim = 0};
  e.vision.preprocess = {.size = 64};
  e.vision.tower.train = {.steps = 600, .lr = 2e-3, .weight_decay = 0.05, .schedule = Cosine{.warmup = 50}};
  e.vision.perceiver.train = {.steps = 200, .lr = 1e-3, .schedule = Cosine{.warmup = 20}};
  e.perceiver = {.depth = 2, .heads = 4, .head_dim = 32, .latents = 8, .ff_mult = 4};
  // One gated block, before the last layer: what an image changes is one layer and the head, so that far more
  // questions are learned from in a minute than with blocks further down.
  e.cross_attention = {
      .every = 30, .heads = 8, .head_dim = 64, .ff_mult = 4, .gates = GatePolicy::trainable, .gate_value = 1};
  e.adapter = {.rank = 16, .alpha = 32};
  e.pretrain.train = {
      .steps = 840, .lr = 2e-3, .beta2 = 0.95, .schedule = LinearDecay{.warmup = 20, .hold = 0.6}};
  e.finetune.full_steps = 10;
  e.finetune.train = {
      .steps = 70, .lr = 1e-3, .beta2 = 0.95, .schedule = LinearDecay{.warmup = 10, .hold = 0.6}};
  e.control = e.finetune;
  return e;
}

AokvqaFinetuneResult run(const AokvqaFinetune& e) {
  const auto root = e.data / "easy_vqa" / "data";
  const auto train_data = read_easy_vqa(root, Split::train), test_data = read_easy_vqa(root, Split::test);
  AokvqaBench bench{.e = e, .language = open_language(e.data / kLanguageFile)};
  bench.codec = text_codec(bench.language, e.prompt);
  bench.train_first = image_range(train_data, 0, e.first_part);
  bench.train_second = image_range(train_data, e.first_part, std::numeric_limits<std::int64_t>::max());
  bench.test = spread(test_data, e.test_questions);

  // A stage's key holds what decides its outcome, the stages before it included.
  Json key{{"seed", e.seed}, {"vision", to_json(e.vision)}};
  AokvqaFinetuneResult out{.test = bench.test, .base = c10::toString(base_dtype(e.base))};
  out.trained.push_back(vision_stage(bench, train_data, test_data, key));
  key["first_part"] = e.first_part;
  key["perceiver"] = to_json(e.perceiver);
  out.trained.push_back(perceiver_stage(bench, key));
  for (const auto& [name, part] :
       std::initializer_list<std::pair<const char*, Json>>{{"base", out.base},
                                                           {"prompt", e.prompt},
                                                           {"cross_attention", to_json(e.cross_attention)},
                                                           {"pretrain", to_json(e.pretrain)}}) {
    key[name] = part;
  }
  out.trained.push_back(pretrain_stage(bench, key));
  Json tuned_key = key, control_key = key;
  tuned_key["finetune"] = to_json(e.finetune);
  tuned_key["adapter"] = to_json(e.adapter);
  control_key["control"] = to_json(e.control);
  out.trained.push_back(finetune_stage(bench, tuned_key, 0));
  out.trained.push_back(control_stage(bench, control_key, 0));

  const auto asked = [&](Json k) {
    k["test_questions"] = e.test_questions;
    k["max_new_tokens"] = e.evaluate.max_new_tokens;
    if (e.evaluate.num_beams > 1) k["beams"] = {e.evaluate.num_beams, e.evaluate.length_penalty};
    return k;
  };
  const auto pretrained = [&] { return pretrained_model<NoAdapter>(bench); };
  const auto tuned = [&](std::int64_t seed) {
    return tuned_model<Adapted>(bench, seed_name("finetuned", seed));
  };
  const auto control = [&](std::int64_t seed) {
    return tuned_model<NoAdapter>(bench, seed_name("control", seed));
  };
  out.answered.push_back(answer_stage("pretrained", bench, asked(key), true, pretrained));
  out.answered.push_back(answer_stage("finetuned", bench, asked(tuned_key), true, [&] { return tuned(0); }));
  out.answered.push_back(
      answer_stage("control", bench, asked(control_key), true, [&] { return control(0); }));
  out.answered.push_back(answer_stage("blind", bench, asked(tuned_key), false, [&] { return tuned(0); }));
  out.tuned.push_back({0, out.answered[1].score.accuracy, out.answered[2].score.accuracy});
  for (std::int64_t seed = 1; seed < e.tuning_seeds; ++seed) {
    finetune_stage(bench, tuned_key, seed);
    control_stage(bench, control_key, seed);
    const auto finetuned = answer_stage(seed_name("finetuned", seed), bench, seeded(asked(tuned_key), seed),
                                        true, [&] { return tuned(seed); });
    const auto controlled = answer_stage(seed_name("control", seed), bench, seeded(asked(control_key), seed),
                                         true, [&] { return control(seed); });
    out.tuned.push_back({seed, finetuned.score.accuracy, controlled.score.accuracy});
  }
  auto majority = majority_per_question(train_data, bench.test);
  out.answered.push_back({"majority", majority, summarize(bench.test, majority)});
  write_file(e.out / "experiment.json", to_json(e).dump(2) + "\n");
  return out;
}

Asker open_run(const std::filesystem::path& folder, const std::filesystem::path& data) {
  const auto record = folder / "experiment.json";
  auto e = std::make_shared<AokvqaFinetune>(from_json<AokvqaFinetune>(read_json(record), record.string()));
  e->out = folder;
  if (!data.empty()) e->data = data;
  auto bench =
      std::make_shared<AokvqaBench>(AokvqaBench{.e = *e, .language = open_language(e->data / kLanguageFile)});
  bench->codec = text_codec(bench->language, e->prompt);
  auto model = std::make_shared<Model<Adapted>>(tuned_model<Adapted>(*bench, "finetuned"));
  model->vision_encoder = load_vision(*e);
  return [e, bench, model](const Image& image, const std::string& question) {
    at::NoGradGuard no_grad;
    const Tensor pixels = clip_pixels(image, e->vision.preprocess).unsqueeze(0).unsqueeze(0);
    VqaTokens query = tokenize_vqa(e->prompt, question, "", bench->codec.media_token, bench->codec.encode);
    query.answer.clear();
    const Tensor latents = model->resample(model->encode_vision(pixels));
    return answer_batch(*model, bench->codec, {&query, 1}, latents, e->evaluate).front();
  };
}

}  // namespace morphvlm::experiments
