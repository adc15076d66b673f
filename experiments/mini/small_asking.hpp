// Asking a small world's model.
#pragma once

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "experiments/mini/small_training.hpp"
#include "morphvlm/eval/evaluate.hpp"
#include "morphvlm/vlm/generate.hpp"

namespace morphvlm::experiments {

/// A prompt with its pictures, by image id, in the order of its media tokens.
struct SmallPrompt {
  std::string text = {};
  std::vector<std::int64_t> pictures = {};
};

/// What the model writes after each prompt, cut as OpenFlamingo's VQA evaluation cuts it. All prompts have
/// the same number of pictures. `latents_of(ids)` gives latents [n, l, d].
template <class Model, class LatentsOf>
std::vector<std::string> answer_prompts(const Model& model, const WordVocabulary& words,
                                        const std::vector<SmallPrompt>& prompts, LatentsOf&& latents_of,
                                        const EvaluateConfig& config) {
  at::NoGradGuard no_grad;
  std::vector<std::string> answers;
  for (std::size_t begin = 0; begin < prompts.size(); begin += static_cast<std::size_t>(config.batch)) {
    const auto end = std::min(prompts.size(), begin + static_cast<std::size_t>(config.batch));
    std::vector<TokenIds> rows;
    std::vector<std::int64_t> pictures;
    for (auto i = begin; i < end; ++i) {
      rows.push_back(words.encode(prompts[i].text));
      pictures.insert(pictures.end(), prompts[i].pictures.begin(), prompts[i].pictures.end());
    }
    const PaddedIds text = pad_rows(rows, WordVocabulary::kPad, Padding::left);
    const Tensor latents = latents_of(pictures).unflatten(0, {std::ssize(rows), -1});
    const GenerateConfig how{.max_new_tokens = config.max_new_tokens,
                             .eos_token_id = WordVocabulary::kEndChunk,
                             .pad_token_id = WordVocabulary::kPad,
                             .num_beams = config.num_beams,
                             .length_penalty = config.length_penalty};
    const Tensor ids =
        generate(model, {.ids = text.ids, .attention_mask = text.mask}, latents, how).ids.contiguous();
    for (std::int64_t row = 0; row < ids.size(0); ++row) {
      const auto* first = ids.const_data_ptr<std::int64_t>() + row * ids.size(1);
      answers.push_back(answer_of_generation(words.decode({first, first + ids.size(1)})));
    }
  }
  return answers;
}

/// `count` of the rows 0 ... rows - 1, evenly spread; all where count is 0 or more than there are.
inline std::vector<std::int64_t> spread_rows(std::int64_t rows, std::int64_t count) {
  std::vector<std::int64_t> out;
  const auto n = count > 0 ? std::min(count, rows) : rows;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(i * rows / n);
  return out;
}

/// OpenFlamingo's prompt of a question without demonstrations.
inline std::string zero_shot_prompt(const std::string& question) {
  return std::string(kImageToken) + "Question:" + question + " Short answer:";
}

}  // namespace morphvlm::experiments
