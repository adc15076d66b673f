// Decoding answers.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>

#include <cstdint>
#include <vector>

#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm {

/// When to stop.
struct GenerateConfig {
  std::int64_t max_new_tokens = 5;  ///< OpenFlamingo's VQA setting
  std::int64_t eos_token_id = -1;   ///< ends a row; -1: nothing does
  std::int64_t pad_token_id = 0;    ///< fills a row that has ended
};

/// Continues decoding from a state: `hidden` is the last position's output [batch, 1, dim], `cache` what was
/// read, `attention_mask` [batch, read] or undefined. Returns the new ids, int64 [batch, n], n <=
/// max_new_tokens.
template <class Model>
Tensor greedy_from(const Model& model, Tensor hidden, VlmCache& cache, Tensor attention_mask,
                   const GenerateConfig& config) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> tokens;
  Tensor done;
  for (std::int64_t step = 0; step < config.max_new_tokens; ++step) {
    Tensor next = model.logits(hidden.slice(1, hidden.size(1) - 1)).argmax(-1);
    if (done.defined()) next = next.masked_fill(done, config.pad_token_id);
    tokens.push_back(next);
    const Tensor ended = next.eq(config.eos_token_id);
    done = done.defined() ? done.logical_or(ended) : ended;
    if (step + 1 == config.max_new_tokens || done.all().template item<bool>()) break;
    if (attention_mask.defined()) {
      const Tensor one = at::ones({next.size(0), 1}, attention_mask.options());
      attention_mask = at::cat({attention_mask, one}, 1);
    }
    hidden = model.hidden({.ids = next, .attention_mask = attention_mask}, {}, &cache);
  }
  return at::cat(tokens, 1);
}

/// Greedy decoding with cache: the most likely token at each step. Texts of different length are padded on
/// the left and `text.attention_mask` says so. `latents` as in VLM::hidden. Returns new ids only.
template <class Model>
Tensor greedy(const Model& model, const TextInput& text, const Tensor& latents,
              const GenerateConfig& config) {
  at::NoGradGuard no_grad;
  VlmCache cache;
  const Tensor hidden = model.hidden(text, latents, &cache);
  return greedy_from(model, hidden, cache, text.attention_mask, config);
}

}  // namespace morphvlm
