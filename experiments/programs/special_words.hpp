// --special_tokens: what "<image>" in a question or an answer is.
#pragma once

#include <string>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/text/data_text.hpp"

namespace morphvlm::experiments {

/// Its note.
inline constexpr FieldNote kSpecialTokensNote{
    "special_tokens", "error, or text: what the spelling of a special token in questions and answers is"};

/// The rule by its name. Error: it is not known; `flag` leads it.
inline SpecialInData special_in_data(const std::string& name, const char* flag) {
  expect(name == "error" || name == "text", flag, ": expected error or text, found \"", name, '"');
  return name == "text" ? SpecialInData::text : SpecialInData::refuse;
}

}  // namespace morphvlm::experiments
