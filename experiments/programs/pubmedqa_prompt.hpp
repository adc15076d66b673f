// PubMedQA's prompt within a number of tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/instruction_sets.hpp"
#include "morphvlm/data/pubmedqa.hpp"
#include "morphvlm/text/data_text.hpp"
#include "morphvlm/text/tokenizer.hpp"

namespace morphvlm::experiments {

/// The example, its words as ordinary text.
inline PubMedQaExample plain_words(PubMedQaExample example, const DataText& words) {
  example.question = words(example.question, "its question");
  for (auto& context : example.contexts) context = words(context, "its contexts");
  return example;
}

/// A question with as much of the contexts' words as leaves the prompt within `limit` tokens. Error: the
/// question alone is longer.
inline std::string pubmedqa_prompt(const PubMedQaExample& example, const Tokenizer& tokenizer,
                                   std::int64_t limit) {
  const std::string whole = pubmedqa_instruction(example).instruction;
  if (std::ssize(encode_sequence(tokenizer, whole)) <= limit) return whole;
  const std::string contexts = pubmedqa_input(example);
  std::vector<std::size_t> ends;  // of its words
  for (std::size_t i = 1; i <= contexts.size(); ++i)
    if (i == contexts.size() || contexts[i] == ' ' || contexts[i] == '\n') ends.push_back(i);
  const auto prompt = [&](std::size_t words) {
    return instruction_prompt(example.question, contexts.substr(0, words == 0 ? 0 : ends[words - 1]), false);
  };
  std::size_t fits = 0, too_many = ends.size();
  while (fits + 1 < too_many) {
    const std::size_t middle = (fits + too_many) / 2;
    (std::ssize(encode_sequence(tokenizer, prompt(middle))) <= limit ? fits : too_many) = middle;
  }
  const std::string cut = prompt(fits);
  expect(std::ssize(encode_sequence(tokenizer, cut)) <= limit, "PubMedQA: ", example.id,
         ": the question alone has more than max_tokens ", limit, " tokens");
  return cut;
}

}  // namespace morphvlm::experiments
