// What transformers' Python tokenizers share: added tokens are cut out of the text, the rest goes to the
// model piece by piece; decoding puts added tokens between the texts of what stands between them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/added_tokens.hpp"

namespace morphvlm {

/// The tokens that have a role. A role that no token plays is empty.
struct TokenRoles {
  std::optional<std::int64_t> bos,  ///< `bos_token`: begins a sequence
      eos,                          ///< `eos_token`: ends one
      unk,                          ///< `unk_token`: stands for what the vocabulary cannot spell
      pad,                          ///< `pad_token`: fills the rows of a batch
      sep;                          ///< `sep_token`: what BioGPT begins a sequence with

  /// Whether `id` plays one of the roles.
  bool has(std::int64_t id) const { return id == bos || id == eos || id == unk || id == pad || id == sep; }
};

/// A model's vocabulary of `base` tokens, and the tokens added to it: some name tokens that the vocabulary
/// has, the others' ids go on from `base` without a hole.
struct AddedVocabulary {
  std::int64_t base = 0;                                  ///< tokens of the model's own, with ids below this
  std::vector<AddedToken> tokens = {};                    ///< all added ones, each once
  AddedTokenFinder finder = {};                           ///< of `tokens`
  std::unordered_map<std::int64_t, std::size_t> at = {};  ///< id -> index into tokens
  std::unordered_map<std::string, std::int64_t> id_of = {};  ///< text -> id
  std::int64_t size = 0;                                     ///< ids in all

  /// Takes the tokens; an id that does not fit in, or a token that stands there twice, is an error led by
  /// `where`.
  static AddedVocabulary make(std::int64_t base, std::vector<AddedToken> tokens, std::string_view where) {
    AddedVocabulary out{.base = base, .tokens = std::move(tokens)};
    std::int64_t beyond = 0;
    for (std::size_t i = 0; i < out.tokens.size(); ++i) {
      const AddedToken& token = out.tokens[i];
      expect(!token.text.empty(), where, ": added token with id ", token.id, " is empty");
      expect_utf8(token.text, "added token");
      expect(!token.single_word, where, ": added token \"", token.text,
             "\": \"single_word\" is not supported here");
      expect(out.at.emplace(token.id, i).second, where, ": two added tokens have id ", token.id);
      expect(out.id_of.emplace(token.text, token.id).second, where, ": added token \"", token.text,
             "\" stands there twice");
      beyond += token.id >= base ? 1 : 0;
    }
    out.size = base + beyond;
    for (const AddedToken& token : out.tokens)
      expect(token.id >= 0 && token.id < out.size, where, ": added token \"", token.text, "\" has id ",
             token.id, ", expected ids up to ", out.size - 1, " without a hole");
    out.finder = AddedTokenFinder(out.tokens);
    return out;
  }

  /// The added token with this id, or null.
  const AddedToken* find(std::int64_t id) const {
    const auto found = at.find(id);
    return found == at.end() ? nullptr : &tokens[found->second];
  }
};

namespace detail {

/// Adds a token to a tokenizer with `added` and `spec.added`; see add_token.
template <class T>
std::int64_t add_to_vocabulary(T& tokenizer, AddedToken token) {
  AddedVocabulary& added = tokenizer.added;
  const std::int64_t id = token.id = token_id(tokenizer, token.text).value_or(added.size);
  if (added.find(id) != nullptr) return id;
  tokenizer.spec.added.push_back(std::move(token));
  added = AddedVocabulary::make(added.base, tokenizer.spec.added, "tokenizer");
  return id;
}

/// transformers' rule for what stands alone when decoding: added tokens that play no role.
inline bool stands_alone(const AddedVocabulary& added, const TokenRoles& roles, std::int64_t id) {
  const AddedToken* token = added.find(id);
  return token != nullptr && !roles.has(id) && (!token->special || id >= added.base);
}

/// Ids of a text: `piece(text, out)` appends those of the text between two added tokens.
template <class Piece>
std::vector<std::int64_t> encode_sections(const AddedVocabulary& added, std::string_view text,
                                          Piece&& piece) {
  const MarkedText marked = read_marks(text);
  expect_utf8(marked.text, "tokenizer: text to encode");
  std::vector<std::int64_t> out;
  for (const TextSection& section : added.finder.split(marked.text, marked.plain)) {
    if (section.id)
      out.push_back(*section.id);
    else
      piece(section.text, out);
  }
  return out;
}

/// The text of ids: `to_text(ids)` gives that of a run without tokens that stand alone. Runs and those tokens
/// are joined with spaces, as transformers' Python tokenizers do. An id beyond the vocabulary is taken for
/// the token `beyond`, which is text even where special tokens are left out; without one it is left out.
template <class ToText>
std::string decode_sections(const AddedVocabulary& added, const TokenRoles& roles,
                            std::span<const std::int64_t> ids, bool skip_special,
                            std::optional<std::int64_t> beyond, ToText&& to_text) {
  std::vector<std::string> parts;
  std::vector<std::int64_t> run;
  for (const std::int64_t id : ids) {
    expect(id >= 0, "tokenizer: id ", id, " is negative");
    if (id >= added.size) {
      if (beyond) run.push_back(*beyond);
      continue;
    }
    const AddedToken* token = added.find(id);
    const bool special = roles.has(id) || (token != nullptr && token->special);
    if (skip_special && special) continue;
    if (!stands_alone(added, roles, id)) {
      run.push_back(id);
      continue;
    }
    std::string text = run.empty() ? std::string() : to_text(run);
    if (!text.empty()) parts.push_back(std::move(text));
    run.clear();
    parts.push_back(token->text);
  }
  if (!run.empty()) parts.push_back(to_text(run));
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) (out += i > 0 ? " " : "") += parts[i];
  return out;
}

}  // namespace detail

}  // namespace morphvlm
