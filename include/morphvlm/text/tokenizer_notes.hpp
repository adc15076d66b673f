// What a Hugging Face folder says about its tokenizer beside the vocabulary: tokenizer_config.json,
// special_tokens_map.json, added_tokens.json.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/text/added_tokens.hpp"
#include "morphvlm/text/vocab_json.hpp"

namespace morphvlm {

/// What is done with the keys of a tokenizer_config.json. Which of the honoured ones say anything depends on
/// the kind of tokenizer; their types are checked whatever it is.
inline constexpr FileKey kTokenizerConfigKeys[] = {
    {"tokenizer_class"},
    {"bos_token"},
    {"eos_token"},
    {"unk_token"},
    {"sep_token"},
    {"pad_token"},
    {"cls_token"},
    {"mask_token"},
    {"additional_special_tokens"},
    {"extra_special_tokens"},
    {"added_tokens_decoder"},
    {"add_prefix_space"},
    {"add_bos_token"},
    {"add_eos_token"},
    {"legacy"},
    {"clean_up_tokenization_spaces"},
    {"split_special_tokens", KeyUse::refused, "false"},
    {"do_lower_case", KeyUse::refused, "false"},
    {"errors", KeyUse::refused, "\"replace\""},
    {"sp_model_kwargs", KeyUse::refused, "{}"},
    {"fix_mistral_regex", KeyUse::refused, "false"},
    {"auto_map", KeyUse::refused, "{}"},
    {"init_inputs", KeyUse::refused, "[]"},
    {"backend", KeyUse::ignored},
    {"chat_template", KeyUse::ignored},
    {"from_slow", KeyUse::ignored},
    {"is_local", KeyUse::ignored},
    {"local_files_only", KeyUse::ignored},
    {"max_length", KeyUse::ignored},
    {"model_input_names", KeyUse::ignored},
    {"model_max_length", KeyUse::ignored},
    {"name_or_path", KeyUse::ignored},
    {"pad_to_multiple_of", KeyUse::ignored},
    {"pad_token_type_id", KeyUse::ignored},
    {"padding_side", KeyUse::ignored},
    {"processor_class", KeyUse::ignored},
    {"spaces_between_special_tokens", KeyUse::ignored},
    {"special_tokens_map_file", KeyUse::ignored},
    {"stride", KeyUse::ignored},
    {"tokenizer_file", KeyUse::ignored},
    {"trim_offsets", KeyUse::ignored},
    {"truncation_side", KeyUse::ignored},
    {"truncation_strategy", KeyUse::ignored},
    {"use_default_system_prompt", KeyUse::ignored},
};

/// What is done with the keys of a special_tokens_map.json: a token named here counts where
/// tokenizer_config.json does not name one.
inline constexpr FileKey kSpecialTokensMapKeys[] = {
    {"bos_token"},
    {"eos_token"},
    {"unk_token"},
    {"sep_token"},
    {"pad_token"},
    {"cls_token"},
    {"mask_token"},
    {"additional_special_tokens"},
    {"extra_special_tokens"},
};

namespace detail {

/// The notes of a folder: null where a file is not there.
struct TokenizerNotes {
  std::filesystem::path folder;
  Json config, special_map, added;  // tokenizer_config.json, special_tokens_map.json, added_tokens.json

  static TokenizerNotes read(const std::filesystem::path& folder) {
    TokenizerNotes notes{folder, {}, {}, {}};
    const auto optional_json = [&](const char* name) {
      if (!std::filesystem::exists(folder / name)) return Json();
      Json json = read_json(folder / name);
      expect(json.is_object(), (folder / name).string(), ": expected an object");
      return json;
    };
    notes.config = optional_json("tokenizer_config.json");
    notes.special_map = optional_json("special_tokens_map.json");
    notes.added = optional_json("added_tokens.json");
    if (!notes.config.is_null()) refuse_keys(notes.config, kTokenizerConfigKeys, notes.config_path());
    notes.check_types();
    return notes;
  }

  std::string config_path() const { return (folder / "tokenizer_config.json").string(); }
  std::string where(const char* key) const { return folder.string() + ": tokenizer " + key; }

  /// A flag of tokenizer_config.json, if it is set.
  std::optional<bool> flag(const char* key) const {
    if (json_member(config, key).is_null()) return std::nullopt;
    return json_get<bool>(config, key, config_path());
  }
  bool flag(const char* key, bool fallback) const { return flag(key).value_or(fallback); }

  /// The token with a role, such as "bos_token"; it is a text or an object with "content".
  std::optional<AddedToken> role(const char* key) const {
    for (const auto& [file, notes] : files())
      if (const Json value = json_member(*notes, key); !value.is_null())
        return special_token(value, file + ": key \"" + key + '"');
    return std::nullopt;
  }

  /// Special tokens that play no role.
  std::vector<AddedToken> extra_tokens() const {
    std::vector<AddedToken> tokens;
    for (const auto& [file, notes] : files()) {
      for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
        const std::string at = file + ": key \"" + key + '"';
        const Json list = json_member(*notes, key);
        expect(list.is_null() || list.is_array() || list.is_object(), at,
               ": expected a list of tokens, found ", list.dump());
        for (const auto& [unused, value] : list.items()) tokens.push_back(special_token(value, at));
      }
    }
    return tokens;
  }

  /// Added tokens in the order of their ids, from whichever file names them.
  std::vector<AddedToken> added_tokens() const {
    std::vector<AddedToken> tokens;
    std::unordered_set<std::int64_t> known;
    const Json decoder = json_member(config, "added_tokens_decoder");
    expect(decoder.is_null() || decoder.is_object(), config_path(),
           ": key \"added_tokens_decoder\": expected an object, found ", decoder.dump());
    for (const auto& [key, value] : decoder.items()) {
      const std::string at = where("added_tokens_decoder") + ": " + key;
      expect(!key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos, at,
             ": expected an id");
      AddedToken token = described_token(value, false, at);
      token.id = std::stoll(key);
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

 private:
  std::vector<std::pair<std::string, const Json*>> files() const {
    return {{config_path(), &config}, {(folder / "special_tokens_map.json").string(), &special_map}};
  }

  static AddedToken described_token(const Json& value, bool special, const std::string& at) {
    const auto on = [&](const char* name, bool fallback) {
      return json_member(value, name).is_null() ? fallback : json_get<bool>(value, name, at);
    };
    AddedToken token{json_get<std::string>(value, "content", at)};
    token.special = special || on("special", false);
    token.lstrip = on("lstrip", false);
    token.rstrip = on("rstrip", false);
    token.normalized = on("normalized", !token.special);
    token.single_word = on("single_word", false);
    return token;
  }

  static AddedToken special_token(const Json& value, const std::string& at) {
    if (value.is_object()) return described_token(value, true, at);
    expect(value.is_string(), at, ": expected a token, found ", value.dump());
    return {.text = value.get<std::string>()};
  }

  // A key that says nothing of this kind of tokenizer is looked at all the same: its value shows a damaged
  // file.
  void check_types() const {
    for (const char* key :
         {"add_prefix_space", "add_bos_token", "add_eos_token", "legacy", "clean_up_tokenization_spaces"})
      flag(key);
    for (const char* key :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
      role(key);
    extra_tokens();
    added_tokens();
    tokenizer_class();
  }
};

}  // namespace detail

}  // namespace morphvlm
