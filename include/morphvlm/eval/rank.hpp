// Choosing among given answers by how likely a model finds them.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/data/vqa_text.hpp"
#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm {

/// A query's tokens and those of each way to go on.
struct RankedQuery {
  TokenIds query = {};                 ///< what all choices begin with; one token at least
  std::vector<TokenIds> choices = {};  ///< what follows the query in each; one token at least
};

/// Tokenizes `prompt` followed by each choice in one piece, since a tokenizer may join a choice's beginning
/// to the prompt's end, and parts them where the choices first differ from the prompt alone.
template <class Encode>
RankedQuery tokenize_choices(const std::string& prompt, std::span<const std::string> choices,
                             Encode&& encode) {
  expect(!choices.empty(), "rank: no choice to go on with");
  const TokenIds alone = encode(prompt);
  std::vector<TokenIds> whole;
  std::size_t shared = alone.size();
  for (const auto& choice : choices) {
    whole.push_back(encode(prompt + choice));
    const auto& ids = whole.back();
    const auto same = std::ranges::mismatch(alone, ids).in1 - alone.begin();
    // Each choice needs a token of its own to be scored by.
    shared = std::min({shared, static_cast<std::size_t>(same), ids.empty() ? 0 : ids.size() - 1});
  }
  expect(shared > 0, "rank: the prompt \"", prompt, "\" has no token of its own");
  RankedQuery out{.query = {alone.begin(), alone.begin() + static_cast<std::ptrdiff_t>(shared)}};
  for (const auto& ids : whole)
    out.choices.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(shared), ids.end());
  return out;
}

/// Mean log-likelihood of each choice's tokens after the query: how open_flamingo's get_rank_classifications
/// scores class names (v2.0.1, normalize_length). `latents` [1, media, l, d] or undefined. The query is read
/// once.
template <class Model>
std::vector<double> choice_scores(const Model& model, const RankedQuery& q, const Tensor& latents) {
  at::NoGradGuard no_grad;
  const auto n = std::ssize(q.choices);
  const auto device = device_of(model.perceiver);
  const auto padded_on_device = [&](std::span<const TokenIds> rows) {
    const PaddedIds p = pad_rows(rows, 0, Padding::right);
    return PaddedIds{p.ids.to(device), p.mask.to(device)};
  };
  VlmCache cache;
  const Tensor read = model.hidden({.ids = padded_on_device(std::span(&q.query, 1)).ids}, latents, &cache);
  const Tensor last = read.slice(1, read.size(1) - 1).expand({n, -1, -1});
  std::vector<TokenIds> heads = q.choices;
  for (auto& ids : heads) ids.pop_back();
  const PaddedIds padded = padded_on_device(heads);
  Tensor hidden = last;
  if (padded.ids.size(1) > 0) {
    VlmCache copies = cache.select(at::zeros({n}, TensorOptions(at::kLong).device(device)));
    hidden = at::cat({last, model.hidden({.ids = padded.ids}, {}, &copies)}, 1);
  }
  const Tensor log_probs = at::log_softmax(model.logits(hidden).to(at::kFloat), -1);
  const PaddedIds targets = padded_on_device(q.choices);
  const Tensor token = log_probs.gather(-1, targets.ids.unsqueeze(-1)).squeeze(-1);
  const Tensor mask = targets.mask.to(at::kFloat);
  const Tensor mean = token.mul(mask).sum(1).div(mask.sum(1)).to(at::kCPU, at::kDouble).contiguous();
  return {mean.const_data_ptr<double>(), mean.const_data_ptr<double>() + n};
}

/// The likeliest choice's index; of equals the first.
inline std::size_t best_choice(std::span<const double> scores) {
  expect(!scores.empty(), "rank: no scores");
  return static_cast<std::size_t>(std::ranges::max_element(scores) - scores.begin());
}

}  // namespace morphvlm
