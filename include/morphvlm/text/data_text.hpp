// Special tokens in words that people wrote: a question with "<image>" in it would have a picture too many.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/added_tokens.hpp"
#include "morphvlm/text/tokenizer.hpp"

namespace morphvlm {

/// What a special token's spelling in a data set's questions and answers is.
enum class SpecialInData {
  refuse,  ///< an error
  text     ///< ordinary text, as `split_special_tokens` has it
};

/// Makes questions and answers of a data set ready to stand in a prompt.
class DataText {
 public:
  /// Knows the tokenizer's special tokens as they are now: make it after adding `<image>` and the like.
  explicit DataText(const Tokenizer& tokenizer, SpecialInData rule = SpecialInData::refuse) : rule_(rule) {
    std::vector<AddedToken> special;
    std::visit(
        [&](const auto& kind) {
          for (const AddedToken& token : kind.spec.added)
            if (token.special) special.push_back({.text = token.text, .id = token.id});
        },
        tokenizer.kind);
    finder_ = AddedTokenFinder(std::move(special));
  }

  /// `text`, which `encode` will take as it is meant: nothing but ordinary text. A text with a special token
  /// in it is an error that names the token and is led by `where` (the row), or comes back with marks that
  /// `encode` reads; marked text is not UTF-8 and only for prompts.
  std::string operator()(std::string_view text, std::string_view where) const {
    std::string out;
    for (const TextSection& section : finder_.split(text)) {
      expect(!section.id || rule_ == SpecialInData::text, where, ": \"", text, "\": special token \"",
             section.text, "\" in the data; take it out, or have special tokens in data taken as text");
      if (section.id)
        ((out += detail::kPlainBegin) += section.text) += detail::kPlainEnd;
      else
        out += section.text;
    }
    return out;
  }

 private:
  AddedTokenFinder finder_;
  SpecialInData rule_;
};

}  // namespace morphvlm
