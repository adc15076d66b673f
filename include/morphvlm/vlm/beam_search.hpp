// Beam search as transformers (5.x) does it, decision by decision: same beams, same scores.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/vlm/generate_config.hpp"
#include "morphvlm/vlm/sample.hpp"

namespace morphvlm {

/// Where the beams of a batch stand: `running` ones are continued, `finished` ones have ended; both sorted,
/// best first. Only new tokens are kept: the text before them is the same for all beams.
struct BeamSearch {
  GenerateConfig config = {};   ///< how the search goes; num_beams is its width
  Tensor running = {};          ///< int64 [batch, beams, max_new_tokens]
  Tensor running_scores = {};   ///< [batch, beams] sum of log-probabilities
  Tensor finished = {};         ///< int64 [batch, beams, max_new_tokens]
  Tensor finished_scores = {};  ///< [batch, beams] with the length penalty
  Tensor is_finished = {};      ///< bool [batch, beams]
  Tensor lengths = {};          ///< int64 [batch, beams] of the finished, eos included
  Tensor improvable = {};       ///< bool [batch, 1]: a running beam may still beat a finished one
  std::int64_t step = 0;        ///< new tokens so far
  bool done = false;            ///< nothing can change any more
};

/// What a step of beam search asks of the model: these tokens, after the cache of beam rows[i] has come to
/// row i.
struct BeamChoice {
  Tensor tokens = {};  ///< int64 [batch * beams, 1]
  Tensor rows = {};    ///< int64 [batch * beams]
};

/// A search over `batch` texts that has not begun.
inline BeamSearch begin_beam_search(std::int64_t batch, const GenerateConfig& c, const at::Device& device) {
  const auto ids = TensorOptions(at::kLong).device(device), real = TensorOptions(at::kFloat).device(device);
  constexpr double kNever = -1e9;
  BeamSearch s{.config = c};
  s.running = at::full({batch, c.num_beams, c.max_new_tokens}, c.pad_token_id, ids);
  s.finished = s.running.clone();
  // All beams begin equal; only the first is continued, or they would all become the same.
  s.running_scores = at::full({batch, c.num_beams}, kNever, real);
  s.running_scores.select(1, 0).zero_();
  s.finished_scores = at::full({batch, c.num_beams}, kNever, real);
  s.is_finished = at::zeros({batch, c.num_beams}, ids.dtype(at::kBool));
  s.lengths = at::zeros({batch, c.num_beams}, ids);
  s.improvable = at::full({batch, 1}, true, ids.dtype(at::kBool));
  return s;
}

namespace detail {

inline Tensor gather_beams(const Tensor& t, const Tensor& index) {
  if (t.dim() == 2) return t.gather(1, index);
  return t.gather(1, index.unsqueeze(-1).expand({-1, -1, t.size(2)}));
}

// Takes what has just ended into the finished beams, if it is better.
inline void finish_beams(BeamSearch& s, const Tensor& sequences, const Tensor& log_probs,
                         const Tensor& ended) {
  const auto beams = s.config.num_beams;
  const double length = static_cast<double>(s.step + 1);
  // Candidates beyond the first `beams` only stand by to go on.
  Tensor just_ended = ended.clone();
  just_ended.slice(1, beams).fill_(false);
  Tensor scores = log_probs.div(std::pow(length, s.config.length_penalty));
  if (s.config.early_stopping == EarlyStopping::first_full)
    scores = scores.sub(s.is_finished.all(-1, true).to(at::kFloat), 1e9);
  scores = scores.sub(s.improvable.logical_not().to(at::kFloat), 1e9)
               .sub(just_ended.logical_not().to(at::kFloat), 1e9);
  const Tensor all_scores = at::cat({s.finished_scores, scores}, 1);
  const Tensor best = std::get<1>(at::topk(all_scores, beams));
  s.finished = gather_beams(at::cat({s.finished, sequences}, 1), best);
  s.finished_scores = gather_beams(all_scores, best);
  s.is_finished = gather_beams(at::cat({s.is_finished, just_ended}, 1), best);
  const Tensor fresh = at::full_like(scores, s.step + 1, s.lengths.options());
  s.lengths = gather_beams(at::cat({s.lengths, fresh}, 1), best);
}

inline bool can_go_on(BeamSearch& s, const Tensor& ended) {
  const auto& c = s.config;
  const bool longest = c.early_stopping == EarlyStopping::never && c.length_penalty > 0;
  const double length = static_cast<double>(longest ? c.max_new_tokens : s.step);
  const Tensor hope = s.running_scores.slice(1, 0, 1).div(std::pow(length, c.length_penalty));
  const Tensor worst = at::where(s.is_finished, std::get<0>(s.finished_scores.min(1, true)), -1e9);
  s.improvable = s.improvable.logical_and(hope.gt(worst).any(-1, true));
  const bool all_full = c.early_stopping == EarlyStopping::first_full && s.is_finished.all().item<bool>();
  return s.improvable.any().item<bool>() && !all_full && !ended.all().item<bool>();
}

}  // namespace detail

/// One step: log_probs [batch * beams, vocabulary] of the running beams' next tokens, eos already held back
/// where it must be. Sets `done` when nothing is left to do.
inline BeamChoice advance(BeamSearch& s, const Tensor& log_probs) {
  const auto beams = s.config.num_beams, vocabulary = log_probs.size(-1);
  // Enough to go on with, even if all the best ones end.
  const auto keep = std::max<std::int64_t>(2, 1 + std::ssize(s.config.eos_ids())) * beams;
  const Tensor total = log_probs.unflatten(0, {-1, beams}).add(s.running_scores.unsqueeze(-1)).flatten(1);
  const auto [scores, index] = at::topk(total, keep);
  const Tensor from = index.floor_divide(vocabulary), token = index.remainder(vocabulary);
  Tensor sequences = detail::gather_beams(s.running, from);
  sequences.select(2, s.step).copy_(token);
  const bool full = s.step + 1 == s.config.max_new_tokens;
  const Tensor ended =
      full ? at::full_like(token, true, token.options().dtype(at::kBool)) : ends_row(token, s.config);

  const Tensor open = scores.sub(ended.to(at::kFloat), 1e9);
  const Tensor next = std::get<1>(at::topk(open, beams));
  detail::finish_beams(s, sequences, scores, ended);
  s.running = detail::gather_beams(sequences, next);
  s.running_scores = detail::gather_beams(open, next);
  ++s.step;
  s.done = !detail::can_go_on(s, ended);
  const Tensor first = at::arange(from.size(0), from.options()).unsqueeze(-1).mul(beams);
  return {.tokens = detail::gather_beams(token, next).reshape({-1, 1}),
          .rows = detail::gather_beams(from, next).add(first).flatten()};
}

}  // namespace morphvlm
