// Byte-pair encoding over characters, spaces spelled "▁", with bytes for what the vocabulary lacks: a
// SentencePiece model as the tokenizers library writes it into a tokenizer.json (piece_bpe_json.hpp).
#pragma once

#include <algorithm>
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
#include "morphvlm/text/added_text.hpp"
#include "morphvlm/text/bpe_merge.hpp"
#include "morphvlm/text/moses_detokenizer.hpp"
#include "morphvlm/text/pre_tokenizer.hpp"

namespace morphvlm {

/// One thing done to a text before it is cut.
struct PieceNormalizer {
  std::string pattern = {};  ///< as compile_regex takes it; empty: `content` is put in front of the text
  std::string content = {};  ///< what a match becomes
};

/// Where a text gets a space of its own in front, if it does not begin with one.
enum class PieceSpace { never, first, always };

/// How spaces are spelled, `Metaspace` in tokenizer.json.
struct Metaspace {
  std::string replacement = "\u2581";  ///< what stands for a space
  /// `first`: only the beginning of the whole text; `always`: each stretch between added tokens.
  PieceSpace prepend = PieceSpace::always;
  bool split = false;  ///< whether words are cut before it
};

/// One thing done when decoding.
struct PieceDecoder {
  /// As the tokenizers library names them.
  enum class Kind { replace, byte_fallback, fuse, strip, metaspace };
  Kind kind = Kind::fuse;    ///< which of them
  std::string pattern = {},  ///< of `replace`: literal; of `strip`: one character
      content = {};          ///< of `replace`
  std::size_t start = 0,     ///< of `strip`: at most so many at the beginning
      stop = 0;              ///< and at the end
  Metaspace metaspace = {};  ///< of `metaspace`
};

/// Everything that decides such a tokenizer.
struct PieceBpeSpec {
  std::vector<std::string> tokens;                          ///< by id
  std::vector<std::pair<std::string, std::string>> merges;  ///< first rule first
  std::vector<AddedToken> added;                            ///< their ids are ids of `tokens`
  std::vector<PieceNormalizer> normalizers;                 ///< in order
  std::optional<Metaspace> metaspace;                       ///< after them
  std::vector<PreTokenStep> pre_tokenizer;                  ///< further cuts
  std::vector<PieceDecoder> decoders;                       ///< in order
  TokenRoles roles;                  ///< `unk` alone changes ids: it stands for characters without a token
  std::vector<std::int64_t> prefix,  ///< what a whole sequence begins with
      suffix;                        ///< what it ends with
  bool byte_fallback = true,         ///< a character without a token becomes its bytes' tokens `<0x0A>`
      fuse_unk = false,              ///< neighbouring unknown characters become one unknown token
      ignore_merges = false;         ///< a word that is a token is that token
};

/// A tokenizer ready for use. Copies share the cache of words; encoding is safe from many threads.
struct PieceBpe {
  PieceBpeSpec spec;                                    ///< what it was made from, and what was added since
  std::vector<Regex> normalizers;                       ///< of `spec.normalizers`, no code where it prepends
  PreTokenizer pre;                                     ///< of `spec.pre_tokenizer`
  std::unordered_map<std::string, std::int64_t> id_of;  ///< every token
  BpeMerges merges;                                     ///< of `spec.merges`, by pairs of ids
  std::array<std::int32_t, 256> byte_id{};              ///< of `<0x00>` and so on; -1: there is none
  std::unordered_map<std::int64_t, std::size_t> added_at;  ///< id -> index into spec.added
  AddedTokenFinder plain_added,                            ///< those sought in the text as it is
      normalized_added;  ///< AddedToken::normalized: those sought in the normalized text between the others
  std::shared_ptr<BpeWordCache> cache = std::make_shared<BpeWordCache>();  ///< words -> ids
};

namespace detail {

inline std::string normalize_pieces(const PieceBpe& bpe, std::string_view text) {
  std::string out(text);
  for (std::size_t i = 0; i < bpe.normalizers.size() && !out.empty(); ++i) {
    const std::string& content = bpe.spec.normalizers[i].content;
    if (bpe.normalizers[i].code)
      out = regex_replace(bpe.normalizers[i], out, content, out.size());
    else
      out.insert(0, content);
  }
  return out;
}

/// `<0x0A>` -> 10; nothing for another text.
inline std::optional<unsigned char> byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'F', lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return std::nullopt;
    value = 16 * value + (digit ? c - '0' : (upper ? c - 'A' : c - 'a') + 10);
  }
  return static_cast<unsigned char>(value);
}

inline std::string piece_of_byte(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

inline void index_pieces(PieceBpe& bpe) {
  const auto& tokens = bpe.spec.tokens;
  expect(!tokens.empty() && tokens.size() <= 1u << 30, "tokenizer: ", tokens.size(),
         " tokens, expected 1 to 2^30");
  bpe.id_of.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const auto [other, fresh] = bpe.id_of.emplace(tokens[id], static_cast<std::int64_t>(id));
    expect(fresh, "tokenizer: token \"", tokens[id], "\" has two ids, ", other->second, " and ", id);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto found = bpe.id_of.find(piece_of_byte(byte));
    bpe.byte_id[byte] = found == bpe.id_of.end() ? -1 : static_cast<std::int32_t>(found->second);
  }
  const auto id = [&](const std::string& token, std::size_t rank) {
    const auto found = bpe.id_of.find(token);
    expect(found != bpe.id_of.end(), "tokenizer: merge ", rank, ": \"", token, "\" is not in the vocabulary");
    return static_cast<std::int32_t>(found->second);
  };
  bpe.merges.reserve(bpe.spec.merges.size());
  for (std::size_t rank = 0; rank < bpe.spec.merges.size(); ++rank) {
    const auto& [left, right] = bpe.spec.merges[rank];
    const BpeMerge merge{static_cast<std::int32_t>(rank), id(left + right, rank)};
    expect(bpe.merges.emplace(bpe_pair(id(left, rank), id(right, rank)), merge).second, "tokenizer: merge ",
           rank, " \"", left, ' ', right, "\" is repeated");
  }
}

inline void index_added_pieces(PieceBpe& bpe) {
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
    if (token.normalized) normalized.back().text = normalize_pieces(bpe, token.text);
  }
  std::erase_if(normalized, [](const AddedToken& token) { return token.text.empty(); });
  bpe.plain_added = AddedTokenFinder(std::move(plain));
  bpe.normalized_added = AddedTokenFinder(std::move(normalized));
}

/// The ids that a word's characters have before merging.
inline std::vector<std::int32_t> character_ids(const PieceBpe& bpe, const std::string& word) {
  std::vector<std::int32_t> ids;
  bool unknown =
      false;  // an unknown token waits until a character that is known, as in the tokenizers library
  const auto flush = [&] {
    if (unknown) ids.push_back(static_cast<std::int32_t>(*bpe.spec.roles.unk));
    unknown = false;
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::string character = word.substr(at, utf8_step(word, at).bytes);
    at += character.size();
    if (const auto found = bpe.id_of.find(character); found != bpe.id_of.end()) {
      flush();
      ids.push_back(static_cast<std::int32_t>(found->second));
      continue;
    }
    const auto id = [&](char c) { return bpe.byte_id[static_cast<unsigned char>(c)]; };
    if (bpe.spec.byte_fallback && std::ranges::all_of(character, [&](char c) { return id(c) >= 0; })) {
      for (const char c : character) ids.push_back(id(c));
    } else if (bpe.spec.roles.unk) {
      if (!bpe.spec.fuse_unk) flush();
      unknown = true;
    }
  }
  flush();
  return ids;
}

inline void encode_piece_word(const PieceBpe& bpe, const std::string& word, std::vector<std::int64_t>& out) {
  if (bpe.cache->append(word, out)) return;
  std::vector<std::int64_t> ids;
  const auto whole = bpe.spec.ignore_merges ? bpe.id_of.find(word) : bpe.id_of.end();
  if (whole != bpe.id_of.end())
    ids.push_back(whole->second);
  else
    ids = bpe_merge(bpe.merges, character_ids(bpe, word));
  bpe.cache->store(word, ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

/// The words that Metaspace makes of a text that is not empty.
inline std::vector<std::string> metaspace_words(const Metaspace& meta, std::string text, bool first) {
  replace_all(text, " ", meta.replacement);
  const bool prepend = meta.prepend == PieceSpace::always || (meta.prepend == PieceSpace::first && first);
  if (prepend && !text.starts_with(meta.replacement)) text.insert(0, meta.replacement);
  if (!meta.split) return {std::move(text)};
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(meta.replacement, at + 1), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

inline void encode_pieces(const PieceBpe& bpe, std::string_view text, bool first,
                          std::vector<std::int64_t>& out) {
  const auto words = bpe.spec.metaspace ? metaspace_words(*bpe.spec.metaspace, std::string(text), first)
                                        : std::vector<std::string>{std::string(text)};
  for (const std::string& word : words)
    for (const std::string& part : pre_tokenize(bpe.pre, word)) encode_piece_word(bpe, part, out);
}

/// Bytes spelled `<0x0A>` put together; each byte of a run that is no UTF-8 becomes U+FFFD.
inline std::vector<std::string> join_byte_pieces(const std::vector<std::string>& pieces) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (find_invalid_utf8(bytes) == std::string_view::npos) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      for (std::size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& piece : pieces) {
    if (const auto byte = byte_of_piece(piece)) {
      bytes += static_cast<char>(*byte);
      continue;
    }
    flush();
    out.push_back(piece);
  }
  flush();
  return out;
}

inline void strip_piece(const PieceDecoder& step, std::string& piece) {
  for (std::size_t i = 0; i < step.start && piece.starts_with(step.pattern); ++i)
    piece.erase(0, step.pattern.size());
  for (std::size_t i = 0; i < step.stop && piece.ends_with(step.pattern); ++i)
    piece.erase(piece.size() - step.pattern.size());
}

inline void decode_step(const PieceDecoder& step, std::vector<std::string>& pieces) {
  using Kind = PieceDecoder::Kind;
  if (step.kind == Kind::byte_fallback) pieces = join_byte_pieces(pieces);
  if (step.kind == Kind::fuse) {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces = {std::move(all)};
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (step.kind == Kind::replace) replace_all(pieces[i], step.pattern, step.content);
    if (step.kind == Kind::strip) strip_piece(step, pieces[i]);
    if (step.kind == Kind::metaspace) {
      const bool drop = i == 0 && step.metaspace.prepend != PieceSpace::never;
      replace_all(pieces[i], step.metaspace.replacement, drop ? "" : " ");
    }
  }
}

}  // namespace detail

/// Builds the tokenizer; a token with two ids, a merge of unknown tokens, an id out of range: an error.
inline PieceBpe make_piece_bpe(PieceBpeSpec spec) {
  PieceBpe bpe;
  bpe.spec = std::move(spec);
  for (const PieceNormalizer& step : bpe.spec.normalizers)
    bpe.normalizers.push_back(step.pattern.empty() ? Regex{} : compile_regex(step.pattern));
  bpe.pre = compile_pre_tokenizer(bpe.spec.pre_tokenizer);
  detail::index_pieces(bpe);
  detail::index_added_pieces(bpe);
  const auto check = [&](std::int64_t id, const char* what) {
    expect(id >= 0 && id < std::ssize(bpe.spec.tokens), "tokenizer: ", what, " id ", id,
           " is outside of the ", bpe.spec.tokens.size(), " tokens");
  };
  const TokenRoles& roles = bpe.spec.roles;
  for (const auto& id : {roles.bos, roles.eos, roles.unk, roles.pad, roles.sep})
    if (id) check(*id, "role");
  for (const std::int64_t id : bpe.spec.prefix) check(id, "prefix");
  for (const std::int64_t id : bpe.spec.suffix) check(id, "suffix");
  return bpe;
}

/// The number of ids: what an embedding table needs as rows.
inline std::int64_t vocab_size(const PieceBpe& bpe) { return std::ssize(bpe.spec.tokens); }

/// The id of the token spelled `token`, if there is one.
inline std::optional<std::int64_t> token_id(const PieceBpe& bpe, const std::string& token) {
  const auto found = bpe.id_of.find(token);
  return found == bpe.id_of.end() ? std::nullopt : std::optional(found->second);
}

/// Makes a token an added one, as AddedToken says but for the id: the next free one, or its own if it is in
/// the vocabulary already. Returns the id.
inline std::int64_t add_token(PieceBpe& bpe, AddedToken token) {
  expect(!token.text.empty(), "tokenizer: an added token cannot be empty");
  expect_utf8(token.text, "tokenizer: added token");
  const auto [place, fresh] = bpe.id_of.emplace(token.text, vocab_size(bpe));
  const std::int64_t id = token.id = place->second;
  if (fresh) bpe.spec.tokens.push_back(token.text);
  if (bpe.added_at.contains(id)) return id;
  bpe.spec.added.push_back(std::move(token));
  detail::index_added_pieces(bpe);
  return id;
}

/// The ids of `text` (UTF-8; an error otherwise), nothing added before or after.
inline std::vector<std::int64_t> encode(const PieceBpe& bpe, std::string_view text) {
  return detail::encode_between_added(
      bpe.plain_added, bpe.normalized_added, text,
      [&](std::string_view part) { return detail::normalize_pieces(bpe, part); },
      [&](std::string_view part, bool first, std::vector<std::int64_t>& out) {
        detail::encode_pieces(bpe, part, first, out);
      });
}

/// `encode` between the tokenizer's own prefix and suffix (such as bos), for a text that stands alone.
inline std::vector<std::int64_t> encode_sequence(const PieceBpe& bpe, std::string_view text) {
  std::vector<std::int64_t> out = bpe.spec.prefix;
  const std::vector<std::int64_t> ids = encode(bpe, text);
  out.insert(out.end(), ids.begin(), ids.end());
  out.insert(out.end(), bpe.spec.suffix.begin(), bpe.spec.suffix.end());
  return out;
}

/// The text of `ids`; bytes that make no character become U+FFFD each, an id beyond the vocabulary nothing.
inline std::string decode(const PieceBpe& bpe, std::span<const std::int64_t> ids, bool skip_special = false) {
  std::vector<std::string> pieces;
  for (const std::int64_t id : ids) {
    expect(id >= 0, "tokenizer: id ", id, " is negative");
    if (id >= vocab_size(bpe)) continue;
    const auto added = bpe.added_at.find(id);
    if (skip_special && added != bpe.added_at.end() && bpe.spec.added[added->second].special) continue;
    pieces.push_back(bpe.spec.tokens[static_cast<std::size_t>(id)]);
  }
  for (const PieceDecoder& step : bpe.spec.decoders) detail::decode_step(step, pieces);
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

}  // namespace morphvlm
