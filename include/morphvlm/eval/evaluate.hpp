// Asking a model a whole data set's questions.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/eval/vqa_score.hpp"
#include "morphvlm/vlm/generate.hpp"

namespace morphvlm {

/// What text is to a model: both directions of its tokenizer, and its prompt.
struct TextCodec {
  std::function<TokenIds(std::string_view)> encode = {};    ///< text -> ids, nothing added around them
  std::function<std::string(const TokenIds&)> decode = {};  ///< special tokens left out
  std::string prompt{kVqaPrompt};                           ///< with {question} and {answer}, see fill_prompt
  std::int64_t media_token = -1;                            ///< id of `<image>`; must be set
  std::int64_t eoc_token = -1;  ///< ends an answer (`<|endofchunk|>`); -1: nothing does
  std::int64_t pad_token = 0;   ///< fills shorter queries; masked out
};

/// A model's answer to one example.
struct VqaPrediction {
  std::int64_t example = 0;  ///< row of the data set
  std::string answer = {};   ///< as answer_of_generation takes it from the generated text
  double score = 0;          ///< in [0, 1]
};

/// Mean scores: over all questions and by kind.
struct VqaScore {
  std::int64_t questions = 0;                        ///< how many were scored
  double accuracy = 0;                               ///< over all of them, in [0, 1]
  std::map<std::string, double> by_kind = {};        ///< accuracy by VqaExample::kind, in [0, 1]
  std::map<std::string, double> count_by_kind = {};  ///< questions of each kind
};

/// How to ask.
struct EvaluateConfig {
  std::int64_t batch = 64;           ///< questions asked at once; at least 1
  std::int64_t max_new_tokens = 5;   ///< longest answer; OpenFlamingo: 5
  std::int64_t num_beams = 1;        ///< OpenFlamingo: 3
  double length_penalty = 1.0;       ///< of beams; OpenFlamingo: 0
  std::string title = "evaluation";  ///< of the progress bar; empty: none
};

/// The score of one answer: VQA accuracy where there are several annotators, exact match where there is one.
inline double score_answer(std::string_view answer, const std::vector<std::string>& truth) {
  return truth.size() > 1 ? vqa_accuracy(answer, truth) : exact_match(answer, truth);
}

/// Answers to a batch of queries (token rows without answers) about images with `latents`
/// [batch, media, l, d]; undefined latents withhold the images: the text is the same, cross-attention adds
/// nothing. Layers below the first gated block, and what stands before the image, run once per distinct
/// query.
template <class Model>
std::vector<std::string> answer_batch(const Model& model, const TextCodec& codec,
                                      std::span<const VqaTokens> queries, const Tensor& latents,
                                      const EvaluateConfig& config) {
  at::NoGradGuard no_grad;
  const auto device = device_of(model.perceiver);
  SharedBatch batch = collate_shared(queries, codec.pad_token, false);
  batch.text = batch.text.to(device);
  std::vector<TokenIds> distinct;
  for (const auto owner : batch.owner)
    distinct.push_back(whole_text({queries[owner].prefix, queries[owner].rest, {}}));
  const PaddedIds padded = pad_rows(distinct, codec.pad_token, Padding::left);
  VlmCache cache;
  const TextInput whole{.ids = padded.ids, .attention_mask = padded.mask};
  const Tensor entry = model.ungated_hidden(whole.to(device), &cache);
  const auto prefix_time = batch.text.prefix.ids.size(1);
  batch.text.prefix.ungated_hidden = entry.slice(1, 0, prefix_time);
  batch.text.rest.ungated_hidden = entry.slice(1, prefix_time).index_select(0, batch.text.rows);
  const Tensor out = hidden(model, batch.text, latents, &cache);
  const GenerateConfig how{.max_new_tokens = config.max_new_tokens,
                           .eos_token_id = codec.eoc_token,
                           .pad_token_id = codec.eoc_token,
                           .num_beams = config.num_beams,
                           .length_penalty = config.length_penalty};
  const Tensor ids =
      generate_from(model, out, cache, batch.text.rest.attention_mask, how).ids.cpu().contiguous();
  std::vector<std::string> answers;
  for (std::int64_t r = 0; r < ids.size(0); ++r) {
    const auto* row = ids.const_data_ptr<std::int64_t>() + r * ids.size(1);
    const TokenIds tokens(row, std::find(row, row + ids.size(1), codec.eoc_token));
    answers.push_back(answer_of_generation(codec.decode(tokens)));
  }
  return answers;
}

namespace detail {

// Rows of the data set, those with equal queries together and short ones first: batches need little padding
// and share their beginnings.
inline std::vector<std::int64_t> by_query(const std::vector<VqaTokens>& queries) {
  std::vector<std::int64_t> order(queries.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto key = [&](std::int64_t i) {
    const auto& q = queries[static_cast<std::size_t>(i)];
    return std::tuple(q.rest.size(), q.prefix.size(), q.prefix);
  };
  std::ranges::stable_sort(order, {}, key);
  return order;
}

}  // namespace detail

/// Asks every question of `data`. `latents_of(rows)` returns the latents [n, media, l, d] of the images of
/// those rows (or an undefined tensor to withhold images). Predictions come back in the data set's order.
template <class Model, class LatentsOf>
std::vector<VqaPrediction> evaluate(const Model& model, const VqaDataset& data, const TextCodec& codec,
                                    LatentsOf&& latents_of, const EvaluateConfig& config = {}) {
  std::map<std::string, VqaTokens> tokens;
  std::vector<VqaTokens> queries;
  for (const auto& example : data.examples) {
    auto [it, fresh] = tokens.try_emplace(example.question);
    if (fresh) {
      it->second = tokenize_vqa(codec.prompt, example.question, "", codec.media_token, codec.encode);
      it->second.answer.clear();
    }
    queries.push_back(it->second);
  }
  std::vector<VqaPrediction> out(data.examples.size());
  Progress progress(config.title, std::ssize(data.examples));
  const auto order = detail::by_query(queries);
  for (std::size_t begin = 0; begin < order.size();) {
    const auto tail = queries[static_cast<std::size_t>(order[begin])].rest.size();
    std::vector<std::int64_t> rows;
    std::vector<VqaTokens> batch;
    while (begin < order.size() && std::ssize(rows) < config.batch) {
      const auto& query = queries[static_cast<std::size_t>(order[begin])];
      if (query.rest.size() != tail) break;
      rows.push_back(order[begin++]);
      batch.push_back(query);
    }
    const auto answers = answer_batch(model, codec, batch, latents_of(rows), config);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& truth = data.examples[static_cast<std::size_t>(rows[i])].answers;
      out[static_cast<std::size_t>(rows[i])] = {rows[i], answers[i], score_answer(answers[i], truth)};
    }
    progress.advance(std::ssize(rows), "");
  }
  progress.finish();
  return out;
}

/// Asks every question without its image. The answer then depends on the question's words alone, so each
/// distinct question is asked once.
template <class Model>
std::vector<VqaPrediction> evaluate_blind(const Model& model, const VqaDataset& data, const TextCodec& codec,
                                          const EvaluateConfig& config = {}) {
  std::map<std::string, std::int64_t> index;
  VqaDataset distinct{data.name, {}, data.answer_names};
  for (const auto& example : data.examples) {
    if (index.emplace(example.question, std::ssize(distinct.examples)).second)
      distinct.examples.push_back(example);
  }
  const auto asked = evaluate(
      model, distinct, codec, [](const auto&) { return Tensor{}; }, config);
  std::vector<VqaPrediction> out;
  for (const auto& example : data.examples) {
    const auto& answer = asked[static_cast<std::size_t>(index.at(example.question))].answer;
    out.push_back({std::ssize(out), answer, score_answer(answer, example.answers)});
  }
  return out;
}

/// Mean scores of predictions over a data set, by kind of question.
inline VqaScore summarize(const VqaDataset& data, const std::vector<VqaPrediction>& predictions) {
  expect(!predictions.empty(), "evaluation: no predictions to summarize");
  VqaScore score{.questions = std::ssize(predictions)};
  for (const auto& p : predictions) {
    const auto& kind = data.examples.at(static_cast<std::size_t>(p.example)).kind;
    score.accuracy += p.score;
    score.by_kind[kind] += p.score;
    score.count_by_kind[kind] += 1;
  }
  score.accuracy /= static_cast<double>(predictions.size());
  for (auto& [kind, sum] : score.by_kind) sum /= score.count_by_kind[kind];
  return score;
}

/// The blind baseline: each question's most frequent answer in `train`, or the most frequent of all for a
/// question that `train` does not have. Same form as a model's predictions.
inline std::vector<VqaPrediction> majority_per_question(const VqaDataset& train, const VqaDataset& test) {
  std::map<std::string, std::map<std::string, std::int64_t>> counts;
  for (const auto& example : train.examples) {
    for (const auto& answer : example.answers) {
      ++counts[example.question][answer];
      ++counts[""][answer];
    }
  }
  const auto most_frequent = [&](const std::string& question) {
    const auto it = counts.find(question);
    const auto& answers = it == counts.end() ? counts.at("") : it->second;
    return std::ranges::max_element(answers, {}, [](const auto& e) { return e.second; })->first;
  };
  std::vector<VqaPrediction> out;
  for (const auto& example : test.examples) {
    const auto answer = most_frequent(example.question);
    out.push_back({std::ssize(out), answer, score_answer(answer, example.answers)});
  }
  return out;
}

}  // namespace morphvlm
