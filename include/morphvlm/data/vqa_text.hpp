// From words to the tokens that a VLM is asked with and trained on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/prompt.hpp"

namespace morphvlm {

/// Ids of a text's tokens.
using TokenIds = std::vector<std::int64_t>;

/// One question's tokens. The query is cut at its first media token: nothing before it depends on the image.
struct VqaTokens {
  TokenIds prefix = {};  ///< before the media token
  TokenIds rest = {};    ///< the media token and what follows, up to the answer
  TokenIds answer = {};  ///< the answer and the token that ends it
};

/// The whole text as one sequence.
inline TokenIds whole_text(const VqaTokens& t) {
  TokenIds ids = t.prefix;
  ids.insert(ids.end(), t.rest.begin(), t.rest.end());
  ids.insert(ids.end(), t.answer.begin(), t.answer.end());
  return ids;
}

/// Tokenizes a filled prompt with `encode` (text -> ids). Query and answer are tokenized apart, so that
/// training sees the very query that a question will be asked with. Errors: no media token in the query; one
/// in the question or the answer, for which there is no picture (see DataText).
template <class Encode>
VqaTokens tokenize_vqa(std::string_view prompt, std::string_view question, std::string_view answer,
                       std::int64_t media_token, Encode&& encode) {
  const auto expect_none = [&](const char* what, std::string_view text) {
    const TokenIds ids = text.empty() ? TokenIds{} : TokenIds(encode(std::string(text)));
    expect(std::ranges::count(ids, media_token) == 0, what, " \"", text, "\": expected no media token (id ",
           media_token, ") in it, since there is no picture for one");
  };
  expect_none("question", question);
  expect_none("answer", answer);
  const FilledPrompt filled = fill_prompt(prompt, question, answer);
  const TokenIds query = encode(filled.query);
  const auto media = std::ranges::find(query, media_token);
  expect(media != query.end(), "prompt \"", prompt, "\": expected the media token (id ", media_token,
         ") in the query, found none");
  return {TokenIds(query.begin(), media), TokenIds(media, query.end()), encode(filled.answer)};
}

}  // namespace morphvlm
