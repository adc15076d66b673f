// A Hugging Face tokenizer.json of the byte-level BPE kind -> BpeSpec. What is not understood is refused by
// its name: a tokenizer that is almost right gives wrong ids without a sign.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/text/bpe.hpp"
#include "morphvlm/text/vocab_json.hpp"

namespace morphvlm {

/// What is done with the keys of a tokenizer.json.
inline constexpr FileKey kTokenizerJsonKeys[] = {
    {"version", KeyUse::ignored},
    {"truncation", KeyUse::ignored},  // settings of a use, not of the tokenizer
    {"padding", KeyUse::ignored},
    {"added_tokens"},
    {"normalizer"},
    {"pre_tokenizer"},
    {"post_processor"},
    {"decoder"},
    {"model"},
};

/// What is done with the keys of a tokenizer.json's `model` where it is byte-level.
inline constexpr FileKey kBpeModelKeys[] = {
    {"type"},
    {"vocab"},
    {"merges"},
    {"unk_token"},
    {"ignore_merges"},
    {"dropout", KeyUse::refused, "0.0"},
    {"continuing_subword_prefix", KeyUse::refused, "\"\""},
    {"end_of_word_suffix", KeyUse::refused, "\"\""},
    {"byte_fallback", KeyUse::refused, "false"},
    {"fuse_unk", KeyUse::refused, "false"},
};

namespace detail {

/// A list member of `part`; an error where it is none.
inline std::vector<Json> json_list(const Json& part, std::string_view key, std::string_view where) {
  expect(part.is_object() && part.contains(key) && part.at(std::string(key)).is_array(), where, ": key \"",
         key, "\": expected a list");
  return json_get<std::vector<Json>>(part, key, where);
}

/// Refuses `object[key]` unless it is absent, null, false or "".
inline void refuse_if_set(const Json& object, const char* key, std::string_view where) {
  const Json value = json_member(object, key);
  const bool unset = value.is_null() || value == Json(false) || value == Json("");
  expect(unset, where, ": \"", key, "\": ", value.dump(), " is not supported");
}

inline std::string split_pattern(const Json& pattern, std::string_view where) {
  if (pattern.is_object() && pattern.contains("String")) {
    const auto text = json_get<std::string>(pattern, "String", where);
    expect(!text.empty() && text.find("\\E") == std::string::npos, where, ": Split: pattern not supported");
    return "\\Q" + text + "\\E";
  }
  auto text = json_get<std::string>(pattern, "Regex", where);
  expect(text.find("&&") == std::string::npos, where, ": Split: class intersections (&&) are not supported");
  return text;
}

inline void add_pre_token_steps(const Json& part, std::string_view where, std::vector<PreTokenStep>& steps) {
  const std::string type = json_type(part, where);
  if (type == "Sequence") {
    for (const Json& inner : json_list(part, "pretokenizers", where))
      add_pre_token_steps(inner, where, steps);
  } else if (type == "Digits") {
    steps.push_back({json_get<bool>(part, "individual_digits", where) ? R"(\p{N})" : R"(\p{N}+)"});
  } else if (type == "Split") {
    const auto behavior = json_get<std::string>(part, "behavior", where);
    expect(behavior == "Isolated", where, ": Split: behavior \"", behavior,
           "\" is not supported, only \"Isolated\"");
    refuse_if_set(part, "invert", where);
    steps.push_back({split_pattern(json_member(part, "pattern"), where)});
  } else if (type == "ByteLevel") {
    const bool use_regex = !part.contains("use_regex") || json_get<bool>(part, "use_regex", where);
    steps.push_back({use_regex ? std::string(kGpt2Pattern) : std::string(),
                     json_get<bool>(part, "add_prefix_space", where)});
  } else {
    fail(where, ": \"", type, "\" is not supported; known are Sequence, Digits, Split and ByteLevel");
  }
}

/// Whether the last thing done to a word is spelling it in the byte alphabet.
inline bool ends_in_byte_level(const Json& part, std::string_view where) {
  if (!part.is_object()) return false;
  const std::string type = json_type(part, where);
  if (type != "Sequence") return type == "ByteLevel";
  const auto parts = json_list(part, "pretokenizers", where);
  return !parts.empty() && ends_in_byte_level(parts.back(), where);
}

/// One normalization form, or a list of one at most.
inline Normalization read_normalizer(const Json& part, const std::string& where) {
  if (part.is_null()) return Normalization::none;
  const std::string type = json_type(part, where + ": normalizer");
  if (type == "NFC") return Normalization::nfc;
  if (type == "NFD") return Normalization::nfd;
  if (type == "NFKC") return Normalization::nfkc;
  if (type == "NFKD") return Normalization::nfkd;
  expect(type == "Sequence", where, ": normalizer ", part.dump(),
         " is not supported; known are NFC, NFD, NFKC, NFKD and a Sequence of one of them");
  const auto parts = json_list(part, "normalizers", where + ": normalizer");
  expect(parts.size() <= 1, where, ": normalizer ", part.dump(), ": a Sequence of several is not supported");
  return parts.empty() ? Normalization::none : read_normalizer(parts[0], where);
}

template <class Spec>
void add_template(const Json& part, std::string_view where, Spec& spec) {
  bool seen_text = false;
  const Json specials = json_member(part, "special_tokens");
  for (const Json& item : json_list(part, "single", where)) {
    if (item.is_object() && item.contains("Sequence")) {
      seen_text = true;
      continue;
    }
    const auto name = json_get<std::string>(json_member(item, "SpecialToken"), "id", where);
    const auto ids = json_get<std::vector<std::int64_t>>(json_get<Json>(specials, name, where), "ids", where);
    auto& side = seen_text ? spec.suffix : spec.prefix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
}

template <class Spec>
void read_post_processor(const Json& part, std::string_view where, Spec& spec) {
  if (part.is_null()) return;
  const std::string type = json_type(part, where);
  if (type == "ByteLevel") return;  // adjusts offsets only
  if (type == "TemplateProcessing") return add_template(part, where, spec);
  expect(type == "Sequence", where, ": \"", type,
         "\" is not supported; known are Sequence, ByteLevel and TemplateProcessing");
  for (const Json& inner : json_list(part, "processors", where)) read_post_processor(inner, where, spec);
}

inline std::pair<std::string, std::string> read_merge(const Json& merge, std::string_view where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  expect(merge.is_string(), where, ": expected \"a b\" or [\"a\", \"b\"], found ", merge.dump());
  return split_merge(merge.get<std::string>(), where);
}

inline void read_added_tokens(const Json& root, std::string_view where, std::vector<AddedToken>& added) {
  if (json_member(root, "added_tokens").is_null()) return;
  for (const Json& item : json_list(root, "added_tokens", where)) {
    AddedToken token{json_get<std::string>(item, "content", where),
                     json_get<std::int64_t>(item, "id", where)};
    token.special = json_get<bool>(item, "special", where);
    token.lstrip = json_get<bool>(item, "lstrip", where);
    token.rstrip = json_get<bool>(item, "rstrip", where);
    token.normalized = json_get<bool>(item, "normalized", where);
    token.single_word = json_get<bool>(item, "single_word", where);
    added.push_back(std::move(token));
  }
}

inline const Json& bpe_model_of(const Json& root, const std::string& where) {
  expect(root.is_object() && root.contains("model") && root.at("model").is_object(), where,
         ": key \"model\": expected an object");
  return root.at("model");
}

/// What byte-level and piece tokenizers have in common: merges, vocabulary, added tokens, what stands around
/// a sequence.
template <class Spec>
void read_bpe_model(const Json& root, std::span<const FileKey> keys, const std::string& where, Spec& spec) {
  const Json& model = bpe_model_of(root, where);
  const std::string at = where + ": model";
  const std::string type = json_type(model, at);
  expect(type == "BPE", at, ": type \"", type, "\" is not supported, only \"BPE\"");
  refuse_keys(model, keys, at);
  const Json ignore = json_member(model, "ignore_merges");
  spec.ignore_merges = !ignore.is_null() && json_get<bool>(model, "ignore_merges", at);
  const std::string merges_at = at + ".merges";
  for (const Json& merge : json_list(model, "merges", at))
    spec.merges.push_back(read_merge(merge, merges_at));
  read_added_tokens(root, where + ": added_tokens", spec.added);
  expect(model.contains("vocab"), where, ": key \"model.vocab\" is missing");
  spec.tokens = place_tokens(vocab_entries(model.at("vocab"), where + ": model.vocab"), spec.added, where);
  read_post_processor(json_member(root, "post_processor"), where + ": post_processor", spec);
}

inline std::int64_t required_token(const std::vector<std::string>& tokens, const std::string& token,
                                   std::string_view where) {
  const auto found = std::ranges::find(tokens, token);
  expect(found != tokens.end(), where, ": token \"", token, "\" is not in the vocabulary");
  return found - tokens.begin();
}

/// The model's own unknown token, if it names one.
inline std::optional<std::int64_t> unknown_token(const Json& root, const std::vector<std::string>& tokens,
                                                 const std::string& where) {
  const Json& model = bpe_model_of(root, where);
  if (json_member(model, "unk_token").is_null()) return std::nullopt;
  const std::string at = where + ": unk_token";
  return required_token(tokens, json_get<std::string>(model, "unk_token", at), at);
}

}  // namespace detail

/// A parsed tokenizer.json of the byte-level kind -> BpeSpec; `where` leads the messages.
inline BpeSpec bpe_from_json(const Json& root, const std::string& where) {
  BpeSpec spec;
  spec.normalization = detail::read_normalizer(detail::json_member(root, "normalizer"), where);
  const Json pre = detail::json_member(root, "pre_tokenizer");
  expect(detail::ends_in_byte_level(pre, where + ": pre_tokenizer"), where,
         ": pre_tokenizer: expected one that ends with ByteLevel (a byte-level tokenizer)");
  detail::add_pre_token_steps(pre, where + ": pre_tokenizer", spec.pre_tokenizer);
  const Json decoder = detail::json_member(root, "decoder");
  expect(detail::json_type(decoder, where + ": decoder") == "ByteLevel", where, ": decoder ", decoder.dump(),
         " is not supported, only ByteLevel");
  detail::read_bpe_model(root, kBpeModelKeys, where, spec);
  spec.unk_id = detail::unknown_token(root, spec.tokens, where);
  return spec;
}

/// The text of a tokenizer.json of the byte-level kind -> BpeSpec.
inline BpeSpec parse_bpe_json(std::string_view text, const std::string& where) {
  return bpe_from_json(parse_json(text, where), where);
}

/// Reads a tokenizer.json.
inline BpeSpec read_bpe_json(const std::filesystem::path& path) {
  return parse_bpe_json(read_text_file(path), path.string());
}

/// Sets bos, eos and pad from the tokenizer_config.json that lies beside a tokenizer.json (which does not
/// name them). A token is given as its text or as an object with "content".
inline void read_tokenizer_config(const std::filesystem::path& path, BpeSpec& spec) {
  const Json root = read_json(path);
  const auto set = [&](const char* key, std::optional<std::int64_t>& id) {
    const Json value = detail::json_member(root, key);
    if (value.is_null()) return;
    const std::string where = path.string() + ": " + key;
    const std::string token = value.is_object() ? json_get<std::string>(value, "content", where)
                                                : json_get<std::string>(root, key, path.string());
    id = detail::required_token(spec.tokens, token, where);
  };
  set("bos_token", spec.bos_id);
  set("eos_token", spec.eos_id);
  set("pad_token", spec.pad_id);
}

}  // namespace morphvlm
