// BioGPT's tokenizer: Moses words, then byte-pair encoding over characters with "</w>" at each word's end.
// Ids and texts are those of transformers' BioGptTokenizer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/added_text.hpp"
#include "morphvlm/text/bpe_merge.hpp"
#include "morphvlm/text/moses.hpp"
#include "morphvlm/text/moses_detokenizer.hpp"
#include "morphvlm/text/vocab_json.hpp"

namespace morphvlm {

/// Everything that decides a BioGPT tokenizer.
struct BioGPTSpec {
  std::vector<std::string> tokens;  ///< by id: vocab.json, each once
  /// merges.txt, first rule first; of repeated rules the last counts.
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<AddedToken> added;  ///< found in the text as they are
  TokenRoles roles;               ///< `unk` and `sep` must be there
};

/// A tokenizer ready for use. Copies share the cache of words; encoding is safe from many threads.
struct BioGPTBpe {
  BioGPTSpec spec;        ///< what it was made from, and what was added since
  AddedVocabulary added;  ///< of `spec.tokens` and `spec.added`
  /// Ids of tokens; beyond them what only merges know.
  std::unordered_map<std::string, std::int32_t> symbols;
  BpeMerges merges;                                                        ///< by pairs of `symbols`
  std::shared_ptr<BpeWordCache> cache = std::make_shared<BpeWordCache>();  ///< words of Moses -> ids
};

namespace detail {

inline constexpr const char* kWordEnd = "</w>";

inline std::int32_t bio_gpt_symbol(BioGPTBpe& bpe, const std::string& text) {
  return bpe.symbols.emplace(text, static_cast<std::int32_t>(bpe.symbols.size())).first->second;
}

inline void encode_bio_gpt_word(const BioGPTBpe& bpe, const std::string& word,
                                std::vector<std::int64_t>& out) {
  if (bpe.cache->append(word, out)) return;
  // A character that neither the vocabulary nor a merge knows merges with nothing and ends as unknown.
  const auto unknown = static_cast<std::int32_t>(bpe.symbols.size());
  std::vector<std::int32_t> ids;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t bytes = utf8_step(word, at).bytes;
    std::string symbol = word.substr(at, bytes);
    at += bytes;
    if (at >= word.size()) symbol += kWordEnd;
    const auto found = bpe.symbols.find(symbol);
    ids.push_back(found == bpe.symbols.end() ? unknown : found->second);
  }
  std::vector<std::int64_t> merged = bpe_merge(bpe.merges, ids);
  for (std::int64_t& id : merged)
    if (id >= bpe.added.base) id = *bpe.spec.roles.unk;
  bpe.cache->store(word, merged);
  out.insert(out.end(), merged.begin(), merged.end());
}

inline std::string bio_gpt_text(const BioGPTBpe& bpe, const std::vector<std::int64_t>& ids) {
  std::string text;
  for (const std::int64_t id : ids) {
    const AddedToken* token = bpe.added.find(id);
    std::string piece = token != nullptr ? token->text : bpe.spec.tokens[static_cast<std::size_t>(id)];
    replace_all(piece, " ", "");
    replace_all(piece, kWordEnd, " ");
    text += piece;
  }
  return moses_detokenize(split_at_spaces(text));
}

}  // namespace detail

/// Builds the tokenizer; a token with two ids, an id out of range, a missing unk or sep token: an error.
inline BioGPTBpe make_bio_gpt(BioGPTSpec spec) {
  BioGPTBpe bpe;
  bpe.spec = std::move(spec);
  const auto& tokens = bpe.spec.tokens;
  expect(!tokens.empty() && tokens.size() <= 1u << 30, "tokenizer: ", tokens.size(),
         " tokens, expected 1 to 2^30");
  bpe.added = AddedVocabulary::make(std::ssize(tokens), bpe.spec.added, "tokenizer");
  bpe.symbols.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id)
    expect(bpe.symbols.emplace(tokens[id], static_cast<std::int32_t>(id)).second, "tokenizer: token \"",
           tokens[id], "\" has two ids, the second is ", id);
  for (std::size_t rank = 0; rank < bpe.spec.merges.size(); ++rank) {
    const auto& [left, right] = bpe.spec.merges[rank];
    const auto pair = bpe_pair(detail::bio_gpt_symbol(bpe, left), detail::bio_gpt_symbol(bpe, right));
    bpe.merges[pair] = {static_cast<std::int32_t>(rank), detail::bio_gpt_symbol(bpe, left + right)};
  }
  const TokenRoles& roles = bpe.spec.roles;
  expect(roles.unk && roles.sep, "tokenizer: a BioGPT tokenizer needs an unknown token and a separator");
  for (const auto& id : {roles.bos, roles.eos, roles.unk, roles.pad, roles.sep})
    expect(!id || (*id >= 0 && *id < bpe.added.size), "tokenizer: id ", id.value_or(0), " is outside of the ",
           bpe.added.size, " tokens");
  return bpe;
}

/// Reads vocab.json and merges.txt of `folder`; the special tokens are BioGPT's own: `<s>`, `<pad>`, `</s>`,
/// `<unk>`.
inline BioGPTSpec read_bio_gpt_files(const std::filesystem::path& folder) {
  const auto vocab_path = folder / "vocab.json", merges_path = folder / "merges.txt";
  BioGPTSpec spec;
  spec.tokens = detail::place_tokens(detail::read_vocab_json(vocab_path), {}, vocab_path.string());
  auto lines = split_lines(read_text_file(merges_path));
  lines.pop_back();  // what follows the last line end is no rule
  for (std::size_t i = 0; i < lines.size(); ++i) {
    // Behind the two parts the real file has how often they met.
    const auto parts = detail::split_at_spaces(replace_invalid_utf8(lines[i]));
    expect(parts.size() >= 2, merges_path.string(), ": line ", i + 1,
           ": expected a merge \"left right\", found \"", replace_invalid_utf8(lines[i]), '"');
    spec.merges.emplace_back(parts[0], parts[1]);
  }
  const auto special = [&](const char* text) {
    const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
    expect(found != spec.tokens.end(), vocab_path.string(), ": token \"", text, "\" is missing");
    const auto id = found - spec.tokens.begin();
    spec.added.push_back({text, id});
    return id;
  };
  spec.roles.bos = special("<s>");
  spec.roles.pad = special("<pad>");
  spec.roles.eos = spec.roles.sep = special("</s>");
  spec.roles.unk = special("<unk>");
  return spec;
}

/// The number of ids: what an embedding table needs as rows.
inline std::int64_t vocab_size(const BioGPTBpe& bpe) { return bpe.added.size; }

/// The id of the token spelled `token`, if there is one.
inline std::optional<std::int64_t> token_id(const BioGPTBpe& bpe, const std::string& token) {
  const auto added = bpe.added.id_of.find(token);
  if (added != bpe.added.id_of.end()) return added->second;
  const auto found = bpe.symbols.find(token);
  return found == bpe.symbols.end() || found->second >= bpe.added.base
             ? std::nullopt
             : std::optional<std::int64_t>(found->second);
}

/// Makes a token an added one, as AddedToken says but for the id: the next free one, or its own if it is in
/// the vocabulary already. Returns the id.
inline std::int64_t add_token(BioGPTBpe& bpe, AddedToken token) {
  return detail::add_to_vocabulary(bpe, std::move(token));
}

/// The ids of `text` (UTF-8; an error otherwise), nothing added before or after.
inline std::vector<std::int64_t> encode(const BioGPTBpe& bpe, std::string_view text) {
  return detail::encode_sections(bpe.added, text,
                                 [&](std::string_view piece, std::vector<std::int64_t>& out) {
                                   for (const std::string& word : moses_tokenize(piece))
                                     detail::encode_bio_gpt_word(bpe, word, out);
                                 });
}

/// `</s>` and the ids of `text`: how a sequence begins; nothing ends it.
inline std::vector<std::int64_t> encode_sequence(const BioGPTBpe& bpe, std::string_view text) {
  std::vector<std::int64_t> out = encode(bpe, text);
  out.insert(out.begin(), *bpe.spec.roles.sep);
  return out;
}

/// The text of `ids`, with the spaces of English; an id beyond the vocabulary is that of the unknown token.
inline std::string decode(const BioGPTBpe& bpe, std::span<const std::int64_t> ids,
                          bool skip_special = false) {
  return detail::decode_sections(bpe.added, bpe.spec.roles, ids, skip_special, bpe.spec.roles.unk,
                                 [&](const auto& run) { return detail::bio_gpt_text(bpe, run); });
}

}  // namespace morphvlm
