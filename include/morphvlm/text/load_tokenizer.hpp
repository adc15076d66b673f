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
#include "morphvlm/text/piece_bpe_json.hpp"
#include "morphvlm/text/piece_bpe_model.hpp"
#include "morphvlm/text/sentence_piece.hpp"
#include "morphvlm/text/sentence_piece_gguf.hpp"
#include "morphvlm/text/tokenizer.hpp"
#include "morphvlm/text/tokenizer_notes.hpp"

namespace morphvlm {

namespace detail {

/// Runs `make`; a message that begins with "tokenizer: ", from where no file is known, gets the file's name.
template <class F>
auto in_file(const std::filesystem::path& path, F&& make) {
  constexpr std::string_view kUnnamed = "tokenizer: ";
  try {
    return make();
  } catch (const Error& e) {
    const std::string_view message = e.what();
    if (!message.starts_with(kUnnamed)) throw;
    fail(path.string(), ": ", message.substr(kUnnamed.size()));
  }
}

/// Gives the tokens that the notes name their roles, and adds those that play none. A role is left alone
/// where the notes do not speak of it; a token that the vocabulary lacks is added, as transformers does, in
/// its order.
inline void set_roles(const TokenizerNotes& notes, Tokenizer& tokenizer) {
  TokenRoles roles = token_roles(tokenizer);
  std::optional<std::int64_t> no_role;
  const std::pair<const char*, std::optional<std::int64_t>*> all[] = {
      {"bos_token", &roles.bos}, {"eos_token", &roles.eos}, {"unk_token", &roles.unk},
      {"sep_token", &roles.sep}, {"pad_token", &roles.pad}, {"cls_token", &no_role},
      {"mask_token", &no_role}};
  for (const auto& [key, id] : all)
    if (const auto token = notes.role(key); token && !token->text.empty()) *id = add_token(tokenizer, *token);
  // The classes know these tokens without being told.
  const std::string type = notes.tokenizer_class();
  const bool gpt = type == "GPT2Tokenizer" || type == "GPTNeoXTokenizer", llama = type == "LlamaTokenizer";
  if (gpt || llama) {
    if (!roles.bos) roles.bos = token_id(tokenizer, gpt ? "<|endoftext|>" : "<s>");
    if (!roles.eos) roles.eos = token_id(tokenizer, gpt ? "<|endoftext|>" : "</s>");
  }
  for (const AddedToken& token : notes.extra_tokens()) add_token(tokenizer, token);
  if (auto* bpe = std::get_if<ByteLevelBpe>(&tokenizer.kind)) {
    bpe->spec.bos_id = roles.bos;
    bpe->spec.eos_id = roles.eos;
    bpe->spec.pad_id = roles.pad;  // the unknown token is the model's: bytes are never unknown
  }
  if (auto* pieces = std::get_if<SentencePiece>(&tokenizer.kind)) pieces->spec.roles = roles;
  if (auto* bpe = std::get_if<BioGPTBpe>(&tokenizer.kind)) bpe->spec.roles = roles;
  if (auto* bpe = std::get_if<PieceBpe>(&tokenizer.kind)) {
    const auto unk = bpe->spec.roles.unk;  // here too
    bpe->spec.roles = roles;
    bpe->spec.roles.unk = unk;
  }
}

/// An error where a setting of tokenizer_config.json is not what another file has: transformers' versions
/// differ in which of the two counts.
inline void expect_agreement(const TokenizerNotes& notes, const char* key, bool theirs,
                             std::string_view other) {
  const bool ours = notes.flag(key, theirs);
  expect(ours == theirs, notes.config_path(), ": key \"", key, "\": expected ", theirs ? "true" : "false",
         ", as ", other, " has it, found ", ours ? "true" : "false",
         "; take the key out or correct one of the two");
}

/// Puts bos before and eos behind a sequence where the notes ask for it, for files that say nothing of it.
template <class Spec>
void add_around(const TokenizerNotes& notes, const TokenRoles& roles, bool bos, Spec& spec) {
  const auto add = [&](const char* key, bool fallback, const std::optional<std::int64_t>& id,
                       std::vector<std::int64_t>& side) {
    if (!notes.flag(key, fallback)) return;
    expect(id.has_value(), notes.config_path(), ": key \"", key, "\" is true, but there is no such token");
    side.push_back(*id);
  };
  add("add_bos_token", bos, roles.bos, spec.prefix);
  add("add_eos_token", false, roles.eos, spec.suffix);
}

/// Tokens of tokenizer_config.json that the vocabulary lacks.
inline void add_missing_tokens(const TokenizerNotes& notes, Tokenizer& tokenizer) {
  for (const AddedToken& token : notes.added_tokens()) {
    const auto id = add_token(tokenizer, token);
    expect(id == token.id, notes.config_path(), ": added token \"", token.text, "\": expected id ", id,
           ", as the vocabulary has it, found ", token.id);
  }
}

/// Whether the text gets a space of its own in front.
inline bool adds_space(const PieceBpeSpec& spec) {
  if (spec.metaspace) return spec.metaspace->prepend != PieceSpace::never;
  return std::ranges::any_of(spec.normalizers, [](const auto& step) { return step.pattern.empty(); });
}

/// A tokenizer.model as transformers before 5 takes it, or as transformers 5 does.
inline Tokenizer load_pieces_folder(const TokenizerNotes& notes, const std::filesystem::path& path,
                                    bool llama) {
  const auto legacy = notes.flag("legacy");
  expect(
      legacy || !llama, notes.config_path(),
      ": key \"legacy\" is missing, and it changes the ids behind special tokens such as <image>: write "
      "\"legacy\": true (transformers before 5 where the key is missing; OpenFlamingo and Multimodal-GPT) or "
      "\"legacy\": false (transformers 5)");
  const bool space = notes.flag("add_prefix_space", true);
  std::string model = read_file_bytes(path);
  if (llama && *legacy) {
    expect(space, notes.config_path(),
           ": key \"add_prefix_space\": expected true where \"legacy\" is true, found false");
    SentencePieceSpec spec;
    spec.model = std::move(model);
    spec.added = notes.added_tokens();
    spec.add_bos = notes.flag("add_bos_token", true);
    spec.add_eos = notes.flag("add_eos_token", false);
    Tokenizer tokenizer = make_sentence_piece(std::move(spec), path.string());
    set_roles(notes, tokenizer);
    return tokenizer;
  }
  return in_file(path, [&] {
    Tokenizer tokenizer = make_piece_bpe(
        llama ? llama_pieces(model, space ? PieceSpace::first : PieceSpace::never, path.string())
              : backend_pieces(model, legacy.value_or(true), path.string()));
    auto& pieces = std::get<PieceBpe>(tokenizer.kind);
    if (!llama)
      expect_agreement(notes, "add_prefix_space", adds_space(pieces.spec), path.filename().string());
    add_missing_tokens(notes, tokenizer);
    set_roles(notes, tokenizer);
    add_around(notes, pieces.spec.roles, llama, pieces.spec);
    return tokenizer;
  });
}

inline std::unordered_set<std::int64_t> ids_of(const std::vector<AddedToken>& tokens) {
  std::unordered_set<std::int64_t> ids;
  for (const AddedToken& token : tokens) ids.insert(token.id);
  return ids;
}

inline Tokenizer load_bio_gpt_folder(const TokenizerNotes& notes) {
  BioGPTSpec spec = read_bio_gpt_files(notes.folder);
  auto known = ids_of(spec.added);
  for (AddedToken& token : notes.added_tokens())
    if (known.insert(token.id).second) spec.added.push_back(std::move(token));
  for (const char* key : {"add_prefix_space", "add_bos_token", "add_eos_token"})
    expect_agreement(notes, key, false, "BioGPT's tokenizer");
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

/// A byte-level tokenizer.json with what tokenizer_config.json says of spaces: GPT-2's and GPT-NeoX's classes
/// follow it, whatever tokenizer.json has.
inline Tokenizer load_byte_level_json(const TokenizerNotes& notes, const std::string& type, const Json& root,
                                      const std::filesystem::path& path) {
  BpeSpec spec = bpe_from_json(root, path.string());
  bool& space = spec.pre_tokenizer.back().add_prefix_space;
  if (type == "GPT2Tokenizer" || type == "GPTNeoXTokenizer")
    space = notes.flag("add_prefix_space", false);
  else if (type.empty())
    space = notes.flag("add_prefix_space", space);
  else
    expect_agreement(notes, "add_prefix_space", space, "tokenizer.json");
  return make_byte_level_bpe(std::move(spec));
}

inline Tokenizer load_piece_json(const TokenizerNotes& notes, const std::string& type, const Json& root,
                                 const std::filesystem::path& path) {
  PieceBpeSpec spec = piece_bpe_from_json(root, path.string());
  const auto legacy = notes.flag("legacy");
  const bool space = notes.flag("add_prefix_space", adds_space(spec));
  if (type != "LlamaTokenizer" && !type.empty()) {
    expect_agreement(notes, "add_prefix_space", adds_space(spec), "tokenizer.json");
    return make_piece_bpe(std::move(spec));
  }
  const bool first =
      spec.metaspace && spec.normalizers.empty() && spec.metaspace->prepend == PieceSpace::first;
  if (legacy == false || (!legacy && (first || !space))) {
    set_llama_spaces(spec, space ? PieceSpace::first : PieceSpace::never);
  } else {
    expect(legacy.has_value(), notes.config_path(), ": key \"legacy\" is missing, and ", path.string(),
           " puts a space before each text between special "
           "tokens, which transformers 5 does not: write \"legacy\": true for tokenizer.json as it is "
           "(transformers "
           "before 5) or \"legacy\": false (transformers 5)");
    expect(!first, notes.config_path(), ": key \"legacy\": expected false, as ", path.string(),
           " has it (prepend_scheme \"first\"), found true");
    expect_agreement(notes, "add_prefix_space", adds_space(spec), "tokenizer.json");
  }
  return make_piece_bpe(std::move(spec));
}

/// What a tokenizer puts around a sequence must be what the notes say of it, where they say something.
inline void expect_around(const TokenizerNotes& notes, const Tokenizer& tokenizer) {
  const auto sequence = encode_sequence(tokenizer, "");
  const TokenRoles roles = token_roles(tokenizer);
  expect_agreement(notes, "add_bos_token", !sequence.empty() && roles.bos && sequence.front() == *roles.bos,
                   "tokenizer.json");
  const bool both = sequence.size() > 1 || roles.bos != roles.eos;
  expect_agreement(notes, "add_eos_token",
                   both && !sequence.empty() && roles.eos && sequence.back() == *roles.eos, "tokenizer.json");
}

inline Tokenizer load_tokenizer_json(const TokenizerNotes& notes, const std::string& type) {
  const auto path = notes.folder / "tokenizer.json";
  const Json root = read_json(path);
  return in_file(path, [&] {
    Tokenizer tokenizer = is_byte_level_json(root) ? load_byte_level_json(notes, type, root, path)
                                                   : load_piece_json(notes, type, root, path);
    add_missing_tokens(notes, tokenizer);
    set_roles(notes, tokenizer);
    expect_around(notes, tokenizer);
    return tokenizer;
  });
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
  // What transformers 5 calls a tokenizer whose files say all.
  const bool backend = type == "TokenizersBackend" || type == "PreTrainedTokenizer";
  const bool llama = type == "LlamaTokenizer" || type.empty();
  const auto with_roles = [&](Tokenizer tokenizer) {
    set_roles(notes, tokenizer);
    return tokenizer;
  };
  const auto make = [&]() -> std::optional<Tokenizer> {
    if (type == "BioGptTokenizer" ||
        (type.empty() && pair && !there("tokenizer.json") && has_word_ends(folder))) {
      if (!pair) return std::nullopt;
      return in_file(folder / "merges.txt", [&] { return with_roles(load_bio_gpt_folder(notes)); });
    }
    const bool json = there("tokenizer.json"), pieces = there("tokenizer.model");
    if (pieces && (llama || (backend && !json)))
      return load_pieces_folder(notes, folder / "tokenizer.model", llama);
    if (json) return load_tokenizer_json(notes, type);
    if (!pair) return std::nullopt;
    return in_file(folder / "merges.txt", [&] {
      Tokenizer tokenizer = with_roles(load_bpe_folder(notes, type));
      add_around(notes, token_roles(tokenizer), false, std::get<ByteLevelBpe>(tokenizer.kind).spec);
      return tokenizer;
    });
  };
  auto tokenizer = make();
  expect(tokenizer.has_value(), folder.string(), ": no tokenizer found",
         type.empty() ? std::string() : " for tokenizer_class \"" + type + '"',
         "; looked for tokenizer.json (BPE), tokenizer.model (SentencePiece), vocab.json with merges.txt");
  tokenizer->clean_up_spaces = notes.flag("clean_up_tokenization_spaces", false);
  return *tokenizer;
}

inline Tokenizer load_gguf_tokenizer(const std::filesystem::path& path) {
  const GgufFile file = open_gguf(path);
  const auto kind = file.get<std::string>("tokenizer.ggml.model");
  if (kind == "gpt2") return in_file(path, [&] { return Tokenizer(make_byte_level_bpe(gguf_bpe(file))); });
  if (kind == "llama") return make_sentence_piece(gguf_sentence_piece(file), path.string());
  fail(path.string(), ": tokenizer.ggml.model is \"", kind, "\", expected \"gpt2\" or \"llama\"");
}

}  // namespace detail

/// A parsed tokenizer.json by itself, of either kind; `where` leads the messages.
inline Tokenizer tokenizer_from_json(const Json& root, const std::string& where) {
  if (detail::is_byte_level_json(root)) return make_byte_level_bpe(bpe_from_json(root, where));
  return make_piece_bpe(piece_bpe_from_json(root, where));
}

/// Reads a tokenizer.json by itself.
inline Tokenizer read_tokenizer_json(const std::filesystem::path& path) {
  const Json root = read_json(path);
  return detail::in_file(path, [&] { return tokenizer_from_json(root, path.string()); });
}

/// The tokenizer of a Hugging Face folder (tokenizer_config.json's `tokenizer_class` and the vocabulary files
/// that are there decide) or of a single file: a GGUF, a tokenizer.json, a tokenizer.model. Where a LLaMA
/// folder has both tokenizer.model and tokenizer.json, the former counts. A single file is taken as it is:
/// what lies beside it is not read, and a tokenizer.model has `legacy` and bos, as llama.cpp does. Errors
/// name what was looked for.
inline Tokenizer load_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return detail::load_tokenizer_folder(path);
  expect(std::filesystem::exists(path), path.string(), ": there is no such tokenizer file or folder");
  if (path.extension() == ".gguf") return detail::load_gguf_tokenizer(path);
  if (path.extension() == ".json") return read_tokenizer_json(path);
  if (path.extension() == ".model" || path.filename().string().starts_with("tokenizer.model"))
    return read_sentence_piece(path);
  fail(path.string(), ": expected a folder, a .gguf, a tokenizer.json or a tokenizer.model");
}

}  // namespace morphvlm
