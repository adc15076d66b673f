// A Hugging Face tokenizer.json of the byte-level BPE kind -> BpeSpec. What is not understood is refused by
// its name: a tokenizer that is almost right gives wrong ids without a sign.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/text/bpe.hpp"
#include "morphvlm/text/vocab_json.hpp"

namespace morphvlm {

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

inline void add_template(const Json& part, std::string_view where, BpeSpec& spec) {
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

inline void read_post_processor(const Json& part, std::string_view where, BpeSpec& spec) {
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

inline void read_added_tokens(const Json& root, std::string_view where, BpeSpec& spec) {
  if (json_member(root, "added_tokens").is_null()) return;
  for (const Json& item : json_list(root, "added_tokens", where)) {
    AddedToken token{json_get<std::string>(item, "content", where),
                     json_get<std::int64_t>(item, "id", where)};
    token.special = json_get<bool>(item, "special", where);
    token.lstrip = json_get<bool>(item, "lstrip", where);
    token.rstrip = json_get<bool>(item, "rstrip", where);
    token.normalized = json_get<bool>(item, "normalized", where);
    token.single_word = json_get<bool>(item, "single_word", where);
    spec.added.push_back(std::move(token));
  }
}

inline void read_bpe_model(const Json& model, const std::string& where, BpeSpec& spec) {
  const std::string type = json_type(model, where);
  expect(type == "BPE", where, ": type \"", type, "\" is not supported, only \"BPE\"");
  for (const char* key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "fuse_unk"})
    refuse_if_set(model, key, where);
  const Json ignore = json_member(model, "ignore_merges");
  spec.ignore_merges = !ignore.is_null() && json_get<bool>(model, "ignore_merges", where);
  const std::string merges_at = where + ".merges";
  for (const Json& merge : json_list(model, "merges", where))
    spec.merges.push_back(read_merge(merge, merges_at));
}

inline std::int64_t required_token(const BpeSpec& spec, const std::string& token, std::string_view where) {
  for (std::size_t id = 0; id < spec.tokens.size(); ++id)
    if (spec.tokens[id] == token) return static_cast<std::int64_t>(id);
  fail(where, ": token \"", token, "\" is not in the vocabulary");
}

}  // namespace detail

/// The text of a tokenizer.json -> BpeSpec; `where` leads the messages. Its "truncation" and "padding" are
/// settings of a use, not of the tokenizer, and are passed over.
inline BpeSpec parse_bpe_json(std::string_view text, const std::string& where) {
  const Json root = parse_json(text, where);
  BpeSpec spec;
  spec.normalization = detail::read_normalizer(detail::json_member(root, "normalizer"), where);
  const Json pre = detail::json_member(root, "pre_tokenizer");
  expect(detail::ends_in_byte_level(pre, where + ": pre_tokenizer"), where,
         ": pre_tokenizer: expected one that ends with ByteLevel (a byte-level tokenizer)");
  detail::add_pre_token_steps(pre, where + ": pre_tokenizer", spec.pre_tokenizer);
  const Json decoder = detail::json_member(root, "decoder");
  expect(detail::json_type(decoder, where + ": decoder") == "ByteLevel", where, ": decoder ", decoder.dump(),
         " is not supported, only ByteLevel");
  expect(root.is_object() && root.contains("model") && root.at("model").is_object(), where,
         ": key \"model\": expected an object");
  const Json& model = root.at("model");
  detail::read_bpe_model(model, where + ": model", spec);
  detail::read_added_tokens(root, where + ": added_tokens", spec);
  expect(model.contains("vocab"), where, ": key \"model.vocab\" is missing");
  const auto vocab = detail::vocab_entries(model.at("vocab"), where + ": model.vocab");
  spec.tokens = detail::place_tokens(vocab, spec.added, where);
  detail::read_post_processor(detail::json_member(root, "post_processor"), where + ": post_processor", spec);
  const Json unk = detail::json_member(model, "unk_token");
  if (!unk.is_null())
    spec.unk_id =
        detail::required_token(spec, json_get<std::string>(model, "unk_token", where), where + ": unk_token");
  return spec;
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
    id = detail::required_token(spec, token, where);
  };
  set("bos_token", spec.bos_id);
  set("eos_token", spec.eos_id);
  set("pad_token", spec.pad_id);
}

}  // namespace morphvlm
