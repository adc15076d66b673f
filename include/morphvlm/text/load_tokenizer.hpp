// A tokenizer from a model's folder or from one file: what is there decides which kind it is.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/text/bio_gpt_tokenizer.hpp"
#include "morphvlm/text/bpe_files.hpp"
#include "morphvlm/text/bpe_gguf.hpp"
#include "morphvlm/text/bpe_json.hpp"
#include "morphvlm/text/sentence_piece.hpp"
#include "morphvlm/text/sentence_piece_gguf.hpp"
#include "morphvlm/text/tokenizer.hpp"

namespace morphvlm {

namespace detail {

/// What a folder says about its tokenizer beside the vocabulary: null where a file is not there.
struct TokenizerNotes {
  std::filesystem::path folder;
  Json config, special_map, added;  // tokenizer_config.json, special_tokens_map.json, added_tokens.json

  static TokenizerNotes read(const std::filesystem::path& folder) {
    TokenizerNotes notes{folder, {}, {}, {}};
    const auto optional_json = [&](const char* name) {
      return std::filesystem::exists(folder / name) ? read_json(folder / name) : Json();
    };
    notes.config = optional_json("tokenizer_config.json");
    notes.special_map = optional_json("special_tokens_map.json");
    notes.added = optional_json("added_tokens.json");
    return notes;
  }

  std::string where(const char* key) const { return folder.string() + ": tokenizer " + key; }

  /// A flag of tokenizer_config.json.
  bool flag(const char* key, bool fallback) const {
    const Json value = json_member(config, key);
    return value.is_null() ? fallback : json_get<bool>(config, key, where("config"));
  }

  /// The text of a token with a role, such as "bos_token"; it is a text or an object with "content".
  std::optional<std::string> role(const char* key) const {
    for (const Json* notes : {&config, &special_map}) {
      const Json value = json_member(*notes, key);
      if (value.is_null()) continue;
      return value.is_object() ? json_get<std::string>(value, "content", where(key))
                               : json_get<std::string>(*notes, key, where(key));
    }
    return std::nullopt;
  }

  /// Added tokens in the order of their ids, from whichever file names them.
  std::vector<AddedToken> added_tokens() const {
    std::vector<AddedToken> tokens;
    std::unordered_set<std::int64_t> known;
    const Json decoder = json_member(config, "added_tokens_decoder");
    expect(decoder.is_null() || decoder.is_object(), where("added_tokens_decoder"), ": expected an object");
    for (const auto& [key, described] : decoder.items()) {
      const Json& value = described;  // clang 14 cannot capture the binding itself
      const std::string at = where("added_tokens_decoder") + ": " + key;
      expect(!key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos, at,
             ": expected an id");
      const auto on = [&](const char* name, bool fallback) {
        return json_member(value, name).is_null() ? fallback : json_get<bool>(value, name, at);
      };
      AddedToken token{json_get<std::string>(value, "content", at), std::stoll(key)};
      token.special = on("special", false);
      token.lstrip = on("lstrip", false);
      token.rstrip = on("rstrip", false);
      token.normalized = on("normalized", !token.special);
      token.single_word = on("single_word", false);
      known.insert(token.id);
      tokens.push_back(std::move(token));
    }
    if (!added.is_null())
      for (const auto& [text, id] : vocab_entries(added, where("added_tokens.json")))
        if (known.insert(id).second) tokens.push_back({text, id});
    std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    return tokens;
  }

  /// The name of the class in transformers without "Fast", or "".
  std::string tokenizer_class() const {
    const Json value = json_member(config, "tokenizer_class");
    if (value.is_null()) return {};
    auto name = json_get<std::string>(config, "tokenizer_class", where("config"));
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    return name;
  }
};

/// Gives the tokens that the notes name their roles. A role is left alone where the notes do not speak of it;
/// a token that the vocabulary lacks is added, as transformers does.
inline void set_roles(const TokenizerNotes& notes, Tokenizer& tokenizer) {
  const auto set = [&](const char* key, std::optional<std::int64_t>& id) {
    if (const auto text = notes.role(key); text && !text->empty()) id = add_token(tokenizer, *text);
  };
  TokenRoles roles = token_roles(tokenizer);
  set("bos_token", roles.bos);
  set("eos_token", roles.eos);
  set("unk_token", roles.unk);
  set("pad_token", roles.pad);
  set("sep_token", roles.sep);
  if (auto* bpe = std::get_if<ByteLevelBpe>(&tokenizer.kind)) {
    bpe->spec.bos_id = roles.bos;
    bpe->spec.eos_id = roles.eos;
    bpe->spec.pad_id = roles.pad;  // the unknown token is the model's: bytes are never unknown
  }
  if (auto* pieces = std::get_if<SentencePiece>(&tokenizer.kind)) pieces->spec.roles = roles;
  if (auto* bpe = std::get_if<BioGptBpe>(&tokenizer.kind)) bpe->spec.roles = roles;
}

inline Tokenizer load_sentence_piece_folder(const TokenizerNotes& notes, const std::filesystem::path& model) {
  SentencePieceSpec spec;
  spec.model = read_text_file(model);
  spec.added = notes.added_tokens();
  spec.legacy = notes.flag("legacy", true);
  spec.add_prefix_space = notes.flag("add_prefix_space", true);
  spec.add_bos = notes.flag("add_bos_token", true);
  spec.add_eos = notes.flag("add_eos_token", false);
  return make_sentence_piece(std::move(spec), model.string());
}

inline std::unordered_set<std::int64_t> ids_of(const std::vector<AddedToken>& tokens) {
  std::unordered_set<std::int64_t> ids;
  for (const AddedToken& token : tokens) ids.insert(token.id);
  return ids;
}

inline Tokenizer load_bio_gpt_folder(const TokenizerNotes& notes) {
  BioGptSpec spec = read_bio_gpt_files(notes.folder);
  auto known = ids_of(spec.added);
  for (AddedToken& token : notes.added_tokens())
    if (known.insert(token.id).second) spec.added.push_back(std::move(token));
  return make_bio_gpt(std::move(spec));
}

inline Tokenizer load_bpe_folder(const TokenizerNotes& notes, const std::string& type) {
  BpeSpec spec = read_bpe_files(notes.folder);
  if (type == "GPTNeoXTokenizer") spec.normalization = Normalization::nfc;
  spec.pre_tokenizer[0].add_prefix_space = notes.flag("add_prefix_space", false);
  auto known = ids_of(spec.added);
  for (AddedToken& token : notes.added_tokens()) {
    if (token.id == std::ssize(spec.tokens)) spec.tokens.push_back(token.text);
    if (known.insert(token.id).second) spec.added.push_back(std::move(token));
  }
  return make_byte_level_bpe(std::move(spec));
}

/// Whether merges.txt beside vocab.json is of the kind that ends words with "</w>".
inline bool has_word_ends(const std::filesystem::path& folder) {
  return read_text_file(folder / "merges.txt").find(kWordEnd) != std::string::npos;
}

inline Tokenizer load_tokenizer_folder(const std::filesystem::path& folder) {
  const TokenizerNotes notes = TokenizerNotes::read(folder);
  const std::string type = notes.tokenizer_class();
  const auto there = [&](const char* name) { return std::filesystem::exists(folder / name); };
  const bool pair = there("vocab.json") && there("merges.txt");
  const bool pieces = type == "LlamaTokenizer" || type.empty();
  const auto make = [&]() -> std::optional<Tokenizer> {
    if (type == "BioGptTokenizer" ||
        (type.empty() && pair && !there("tokenizer.json") && has_word_ends(folder))) {
      if (pair) return load_bio_gpt_folder(notes);
      return std::nullopt;
    }
    if (pieces && there("tokenizer.model"))
      return load_sentence_piece_folder(notes, folder / "tokenizer.model");
    if (there("tokenizer.json")) return make_byte_level_bpe(read_bpe_json(folder / "tokenizer.json"));
    if (pair) return load_bpe_folder(notes, type);
    return std::nullopt;
  };
  auto tokenizer = make();
  expect(tokenizer.has_value(), folder.string(), ": no tokenizer found",
         type.empty() ? std::string() : " for tokenizer_class \"" + type + '"',
         "; looked for tokenizer.json (byte-level BPE), tokenizer.model (SentencePiece), vocab.json with "
         "merges.txt");
  set_roles(notes, *tokenizer);
  tokenizer->clean_up_spaces = notes.flag("clean_up_tokenization_spaces", false);
  return *tokenizer;
}

inline Tokenizer load_gguf_tokenizer(const std::filesystem::path& path) {
  const GgufFile file = open_gguf(path);
  const auto kind = file.get<std::string>("tokenizer.ggml.model");
  if (kind == "gpt2") return make_byte_level_bpe(gguf_bpe(file));
  if (kind == "llama") return make_sentence_piece(gguf_sentence_piece(file), path.string());
  fail(path.string(), ": tokenizer.ggml.model is \"", kind, "\", expected \"gpt2\" or \"llama\"");
}

}  // namespace detail

/// The tokenizer of a Hugging Face folder (tokenizer_config.json's `tokenizer_class` and the vocabulary files
/// that are there decide) or of a single file: a GGUF, a tokenizer.json, a tokenizer.model. Where a LLaMA
/// folder has both tokenizer.model and tokenizer.json, the former counts. Errors name what was looked for.
inline Tokenizer load_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return detail::load_tokenizer_folder(path);
  expect(std::filesystem::exists(path), path.string(), ": there is no such tokenizer file or folder");
  if (path.extension() == ".gguf") return detail::load_gguf_tokenizer(path);
  if (path.extension() == ".json") return make_byte_level_bpe(read_bpe_json(path));
  if (path.extension() == ".model" || path.filename().string().starts_with("tokenizer.model"))
    return read_sentence_piece(path);
  fail(path.string(), ": expected a folder, a .gguf, a tokenizer.json or a tokenizer.model");
}

}  // namespace morphvlm
