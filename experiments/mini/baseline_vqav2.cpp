#include "experiments/mini/baseline_vqav2.hpp"

#include <algorithm>

#include "experiments/mini/small_asking.hpp"
#include "experiments/mini/sweep.hpp"
#include "morphvlm/data/few_shot.hpp"

namespace morphvlm::experiments {

namespace {

constexpr std::int64_t kFirstSeed = 42;  // OpenFlamingo's

using Baseline = SmallModel<MPT>;

/// What the trials share.
struct VqaBench {
  const BaselineVqav2& e;
  const SmallWorld<MPT>& world;
  const Baseline& model;
  const VqaDataset& test;
  const Tensor& test_latents;  // [n, 1, l, d] by image id
};

// Latents of demonstrations come from the training pictures, those of the question from the test pictures.
Tensor latents_of(const VqaBench& b, const std::vector<std::int64_t>& ids, std::int64_t per_prompt) {
  std::vector<Tensor> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool query = static_cast<std::int64_t>(i) % per_prompt == per_prompt - 1;
    rows.push_back((query ? b.test_latents : b.world.latents).select(0, ids[i]).select(0, 0));
  }
  return at::stack(rows);
}

BaselineTrial ask(const VqaBench& b, std::int64_t shots, std::int64_t seed) {
  const auto& train = b.world.data.pretrain;
  const FewShotConfig c{.shots = shots,
                        .samples = b.e.samples,
                        .query_set = std::min(b.e.query_set, std::ssize(train.examples)),
                        .seed = kFirstSeed + seed};
  std::vector<SmallPrompt> prompts;
  VqaDataset asked{b.test.name, {}, b.test.answer_names};
  for (const auto& query : select_few_shot(std::ssize(train.examples), std::ssize(b.test.examples), c)) {
    SmallPrompt prompt{.text = few_shot_prompt(train, b.test, query, c)};
    if (shots > 0)
      for (const auto row : query.demonstrations)
        prompt.pictures.push_back(train.examples[static_cast<std::size_t>(row)].image_id);
    asked.examples.push_back(b.test.examples[static_cast<std::size_t>(query.test_row)]);
    prompt.pictures.push_back(asked.examples.back().image_id);
    prompts.push_back(std::move(prompt));
  }
  BaselineTrial out{.shots = shots, .seed = seed, .questions = std::ssize(prompts)};
  out.answers = answer_prompts(
      b.model, b.world.data.words, prompts,
      [&](const std::vector<std::int64_t>& ids) { return latents_of(b, ids, shots + 1); }, b.e.evaluate);
  for (std::size_t i = 0; i < out.answers.size(); ++i)
    out.right += exact_match(out.answers[i], asked.examples[i].answers) > 0.5;
  for (const auto& p : majority_per_question(train, asked)) out.majority += p.score > 0.5;
  return out;
}

}  // namespace

BaselineVqav2Result run(const BaselineVqav2& e) {
  const auto data = open_small_data(e.world);
  const auto world = open_small_world<MPT>(data, "mpt");
  auto model = random_small_model<Baseline>(e.world, 0);
  load_base(model, world.weights, "small world");
  freeze(model);
  const auto test = small_test_data(e.world);
  const Tensor features = small_test_features(e.world, test);
  const Tensor test_latents = [&] {
    at::NoGradGuard no_grad;
    return model.resample(features.unsqueeze(1));
  }();
  const VqaBench bench{e, world, model, test, test_latents};
  BaselineVqav2Result out;
  for (const auto shots : kShots)
    for (std::int64_t seed = 0; seed < e.seeds; ++seed) out.trials.push_back({.shots = shots, .seed = seed});
  Json asked = to_json(e);
  for (const char* elsewhere : {"world", "seeds"}) asked.erase(elsewhere);
  for_each_job(std::ssize(out.trials), "questions with demonstrations", [&](std::int64_t i) {
    auto& trial = out.trials[static_cast<std::size_t>(i)];
    const auto name = "shots" + std::to_string(trial.shots) + "-seed" + std::to_string(trial.seed);
    const Json key{{"world", world_key(e.world)}, {"asked", asked}};
    const auto kept = stage(
        e.world.out / "baseline" / name, key,
        [&](const std::filesystem::path&) { return to_json(ask(bench, trial.shots, trial.seed)); }, false);
    update_from_json(trial, kept.results, name);
  });
  for_each_job(1, "the first trial once more",
               [&](std::int64_t) { out.repeated = ask(bench, kShots[0], 0); });
  return out;
}

}  // namespace morphvlm::experiments
