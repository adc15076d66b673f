// Byte-level byte-pair encoding, the tokenizer of GPT-2's kind: text <-> token ids.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/added_tokens.hpp"
#include "morphvlm/text/bpe_merge.hpp"
#include "morphvlm/text/byte_level.hpp"
#include "morphvlm/text/normalize.hpp"
#include "morphvlm/text/pre_tokenizer.hpp"

namespace morphvlm {

/// Everything that decides a byte-level tokenizer, whatever file it comes from (bpe_gguf.hpp, bpe_json.hpp).
struct BpeSpec {
  std::vector<std::string> tokens;  ///< by id, in the byte alphabet; added ones verbatim
  std::vector<std::pair<std::string, std::string>> merges;  ///< first rule first
  std::vector<AddedToken> added;                            ///< their ids are ids of `tokens`
  Normalization normalization = Normalization::none;        ///< before the cut into words
  std::vector<PreTokenStep> pre_tokenizer;  ///< how words are cut; empty: the text is one word
  std::optional<std::int64_t> bos_id,       ///< a role alone: what is put before a text is `prefix`
      eos_id,                               ///< a role alone, see `suffix`
      unk_id,                               ///< for bytes that no token has; none: they are left out
      pad_id;                               ///< a role alone
  std::vector<std::int64_t> prefix,         ///< what a whole sequence begins with
      suffix;                               ///< what a whole sequence ends with
  bool ignore_merges = false;               ///< a word that is a token is that token, whatever the rules give
};

/// A merge rule spelled "left right"; anything but two parts and one space is an error that begins with
/// `where`.
inline std::pair<std::string, std::string> split_merge(std::string_view merge, std::string_view where) {
  const std::size_t space = merge.find(' ');
  const bool two_parts = space != std::string_view::npos && space > 0 && space + 1 < merge.size() &&
                         merge.find(' ', space + 1) == std::string_view::npos;
  expect(two_parts, where, ": expected a merge \"left right\", found \"", merge, '"');
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

/// A tokenizer ready for use. Copies share the cache of words; encoding is safe from many threads.
struct ByteLevelBpe {
  BpeSpec spec;                                         ///< what it was made from, and what was added since
  PreTokenizer pre;                                     ///< of `spec.pre_tokenizer`
  std::unordered_map<std::string, std::int64_t> id_of;  ///< every token
  BpeMerges merges;                                     ///< of `spec.merges`, by pairs of ids
  std::array<std::int32_t, 256> byte_id{};              ///< -1: the vocabulary has no token for this byte
  std::unordered_map<std::int64_t, std::size_t> added_at;  ///< id -> index into spec.added
  AddedTokenFinder plain_added,                            ///< those sought in the text as it is
      normalized_added;  ///< AddedToken::normalized: those sought in the normalized text between the others
  std::shared_ptr<BpeWordCache> cache = std::make_shared<BpeWordCache>();  ///< words -> ids
};

namespace detail {

inline std::int32_t bpe_token_id(const ByteLevelBpe& bpe, const std::string& token, std::size_t rank) {
  const auto found = bpe.id_of.find(token);
  expect(found != bpe.id_of.end(), "tokenizer: merge ", rank, ": \"", token, "\" is not in the vocabulary");
  return static_cast<std::int32_t>(found->second);
}

inline void index_bpe_tokens(ByteLevelBpe& bpe) {
  const auto& tokens = bpe.spec.tokens;
  expect(!tokens.empty() && tokens.size() <= 1u << 30, "tokenizer: ", tokens.size(),
         " tokens, expected 1 to 2^30");
  bpe.id_of.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const auto [other, fresh] = bpe.id_of.emplace(tokens[id], static_cast<std::int64_t>(id));
    expect(fresh, "tokenizer: token \"", tokens[id], "\" has two ids, ", other->second, " and ", id);
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = bpe.id_of.find(byte_level_char(static_cast<unsigned char>(byte)));
    bpe.byte_id[byte] = found == bpe.id_of.end() ? -1 : static_cast<std::int32_t>(found->second);
  }
}

inline void index_bpe_merges(ByteLevelBpe& bpe) {
  bpe.merges.reserve(bpe.spec.merges.size());
  for (std::size_t rank = 0; rank < bpe.spec.merges.size(); ++rank) {
    const auto& [left, right] = bpe.spec.merges[rank];
    const std::uint64_t pair = bpe_pair(bpe_token_id(bpe, left, rank), bpe_token_id(bpe, right, rank));
    const BpeMerge merge{static_cast<std::int32_t>(rank), bpe_token_id(bpe, left + right, rank)};
    expect(bpe.merges.emplace(pair, merge).second, "tokenizer: merge ", rank, " \"", left, ' ', right,
           "\" is repeated");
  }
}

inline void index_bpe_added(ByteLevelBpe& bpe) {
  std::vector<AddedToken> plain, normalized;
  bpe.added_at.clear();
  for (std::size_t i = 0; i < bpe.spec.added.size(); ++i) {
    const AddedToken& token = bpe.spec.added[i];
    const auto found = bpe.id_of.find(token.text);
    expect(!token.text.empty() && found != bpe.id_of.end() && found->second == token.id,
           "tokenizer: added token \"", token.text, "\" with id ", token.id, " is not token ", token.id,
           " of the vocabulary");
    bpe.added_at.emplace(token.id, i);
    (token.normalized ? normalized : plain).push_back(token);
    if (token.normalized) normalized.back().text = normalize(token.text, bpe.spec.normalization);
  }
  bpe.plain_added = AddedTokenFinder(std::move(plain));
  bpe.normalized_added = AddedTokenFinder(std::move(normalized));
}

inline void check_bpe_ids(const BpeSpec& spec) {
  const auto check = [&](std::int64_t id, const char* what) {
    expect(id >= 0 && id < std::ssize(spec.tokens), "tokenizer: ", what, " id ", id, " is outside of the ",
           spec.tokens.size(), " tokens");
  };
  if (spec.bos_id) check(*spec.bos_id, "bos");
  if (spec.eos_id) check(*spec.eos_id, "eos");
  if (spec.unk_id) check(*spec.unk_id, "unk");
  if (spec.pad_id) check(*spec.pad_id, "pad");
  for (const std::int64_t id : spec.prefix) check(id, "prefix");
  for (const std::int64_t id : spec.suffix) check(id, "suffix");
}

inline std::vector<std::int64_t> encode_bpe_word(const ByteLevelBpe& bpe, const std::string& word) {
  if (bpe.spec.ignore_merges) {
    const auto whole = bpe.id_of.find(to_byte_level(word));
    if (whole != bpe.id_of.end()) return {whole->second};
  }
  std::vector<std::int32_t> ids;
  ids.reserve(word.size());
  for (const char c : word) {
    const std::int32_t id = bpe.byte_id[static_cast<unsigned char>(c)];
    if (id >= 0)
      ids.push_back(id);
    else if (bpe.spec.unk_id)
      ids.push_back(static_cast<std::int32_t>(*bpe.spec.unk_id));
  }
  return bpe_merge(bpe.merges, ids);
}

inline void encode_bpe_text(const ByteLevelBpe& bpe, std::string_view text, std::vector<std::int64_t>& out) {
  for (const std::string& word : pre_tokenize(bpe.pre, text)) {
    if (bpe.cache->append(word, out)) continue;
    const std::vector<std::int64_t> ids = encode_bpe_word(bpe, word);
    bpe.cache->store(word, ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }
}

}  // namespace detail

/// Builds the tokenizer; a token with two ids, a merge of unknown tokens, an id out of range: an error.
inline ByteLevelBpe make_byte_level_bpe(BpeSpec spec) {
  ByteLevelBpe bpe;
  bpe.spec = std::move(spec);
  bpe.pre = compile_pre_tokenizer(bpe.spec.pre_tokenizer);
  detail::index_bpe_tokens(bpe);
  detail::index_bpe_merges(bpe);
  detail::index_bpe_added(bpe);
  detail::check_bpe_ids(bpe.spec);
  return bpe;
}

/// The number of ids: what an embedding table needs as rows.
inline std::int64_t vocab_size(const ByteLevelBpe& bpe) { return std::ssize(bpe.spec.tokens); }

/// The id of the token spelled `token`, if there is one.
inline std::optional<std::int64_t> token_id(const ByteLevelBpe& bpe, const std::string& token) {
  const auto found = bpe.id_of.find(token);
  return found == bpe.id_of.end() ? std::nullopt : std::optional(found->second);
}

/// Makes a token an added one, as AddedToken says but for the id: the next free one, or its own if it is in
/// the vocabulary already. Returns the id.
inline std::int64_t add_token(ByteLevelBpe& bpe, AddedToken token) {
  expect(!token.text.empty(), "tokenizer: an added token cannot be empty");
  expect_utf8(token.text, "tokenizer: added token");
  const auto [place, fresh] = bpe.id_of.emplace(token.text, vocab_size(bpe));
  const std::int64_t id = token.id = place->second;
  if (fresh) bpe.spec.tokens.push_back(token.text);
  if (bpe.added_at.contains(id)) return id;
  bpe.spec.added.push_back(std::move(token));
  detail::index_bpe_added(bpe);
  return id;
}
/// The same for a special token.
inline std::int64_t add_token(ByteLevelBpe& bpe, const std::string& text) {
  return add_token(bpe, AddedToken{.text = text});
}

/// The ids of `text`, nothing added before or after. Added tokens in it become their ids. `text` must be
/// UTF-8 (an error otherwise). A byte that the vocabulary has no token for becomes `unk_id`, or nothing where
/// there is none: so do the references, and real vocabularies lack some control characters.
inline std::vector<std::int64_t> encode(const ByteLevelBpe& bpe, std::string_view text) {
  return detail::encode_between_added(
      bpe.plain_added, bpe.normalized_added, text,
      [&](std::string_view part) { return normalize(part, bpe.spec.normalization); },
      [&](std::string_view part, bool, std::vector<std::int64_t>& out) {
        detail::encode_bpe_text(bpe, part, out);
      });
}

/// `encode` between the tokenizer's own prefix and suffix (such as bos), for a text that stands alone.
inline std::vector<std::int64_t> encode_sequence(const ByteLevelBpe& bpe, std::string_view text) {
  std::vector<std::int64_t> out = bpe.spec.prefix;
  const std::vector<std::int64_t> ids = encode(bpe, text);
  out.insert(out.end(), ids.begin(), ids.end());
  out.insert(out.end(), bpe.spec.suffix.begin(), bpe.spec.suffix.end());
  return out;
}

/// The bytes that `ids` stand for, exactly: not UTF-8 where the ids end inside a character. An id beyond the
/// vocabulary stands for none, a negative one is an error.
inline std::string decode_bytes(const ByteLevelBpe& bpe, std::span<const std::int64_t> ids,
                                bool skip_special = false) {
  std::string out;
  for (const std::int64_t id : ids) {
    expect(id >= 0, "tokenizer: id ", id, " is negative");
    if (id >= vocab_size(bpe)) continue;
    const std::string& token = bpe.spec.tokens[static_cast<std::size_t>(id)];
    const auto added = bpe.added_at.find(id);
    if (added == bpe.added_at.end())
      out += from_byte_level(token).value_or(token);
    else if (!skip_special || !bpe.spec.added[added->second].special)
      out += token;
  }
  return out;
}

/// The text of `ids`: `decode_bytes` with what is not UTF-8 replaced by U+FFFD.
inline std::string decode(const ByteLevelBpe& bpe, std::span<const std::int64_t> ids,
                          bool skip_special = false) {
  return replace_invalid_utf8(decode_bytes(bpe, ids, skip_special));
}

}  // namespace morphvlm
