// Pre-tokenisation: how a text is cut into words before byte-pair merging, which never crosses a word's edge.
// A pre-tokenizer is a list of steps; every step works on each piece that the step before has left.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/text/regex.hpp"

namespace morphvlm {

/// One step: an optional leading space, then a cut along a pattern. Matches are pieces, and so is what lies
/// between them ("Isolated"); an empty pattern does not cut.
struct PreTokenStep {
  std::string pattern = {};       ///< as compile_regex takes it
  bool add_prefix_space = false;  ///< a space before each piece that does not begin with one
};

/// GPT-2's words: contractions, letters, digits and signs with the one space before them, white space.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// LLaMA-3's words: contractions in either case, digits in groups of three, line ends kept with signs.
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
/// Qwen2's words: LLaMA-3's with single digits.
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Whether `name` is GPT-NeoX's tokenizer or one made from it: GPT-2's words, on text in NFC.
inline bool is_neox_kind(std::string_view name) {
  return name == "gpt-neox" || name == "gptneox" || name == "mpt" || name == "olmo";
}

/// Whether `name` is LLaMA-3's tokenizer: in GGUF it says more than how words are cut.
inline bool is_llama3_kind(std::string_view name) { return name == "llama-bpe" || name == "llama3"; }

/// The steps of a pre-tokenizer known by name, in GGUF's spelling (`tokenizer.ggml.pre`): gpt-2, gpt-neox,
/// mpt, olmo, smollm, starcoder, llama-bpe, qwen2 and their aliases. Any other name is an error that lists
/// them.
inline std::vector<PreTokenStep> named_pre_tokenizer(std::string_view name) {
  const auto step = [](std::string_view pattern) { return PreTokenStep{std::string(pattern)}; };
  if (name == "gpt-2" || name == "gpt2" || is_neox_kind(name)) return {step(kGpt2Pattern)};
  if (name == "smollm" || name == "starcoder") return {step(R"(\p{N})"), step(kGpt2Pattern)};
  if (is_llama3_kind(name)) return {step(kLlama3Pattern)};
  if (name == "qwen2") return {step(kQwen2Pattern)};
  fail(
      "pre-tokenizer \"", name,
      "\": unknown; known are gpt-2, gpt2, gpt-neox, mpt, olmo, smollm, starcoder, llama-bpe, llama3, qwen2");
}

/// A pre-tokenizer ready for use.
struct PreTokenizer {
  /// A PreTokenStep with its pattern compiled.
  struct Step {
    Regex cut;                      ///< no code: does not cut
    bool add_prefix_space = false;  ///< as in PreTokenStep
  };
  std::vector<Step> steps;  ///< each cuts the pieces of the one before
};

/// Compiles the patterns; a bad one is an error.
inline PreTokenizer compile_pre_tokenizer(const std::vector<PreTokenStep>& steps) {
  PreTokenizer out;
  for (const PreTokenStep& s : steps)
    out.steps.push_back({s.pattern.empty() ? Regex{} : compile_regex(s.pattern), s.add_prefix_space});
  return out;
}

namespace detail {

inline void cut_piece(const Regex& cut, std::string_view piece, std::vector<std::string>& out) {
  std::size_t done = 0;
  for_each_match(cut, piece, [&](std::size_t begin, std::size_t end) {
    if (begin > done) out.emplace_back(piece.substr(done, begin - done));
    out.emplace_back(piece.substr(begin, end - begin));
    done = end;
  });
  if (done < piece.size()) out.emplace_back(piece.substr(done));
}

}  // namespace detail

/// Cuts `text` (UTF-8) into words; joined together they give the text again, but for spaces that a step adds.
inline std::vector<std::string> pre_tokenize(const PreTokenizer& pre, std::string_view text) {
  std::vector<std::string> pieces;
  if (!text.empty()) pieces.emplace_back(text);
  for (const PreTokenizer::Step& step : pre.steps) {
    std::vector<std::string> next;
    for (std::string& piece : pieces) {
      if (step.add_prefix_space && piece.front() != ' ') piece.insert(piece.begin(), ' ');
      if (step.cut.code)
        detail::cut_piece(step.cut, piece, next);
      else
        next.push_back(std::move(piece));
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace morphvlm
