// One tokenizer type for all language models, whatever is inside.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "morphvlm/text/bio_gpt_tokenizer.hpp"
#include "morphvlm/text/bpe.hpp"
#include "morphvlm/text/image_tokens.hpp"
#include "morphvlm/text/piece_bpe.hpp"
#include "morphvlm/text/sentence_piece.hpp"

namespace morphvlm {

/// A language model's tokenizer. A value: copies are independent but for read-only tables and caches;
/// encoding and decoding are safe from many threads.
struct Tokenizer {
  std::variant<ByteLevelBpe, SentencePiece, BioGPTBpe, PieceBpe> kind;  ///< which algorithm, with its tables
  /// Whether decoding takes out the spaces before English punctuation (`clean_up_tokenization_spaces`).
  bool clean_up_spaces = false;

  /// One of GPT-2's kind; see make_byte_level_bpe.
  Tokenizer(ByteLevelBpe bpe) : kind(std::move(bpe)) {}  // NOLINT: a kind is a tokenizer
  /// One of LLaMA's kind; see make_sentence_piece.
  Tokenizer(SentencePiece pieces) : kind(std::move(pieces)) {}  // NOLINT
  /// BioGPT's; see make_bio_gpt.
  Tokenizer(BioGPTBpe bpe) : kind(std::move(bpe)) {}  // NOLINT
  /// LLaMA's as a tokenizer.json; see make_piece_bpe.
  Tokenizer(PieceBpe bpe) : kind(std::move(bpe)) {}  // NOLINT
};

/// The tokens with a role; this kind has no `sep`.
inline TokenRoles token_roles(const ByteLevelBpe& bpe) {
  return {bpe.spec.bos_id, bpe.spec.eos_id, bpe.spec.unk_id, bpe.spec.pad_id, std::nullopt};
}
/// The tokens with a role: the settings', else the model's.
inline TokenRoles token_roles(const SentencePiece& pieces) { return pieces.spec.roles; }
/// The tokens with a role; `unk` and `sep` are always among them.
inline TokenRoles token_roles(const BioGPTBpe& bpe) { return bpe.spec.roles; }
/// The tokens with a role; `unk` is the model's own.
inline TokenRoles token_roles(const PieceBpe& bpe) { return bpe.spec.roles; }
/// The tokens with a role, whatever the kind.
inline TokenRoles token_roles(const Tokenizer& tokenizer) {
  return std::visit([](const auto& kind) { return token_roles(kind); }, tokenizer.kind);
}

/// Gives the role of padding to a token that is in the vocabulary or was added.
inline void set_pad(Tokenizer& tokenizer, std::int64_t id) {
  if (auto* bpe = std::get_if<ByteLevelBpe>(&tokenizer.kind)) bpe->spec.pad_id = id;
  if (auto* pieces = std::get_if<SentencePiece>(&tokenizer.kind)) pieces->spec.roles.pad = id;
  if (auto* bpe = std::get_if<BioGPTBpe>(&tokenizer.kind)) bpe->spec.roles.pad = id;
  if (auto* bpe = std::get_if<PieceBpe>(&tokenizer.kind)) bpe->spec.roles.pad = id;
}

/// The number of ids, `len(tokenizer)` in transformers: what an embedding table needs as rows.
inline std::int64_t vocab_size(const Tokenizer& tokenizer) {
  return std::visit([](const auto& kind) { return vocab_size(kind); }, tokenizer.kind);
}

/// The id of the token spelled `token` (as the vocabulary spells it), if there is one.
inline std::optional<std::int64_t> token_id(const Tokenizer& tokenizer, const std::string& token) {
  return std::visit([&](const auto& kind) { return token_id(kind, token); }, tokenizer.kind);
}

/// Makes a token an added one, found in texts as a whole, and returns its id: as in transformers the next
/// free one
/// (`vocab_size`), or its own if the vocabulary has it. The token's own `id` is not looked at.
inline std::int64_t add_token(Tokenizer& tokenizer, AddedToken token) {
  return std::visit([&](auto& kind) { return add_token(kind, std::move(token)); }, tokenizer.kind);
}
/// The same for a special token.
inline std::int64_t add_token(Tokenizer& tokenizer, const std::string& text) {
  return add_token(tokenizer, AddedToken{.text = text});
}
/// Adds special tokens one after the other; their ids.
inline std::vector<std::int64_t> add_tokens(Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::vector<std::int64_t> ids;
  for (const std::string& text : texts) ids.push_back(add_token(tokenizer, text));
  return ids;
}

/// The tokens that join text and images, and padding.
struct MediaTokens {
  std::int64_t end_of_chunk = 0,  ///< id of `<|endofchunk|>`
      image = 0,                  ///< id of `<image>`
      pad = 0;                    ///< id of `<PAD>`, or of what padded already
};

/// Adds what OpenFlamingo adds, in its order: `<|endofchunk|>`, `<image>`, and `<PAD>` where nothing pads
/// yet.
inline MediaTokens add_media_tokens(Tokenizer& tokenizer) {
  MediaTokens ids;
  ids.end_of_chunk = add_token(tokenizer, std::string(kEndOfChunk));
  ids.image = add_token(tokenizer, std::string(kImageToken));
  const auto pad = token_roles(tokenizer).pad;
  ids.pad = pad ? *pad : add_token(tokenizer, std::string("<PAD>"));
  if (!pad) set_pad(tokenizer, ids.pad);
  return ids;
}

/// The ids of `text` (UTF-8; an error otherwise), nothing added before or after.
inline std::vector<std::int64_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  return std::visit([&](const auto& kind) { return encode(kind, text); }, tokenizer.kind);
}

/// The ids of a text that stands alone, with what the tokenizer puts around it: bos for LLaMA, `</s>` before
/// BioGPT's.
inline std::vector<std::int64_t> encode_sequence(const Tokenizer& tokenizer, std::string_view text) {
  return std::visit([&](const auto& kind) { return encode_sequence(kind, text); }, tokenizer.kind);
}

namespace detail {

/// transformers' clean-up: spaces before punctuation and English contractions go.
inline std::string clean_up_spaces(std::string text) {
  for (const std::string_view mark : {".", "?", "!", ","}) replace_all(text, " " + std::string(mark), mark);
  replace_all(text, " ' ", "'");
  for (const std::string_view end : {"n't", "'m", "'s", "'ve", "'re"})
    replace_all(text, " " + std::string(end), end);
  return text;
}

}  // namespace detail

/// The text of `ids`, always valid UTF-8; `skip_special` leaves special tokens out. An id beyond the
/// vocabulary, as a model with a padded embedding can give, has no text (in BioGPT's that of the unknown
/// token, as in transformers); a negative one is an error.
inline std::string decode(const Tokenizer& tokenizer, std::span<const std::int64_t> ids,
                          bool skip_special = false) {
  std::string text =
      std::visit([&](const auto& kind) { return decode(kind, ids, skip_special); }, tokenizer.kind);
  return tokenizer.clean_up_spaces ? detail::clean_up_spaces(std::move(text)) : text;
}

}  // namespace morphvlm
