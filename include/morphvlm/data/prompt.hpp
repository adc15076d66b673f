// Prompts: a template, and what a question and an answer make of it.
#pragma once

#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/image_tokens.hpp"

namespace morphvlm {

/// OpenFlamingo's VQA prompt.
inline constexpr std::string_view kVqaPrompt =
    "<image>Question:{question} Short answer:{answer}<|endofchunk|>";

/// A prompt with its question filled in, cut where the answer begins.
struct FilledPrompt {
  std::string query;   ///< everything before the answer; what a model is asked with
  std::string answer;  ///< the answer and what follows it in the template
};

/// Fills `{question}` and `{answer}` of a template. A space before `{answer}` belongs to the answer, because
/// byte-level tokenizers join it to the word. Errors: a placeholder that is missing or stands twice.
inline FilledPrompt fill_prompt(std::string_view prompt, std::string_view question, std::string_view answer) {
  constexpr std::string_view q = "{question}", a = "{answer}";
  const auto q_at = prompt.find(q), a_at = prompt.find(a);
  expect(q_at != std::string_view::npos && a_at != std::string_view::npos && q_at < a_at &&
             prompt.find(q, q_at + 1) == std::string_view::npos &&
             prompt.find(a, a_at + 1) == std::string_view::npos,
         "prompt \"", prompt, "\": expected {question} and then {answer}, once each");
  const bool space = prompt[a_at - 1] == ' ';
  FilledPrompt out;
  out.query = std::string(prompt.substr(0, q_at)) + std::string(question) +
              std::string(prompt.substr(q_at + q.size(), a_at - q_at - q.size() - (space ? 1 : 0)));
  out.answer = (space ? " " : "") + std::string(answer) + std::string(prompt.substr(a_at + a.size()));
  return out;
}

}  // namespace morphvlm
