// Multimodal-GPT's instruction format: prompts, answers and which tokens are learned. Reference:
// mmgpt/datasets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/prompt.hpp"
#include "morphvlm/data/vqa_text.hpp"

namespace morphvlm {

/// An instruction and its response.
struct InstructionText {
  std::string instruction = {};  ///< everything before the response
  std::string answer = {};       ///< the response, which is what is learned
};

/// The prompt: with a picture if `image`, with options or other input if that is not empty.
inline std::string instruction_prompt(std::string_view instruction, std::string_view input = {},
                                      bool image = true) {
  std::string text =
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n";
  if (image) text += "### Image:\n" + std::string(kImageToken) + "\n\n";
  text += "### Instruction:\n" + std::string(instruction) + "\n\n";
  if (!input.empty()) text += "### Input:\n" + std::string(input) + "\n\n";
  return text + "### Response:\n";
}

/// Choices as the prompt lists them.
inline std::string join_options(const std::vector<std::string>& options) {
  std::string text;
  for (const auto& option : options) text += (text.empty() ? "" : ", ") + option;
  return text;
}

/// A-OKVQA's training answer: the correct choice and why.
inline std::string aokvqa_answer(const VqaExample& e) {
  expect(e.correct_choice >= 0, "A-OKVQA: question \"", e.id, "\" does not tell its answer");
  std::string text =
      "The answer is " + e.choices.at(static_cast<std::size_t>(e.correct_choice)) + ". Because";
  for (const auto& rationale : e.rationales) text += ' ' + rationale;
  return text;
}

/// What a generated text says as a response: what follows the last "### Response:", trimmed.
inline std::string response_of_generation(std::string_view generated) {
  constexpr std::string_view kSplit = "### Response:", kSpace = " \t\n\r\f\v";
  const auto at = generated.rfind(kSplit);
  if (at != std::string_view::npos) generated.remove_prefix(at + kSplit.size());
  const auto first = generated.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  return std::string(generated.substr(first, generated.find_last_not_of(kSpace) - first + 1));
}

/// Token ids and labels of one text; kIgnoredLabel is not learned.
struct LabelledIds {
  TokenIds ids = {};     ///< at most InstructionTokens::max_length
  TokenIds labels = {};  ///< as many as ids, at the same places: not shifted
};

/// The tokens that instruction tuning needs to know.
struct InstructionTokens {
  std::int64_t eos = -1;          ///< stands behind the answer; must be set
  std::int64_t pad = -1;          ///< never learned, wherever it stands; -1: none
  std::int64_t media = -1;        ///< -1: texts have no picture
  std::int64_t max_length = 512;  ///< of a text; what is longer is cut off at its end
};

/// Tokenizes with `encode` (text -> ids, bos included where the tokenizer puts one): instruction and answer
/// in one piece, cut at max_length, eos behind it where there is room. Not learned: the instruction (by its
/// own number of tokens), the first token, padding, the media token.
template <class Encode>
LabelledIds label_instruction(const InstructionText& text, const InstructionTokens& tokens, Encode&& encode) {
  const auto cut = [&](TokenIds ids) {
    if (std::ssize(ids) > tokens.max_length) ids.resize(static_cast<std::size_t>(tokens.max_length));
    return ids;
  };
  LabelledIds out{.ids = cut(encode(text.instruction + text.answer))};
  expect(!out.ids.empty(), "instruction: the text has no tokens");
  if (out.ids.back() != tokens.eos && std::ssize(out.ids) < tokens.max_length) out.ids.push_back(tokens.eos);
  out.labels = out.ids;
  const auto ignored = std::max<std::size_t>(1, cut(encode(text.instruction)).size());
  std::fill_n(out.labels.begin(), std::min(ignored, out.labels.size()), kIgnoredLabel);
  for (auto& label : out.labels) label = label == tokens.pad || label == tokens.media ? kIgnoredLabel : label;
  return out;
}

/// A training batch of labelled texts, right-padded.
inline Batch collate_labelled(std::span<const LabelledIds> rows, std::int64_t pad) {
  std::vector<TokenIds> ids, labels;
  for (const auto& row : rows) {
    ids.push_back(row.ids);
    labels.push_back(row.labels);
  }
  const PaddedIds padded = pad_rows(ids, pad, Padding::right);
  return {{.ids = padded.ids, .attention_mask = padded.mask},
          pad_rows(labels, kIgnoredLabel, Padding::right).ids};
}

}  // namespace morphvlm
