// A tokenizer.json made of a SentencePiece model -> PieceBpeSpec. What is not understood is refused by its
// name.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/text/bpe_json.hpp"
#include "morphvlm/text/piece_bpe.hpp"

namespace morphvlm {

/// What is done with the keys of a tokenizer.json's `model` where it is made of pieces.
inline constexpr FileKey kPieceModelKeys[] = {
    {"type"},
    {"vocab"},
    {"merges"},
    {"unk_token"},
    {"ignore_merges"},
    {"byte_fallback"},
    {"fuse_unk"},
    {"dropout", KeyUse::refused, "0.0"},
    {"continuing_subword_prefix", KeyUse::refused, "\"\""},
    {"end_of_word_suffix", KeyUse::refused, "\"\""},
};

namespace detail {

/// The pattern of a Replace, as a regular expression.
inline std::string replace_pattern(const Json& part, const std::string& where) {
  return split_pattern(json_member(part, "pattern"), where + ": Replace");
}

inline void add_piece_normalizers(const Json& part, const std::string& where,
                                  std::vector<PieceNormalizer>& out) {
  if (part.is_null()) return;
  const std::string type = json_type(part, where);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "normalizers", where)) add_piece_normalizers(inner, where, out);
  } else if (type == "Prepend") {
    out.push_back({"", json_get<std::string>(part, "prepend", where)});
  } else if (type == "Replace") {
    out.push_back({replace_pattern(part, where), json_get<std::string>(part, "content", where)});
  } else {
    fail(where, ": \"", type, "\" is not supported; known are Sequence, Prepend and Replace");
  }
}

inline Metaspace read_metaspace(const Json& part, const std::string& where) {
  Metaspace out;
  out.replacement = json_get<std::string>(part, "replacement", where);
  expect(!out.replacement.empty() && utf8_step(out.replacement, 0).bytes == out.replacement.size(), where,
         ": replacement: expected one character, found \"", out.replacement, '"');
  const bool add_space =
      json_member(part, "add_prefix_space").is_null() || json_get<bool>(part, "add_prefix_space", where);
  std::string scheme = add_space ? "always" : "never";
  if (!json_member(part, "prepend_scheme").is_null())
    scheme = json_get<std::string>(part, "prepend_scheme", where);
  expect(add_space || scheme == "never", where, ": add_prefix_space is false, but prepend_scheme is \"",
         scheme, '"');
  expect(scheme == "always" || scheme == "first" || scheme == "never", where,
         ": prepend_scheme: expected always, first or never, found \"", scheme, '"');
  out.prepend = scheme == "always"  ? PieceSpace::always
                : scheme == "first" ? PieceSpace::first
                                    : PieceSpace::never;
  out.split = json_member(part, "split").is_null() || json_get<bool>(part, "split", where);
  return out;
}

inline void add_piece_words(const Json& part, const std::string& where, PieceBpeSpec& spec) {
  if (part.is_null()) return;
  const std::string type = json_type(part, where);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "pretokenizers", where)) add_piece_words(inner, where, spec);
  } else if (type == "Metaspace") {
    expect(!spec.metaspace && spec.pre_tokenizer.empty(), where, ": expected Metaspace first, and once");
    spec.metaspace = read_metaspace(part, where);
  } else if (type == "Split" || type == "Digits") {
    add_pre_token_steps(part, where, spec.pre_tokenizer);
  } else {
    fail(where, ": \"", type, "\" is not supported; known are Sequence, Metaspace, Split and Digits");
  }
}

inline void add_piece_decoders(const Json& part, const std::string& where, std::vector<PieceDecoder>& out) {
  using Kind = PieceDecoder::Kind;
  const std::string type = json_type(part, where);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "decoders", where)) add_piece_decoders(inner, where, out);
  } else if (type == "Replace") {
    const Json pattern = json_member(part, "pattern");
    out.push_back({.kind = Kind::replace,
                   .pattern = json_get<std::string>(pattern, "String", where + ": Replace: pattern"),
                   .content = json_get<std::string>(part, "content", where)});
    expect(!out.back().pattern.empty(), where, ": Replace: expected a pattern that is not empty");
  } else if (type == "ByteFallback") {
    out.push_back({.kind = Kind::byte_fallback});
  } else if (type == "Fuse") {
    out.push_back({.kind = Kind::fuse});
  } else if (type == "Strip") {
    out.push_back({.kind = Kind::strip,
                   .pattern = json_get<std::string>(part, "content", where),
                   .start = json_get<std::size_t>(part, "start", where),
                   .stop = json_get<std::size_t>(part, "stop", where)});
    expect(!out.back().pattern.empty(), where, ": Strip: expected a character, found \"\"");
  } else if (type == "Metaspace") {
    out.push_back({.kind = Kind::metaspace, .metaspace = read_metaspace(part, where)});
  } else {
    fail(where, ": \"", type,
         "\" is not supported; known are ByteLevel alone, and Sequence, Replace, ByteFallback, Fuse, Strip "
         "and "
         "Metaspace");
  }
}

/// Whether a tokenizer.json is of the byte-level kind.
inline bool is_byte_level_json(const Json& root) {
  const Json decoder = json_member(root, "decoder");
  return decoder.is_object() && json_member(decoder, "type") == Json("ByteLevel");
}

}  // namespace detail

/// A parsed tokenizer.json -> PieceBpeSpec; `where` leads the messages.
inline PieceBpeSpec piece_bpe_from_json(const Json& root, const std::string& where) {
  PieceBpeSpec spec;
  // First, since it tells the two kinds of tokenizer.json apart.
  detail::add_piece_decoders(detail::json_member(root, "decoder"), where + ": decoder", spec.decoders);
  detail::add_piece_normalizers(detail::json_member(root, "normalizer"), where + ": normalizer",
                                spec.normalizers);
  detail::add_piece_words(detail::json_member(root, "pre_tokenizer"), where + ": pre_tokenizer", spec);
  detail::read_bpe_model(root, kPieceModelKeys, where, spec);
  const Json& model = detail::bpe_model_of(root, where);
  const auto flag = [&](const char* key) {
    return !detail::json_member(model, key).is_null() && json_get<bool>(model, key, where + ": model");
  };
  spec.byte_fallback = flag("byte_fallback");
  spec.fuse_unk = flag("fuse_unk");
  spec.roles.unk = detail::unknown_token(root, spec.tokens, where);
  return spec;
}

}  // namespace morphvlm
