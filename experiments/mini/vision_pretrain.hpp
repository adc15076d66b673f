// A small vision transformer, trained from scratch on the questions themselves: no published weights exist
// for pictures of 64 x 64. Trained once, then frozen, as CLIP is in the paper.
#pragma once

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "experiments/mini/vision_stage.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/data.hpp"
#include "morphvlm/distributed.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/image.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/nn.hpp"
#include "morphvlm/plan.hpp"
#include "morphvlm/text.hpp"
#include "morphvlm/train.hpp"

namespace morphvlm::experiments {

/// Reads answers off one vector a picture: a training head, thrown away afterwards.
struct VqaProbe {
  LayerNorm norm = {};
  Linear<> image = {}, question = {}, hidden = {}, answer = {};

  /// Pooled features [n, d], question words [q, words], picture of each question [q] -> logits [q, answers].
  Tensor operator()(const Tensor& pooled, const Tensor& words, const Tensor& picture) const {
    const Tensor seen = image(norm(pooled)).index_select(0, picture);
    return answer(at::gelu(hidden(seen.mul(question(words).add(1)))));
  }

  static VqaProbe init(std::int64_t dim, std::int64_t width, std::int64_t words, std::int64_t answers,
                       const Init& init) {
    return {.norm = LayerNorm::init(dim, init),
            .image = Linear<>::init(dim, width, true, init),
            .question = Linear<>::init(words, width, true, init),
            .hidden = Linear<>::init(width, width, true, init),
            .answer = Linear<>::init(width, answers, true, init)};
  }
};

/// A part and the head that trains it.
template <class Part>
struct Probed {
  Part part = {};
  VqaProbe probe = {};
};

/// Questions as bags of words, answers as classes.
struct BagOfWords {
  std::map<std::string, std::int64_t> words = {}, answers = {};

  static std::vector<std::string> split(const std::string& text) {
    std::istringstream in(text);
    return {std::istream_iterator<std::string>(in), {}};
  }

  static BagOfWords of(const VqaDataset& data) {
    std::set<std::string> seen;
    for (const auto& e : data.examples) {
      for (auto& word : split(e.question)) seen.insert(word);
    }
    BagOfWords bag;
    for (const auto& word : seen) bag.words.emplace(word, std::ssize(bag.words));
    for (const auto& answer : data.answer_names) bag.answers.emplace(answer, std::ssize(bag.answers));
    return bag;
  }

  /// One row of zeros and ones for each question.
  Tensor encode(const std::vector<const VqaExample*>& examples) const {
    Tensor out = at::zeros({std::ssize(examples), std::ssize(words)}, at::kFloat);
    auto* row = out.mutable_data_ptr<float>();
    for (const auto* e : examples) {
      for (const auto& word : split(e->question)) {
        if (auto it = words.find(word); it != words.end()) row[it->second] = 1;
      }
      row += words.size();
    }
    return out;
  }
};

namespace detail {

// Mirrored and shifted at random; a shift wraps around, which the plain background forgives.
inline Tensor augment(const Tensor& picture, std::int64_t shift, CounterRng& rng) {
  const auto offset = [&] {
    return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(2 * shift + 1))) - shift;
  };
  const std::int64_t dy = offset(), dx = offset();
  const Tensor moved = at::roll(picture, {dy, dx}, {1, 2});
  return rng.below(2) ? moved.flip(2) : moved;
}

}  // namespace detail

/// Trains `part` on `data`: pooled(part, picture ids, randomness) -> [n, dim] is what the head sees of it.
/// Returns the run's steps; the part is left frozen.
template <class Part, class Pooled>
std::vector<TrainStep> train_by_probe(Part& part, std::int64_t dim, const VqaDataset& data,
                                      const ProbeStage& config, std::uint64_t seed, const TrainLog& log,
                                      std::string_view left_out, Pooled&& pooled) {
  const BagOfWords bag = BagOfWords::of(data);
  std::map<std::int64_t, std::vector<const VqaExample*>> by_image;
  for (const auto& e : data.examples) by_image[e.image_id].push_back(&e);
  std::vector<std::int64_t> ids;
  for (const auto& [id, examples] : by_image) ids.push_back(id);
  const auto count = std::min(config.images, std::ssize(ids)), batches = std::ssize(ids) / count;

  Probed<Part> model{part, VqaProbe::init(dim, config.probe_width, std::ssize(bag.words),
                                          std::ssize(bag.answers), {at::kFloat, make_generator(seed + 1)})};
  unfreeze(model, "*");
  freeze(model, left_out);
  auto loss_of = [&](const Probed<Part>& m, std::int64_t index) {
    const auto order = shuffled(std::ssize(ids), seed, static_cast<std::uint64_t>(index / batches));
    CounterRng rng{split_mix(seed) ^ split_mix(static_cast<std::uint64_t>(index))};
    std::vector<const VqaExample*> questions;
    std::vector<std::int64_t> pictures, picture_of, answers;
    std::vector<float> weights;
    for (std::int64_t i = 0; i < count; ++i) {
      pictures.push_back(
          ids[static_cast<std::size_t>(order[static_cast<std::size_t>(index % batches * count + i)])]);
      for (const auto* e : by_image[pictures.back()]) {
        questions.push_back(e);
        picture_of.push_back(i);
        answers.push_back(bag.answers.at(e->answers.front()));
        weights.push_back(e->kind == "open" ? static_cast<float>(config.open_weight) : 1.0F);
      }
    }
    const Tensor logits =
        m.probe(pooled(m.part, pictures, rng), bag.encode(questions), at::tensor(picture_of));
    const Tensor each = at::cross_entropy_loss(logits, at::tensor(answers), {}, at::Reduction::None);
    const Tensor weight = at::tensor(weights);
    return each.mul(weight).sum().div(weight.sum());
  };
  auto history = train(model, config.train, loss_of, log);
  freeze(model);
  part = model.part;
  return history;
}

/// Trains a tower; image ids index `pixels` [n, 3, S, S]. Max-pooling over patches learns shapes several
/// times faster here than their mean, most of them being empty.
inline ClipVitModule pretrain_vision(const VqaDataset& data, const Tensor& pixels, const VisionStage& config,
                                     std::uint64_t seed, const TrainLog& log,
                                     std::vector<TrainStep>& history) {
  auto vision = ClipVitModule::init(config.model, {at::kFloat, make_generator(seed)});
  const bool before = config.model.tokens == VitTokens::before_ln_post;
  history = train_by_probe(
      vision, config.model.hidden_size, data, config.tower, seed, log, before ? "part.ln_post.*" : "",
      [&](const ClipVitModule& m, const std::vector<std::int64_t>& ids, CounterRng& rng) {
        std::vector<Tensor> pictures;
        for (const auto id : ids) {
          pictures.push_back(detail::augment(pixels.select(0, id), config.shift, rng));
        }
        return m(at::stack(pictures)).amax(1);
      });
  return vision;
}

/// A tower as it was trained and saved.
inline ClipVitModule read_vision(const ClipVitConfig& config, const std::filesystem::path& path) {
  auto vision = ClipVitModule::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  load_state_dict(vision, load_safetensors(path), path.string());
  return vision;
}

/// Trains a resampler on frozen `features` [n, patches, dim]: a start from which cross-attention finds
/// something to look at, instead of having to wait for both to learn at once.
inline std::vector<TrainStep> warm_up_perceiver(PerceiverModule& perceiver, const VqaDataset& data,
                                                const Tensor& features, const ProbeStage& config,
                                                std::uint64_t seed, const TrainLog& log) {
  return train_by_probe(perceiver, features.size(-1), data, config, seed, log, "",
                        [&](const PerceiverModule& m, const std::vector<std::int64_t>& ids, CounterRng&) {
                          const Tensor seen = features.index_select(0, at::tensor(ids)).unsqueeze(1);
                          return m(seen).squeeze(1).mean(1);
                        });
}

/// Patch tokens [n, patches, dim] of all pictures.
inline Tensor vision_features(const ClipVitModule& vision, const Tensor& pixels, std::int64_t batch = 100) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> out;
  for (std::int64_t i = 0; i < pixels.size(0); i += batch)
    out.push_back(vision(pixels.slice(0, i, i + batch)));
  return at::cat(out);
}

}  // namespace morphvlm::experiments
