// Decoding answers: greedy, by sampling, by beam search.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <vector>

#include "morphvlm/kernels/cuda/async_flag.hpp"
#include "morphvlm/vlm/beam_search.hpp"
#include "morphvlm/vlm/sample.hpp"
#include "morphvlm/vlm/token_reader.hpp"
#include "morphvlm/vlm/vlm.hpp"

namespace morphvlm {

/// What was generated: num_return_sequences rows for each text.
struct Generated {
  Tensor ids = {};      ///< int64 [rows, n], n <= max_new_tokens: new ids only, padded after the end
  Tensor lengths = {};  ///< int64 [rows]: new tokens up to the end, eos included
  Tensor scores = {};   ///< [rows] of the beams, with the length penalty; undefined without beam search
};

namespace detail {

template <class Model>
Generated continue_rows(const Model& model, const Tensor& hidden, TokenReader<Model>& reader,
                        const GenerateConfig& c) {
  std::vector<Tensor> tokens;
  Tensor logits = last_logits(model, hidden);
  const auto batch = hidden.size(0);
  const auto options = TensorOptions(at::kLong).device(hidden.device());
  Tensor done = at::zeros({batch}, options.dtype(at::kBool)), lengths = at::zeros({batch}, options);
  AsyncFlag all_done;
  for (std::int64_t step = 0; step < c.max_new_tokens; ++step) {
    const Tensor next = choose_token(logits, c, step).masked_fill(done, c.pad_token_id);
    tokens.push_back(next);
    lengths = lengths.add(done.logical_not().to(at::kLong));
    done = done.logical_or(ends_row(next, c));
    if (step + 1 == c.max_new_tokens || all_done.exchange(done.all())) break;
    logits = reader.read(next.unsqueeze(1));
  }
  // All may have ended a token ago, which all_done then says late.
  return {.ids = at::stack(tokens, 1).slice(1, 0, lengths.max().template item<std::int64_t>()),
          .lengths = lengths};
}

template <class Model>
Generated continue_beams(const Model& model, const Tensor& hidden, VlmCache& cache, Tensor mask,
                         Reading reading, const GenerateConfig& c) {
  const auto batch = hidden.size(0), beams = c.num_beams;
  BeamSearch search = begin_beam_search(batch, c, hidden.device());
  const auto log_probs = [&](const Tensor& logits) {
    return hold_back_eos(at::log_softmax(logits.to(at::kFloat), -1), c, search.step);
  };
  // The text was read once; its beams part here.
  const Tensor owner =
      at::arange(batch, TensorOptions(at::kLong).device(hidden.device())).repeat_interleave(beams);
  const Tensor itself = at::arange(batch * beams, owner.options());
  cache = cache.select(owner);
  if (mask.defined()) mask = mask.index_select(0, owner);
  // All beams of a text share what was read before they parted.
  const auto same = cache.text.length();
  TokenReader<Model> reader(model, cache, mask, c.max_new_tokens, reading);
  BeamChoice choice = advance(search, log_probs(last_logits(model, hidden)).index_select(0, owner));
  while (!search.done) {
    if (!choice.rows.equal(itself)) reader.reorder(choice.rows, same);
    choice = advance(search, log_probs(reader.read(choice.tokens)));
  }
  const auto best = [&](const Tensor& t) { return t.slice(1, 0, c.num_return_sequences).flatten(0, 1); };
  const Tensor lengths = best(search.lengths);
  return {.ids = best(search.finished).slice(1, 0, lengths.max().template item<std::int64_t>()),
          .lengths = lengths,
          .scores = best(search.finished_scores)};
}

}  // namespace detail

/// Continues from a state: `hidden` is the last position's output [batch, 1, dim], `cache` what was read,
/// `attention_mask` [batch, read] or undefined. The cache is spent: it then holds what generation left in it.
template <class Model>
Generated generate_from(const Model& model, const Tensor& hidden, VlmCache& cache,
                        const Tensor& attention_mask, const GenerateConfig& config) {
  at::NoGradGuard no_grad;
  check_generate_config(config, model.config.language.vocab_size);
  const auto reading =
      config.use_graph ? fastest_reading(hidden.device(), config.max_new_tokens) : Reading::growing;
  if (config.num_beams > 1)
    return detail::continue_beams(model, hidden, cache, attention_mask, reading, config);
  TokenReader<Model> reader(model, cache, attention_mask, config.max_new_tokens, reading);
  return detail::continue_rows(model, hidden, reader, config);
}

/// Continues texts, which are read once, as are the images. Texts of different length are padded on the left
/// and `text.attention_mask` says so. `latents` as in VLM::hidden.
template <class Model>
Generated generate(const Model& model, const TextInput& text, const Tensor& latents,
                   const GenerateConfig& config) {
  at::NoGradGuard no_grad;
  check_generate_config(config, model.config.language.vocab_size);
  VlmCache cache;
  const Tensor hidden = model.hidden(text, latents, &cache);
  return generate_from(model, hidden, cache, text.attention_mask, config);
}

}  // namespace morphvlm
