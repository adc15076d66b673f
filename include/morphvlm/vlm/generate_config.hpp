// How a text is continued.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// When beam search stops a text (transformers: False, True, "never"). `heuristic`: when no running beam, at
/// its present length, would beat the worst finished one. `first_full`: as soon as there are as many finished
/// beams as beams. `never`: when no running beam could do so at any length.
enum class EarlyStopping { heuristic, first_full, never };

/// Their names in configs.
template <>
inline constexpr std::array<std::pair<EarlyStopping, std::string_view>, 3> enum_names<EarlyStopping>{
    {{EarlyStopping::heuristic, "heuristic"},
     {EarlyStopping::first_full, "first_full"},
     {EarlyStopping::never, "never"}}};

/// Greedy unless it says otherwise. Names and meanings are transformers' GenerationConfig's.
struct GenerateConfig {
  std::int64_t max_new_tokens = 5;                     ///< OpenFlamingo's VQA setting
  std::int64_t eos_token_id = -1;                      ///< ends a row; -1: nothing does
  std::int64_t pad_token_id = 0;                       ///< fills a row that has ended
  std::vector<std::int64_t> other_eos_token_ids = {};  ///< end a row as well
  std::int64_t min_new_tokens = 0;                     ///< eos is not chosen before so many

  std::int64_t num_beams = 1;             ///< more than one: beam search
  std::int64_t num_return_sequences = 1;  ///< beams returned for each row, best first
  /// The log-probability of a finished beam is divided by its length to this power. OpenFlamingo: 0.
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::heuristic;  ///< of beam search

  bool do_sample = false;    ///< draws from the distribution that the next three leave
  double temperature = 1.0;  ///< divides the logits, first
  std::int64_t top_k = 0;    ///< only the k likeliest; 0: all
  double top_p = 1.0;        ///< only the likeliest that make up this share, last
  /// Of sampling: a row draws from the stream of seed and its number, whatever stands beside it. `streams`
  /// holds the rows' numbers, such as those of a data set; empty: 0, 1, ...
  std::int64_t seed = 0;
  std::vector<std::int64_t> streams = {};  ///< the rows' numbers; empty: 0, 1, ...

  /// On CUDA, steps are replayed from a recorded graph where that pays; no result changes. See Reading.
  bool use_graph = true;

  /// All tokens that end a row.
  std::vector<std::int64_t> eos_ids() const {
    std::vector<std::int64_t> ids = other_eos_token_ids;
    if (eos_token_id >= 0) ids.push_back(eos_token_id);
    return ids;
  }
};

/// OpenFlamingo's evaluation of VQA: three beams, no length penalty, at most five tokens.
inline GenerateConfig openflamingo_vqa_generation(std::int64_t eos_token_id, std::int64_t pad_token_id) {
  return {.eos_token_id = eos_token_id, .pad_token_id = pad_token_id, .num_beams = 3, .length_penalty = 0.0};
}

/// The most beams: each holds keys and values of its own, so far more are a slip, found before memory is
/// taken.
inline constexpr std::int64_t kMostBeams = 512;

/// An Error naming the field that makes no sense, for a vocabulary of so many tokens.
inline void check_generate_config(const GenerateConfig& c, std::int64_t vocabulary) {
  expect(c.max_new_tokens > 0, "generate: max_new_tokens: expected at least 1, found ", c.max_new_tokens);
  expect(c.min_new_tokens >= 0 && c.min_new_tokens <= c.max_new_tokens,
         "generate: min_new_tokens: expected 0 to max_new_tokens (", c.max_new_tokens, "), found ",
         c.min_new_tokens);
  expect(c.num_beams <= kMostBeams, "generate: num_beams: expected 1 to ", kMostBeams, ", found ",
         c.num_beams);
  // Each beam needs candidates beside those that end.
  const auto candidates = (std::max<std::int64_t>(1, std::ssize(c.eos_ids())) + 1) * c.num_beams;
  expect(c.num_beams >= 1 && (c.num_beams == 1 || candidates <= vocabulary * c.num_beams),
         "generate: num_beams: ", c.num_beams, " beams and ", c.eos_ids().size(),
         " eos tokens do not go with a vocabulary of ", vocabulary);
  expect(!c.do_sample || c.num_beams == 1, "generate: do_sample goes with num_beams 1, found ", c.num_beams);
  expect(c.temperature > 0, "generate: temperature: expected more than 0, found ", c.temperature);
  expect(c.top_k >= 0, "generate: top_k: expected 0 or more, found ", c.top_k);
  expect(c.top_p > 0 && c.top_p <= 1, "generate: top_p: expected more than 0 and at most 1, found ", c.top_p);
  expect(c.num_return_sequences >= 1 && c.num_return_sequences <= c.num_beams,
         "generate: num_return_sequences: expected 1 to num_beams (", c.num_beams, "), found ",
         c.num_return_sequences);
  for (const auto id : c.eos_ids())
    expect(id >= 0 && id < vocabulary, "generate: eos token ", id, " is not in a vocabulary of ", vocabulary);
}

}  // namespace morphvlm
