// Vocabularies in JSON, token -> id: the part of reading that all of the Hugging Face formats share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/text/added_tokens.hpp"

namespace morphvlm {

namespace detail {

using VocabEntries = std::vector<std::pair<std::string, std::int64_t>>;

/// The members of a vocabulary object, token -> id; an error where it is none.
inline VocabEntries vocab_entries(const Json& object, std::string_view where) {
  expect(object.is_object(), where, ": expected an object of token -> id");
  VocabEntries entries;
  entries.reserve(object.size());
  for (const auto& [token, id] : object.items()) {
    expect(id.is_number_integer(), where, ": expected an object of token -> id; at token \"", token,
           "\": ", id.dump());
    entries.emplace_back(token, id.get<std::int64_t>());
  }
  return entries;
}

/// The member, or null where it is absent.
inline Json json_member(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object.at(key) : Json();
}

inline std::string json_type(const Json& part, std::string_view where) {
  return json_get<std::string>(part, "type", where);
}

/// Lays tokens out by id. Ids must be 0, 1, 2, … without a hole, so their number bounds them.
inline std::vector<std::string> place_tokens(const VocabEntries& vocab,
                                             const std::vector<AddedToken>& added_tokens,
                                             std::string_view where) {
  VocabEntries all = vocab;
  std::unordered_map<std::string_view, std::int64_t> known;
  for (const auto& [token, id] : vocab) known.emplace(token, id);
  for (const AddedToken& added : added_tokens) {
    const auto found = known.find(added.text);
    if (found == known.end()) all.emplace_back(added.text, added.id);
  }
  std::vector<std::string> tokens(all.size());
  std::vector<bool> taken(all.size());
  for (const auto& [token, id] : all) {
    expect(id >= 0 && id < std::ssize(all), where, ": token \"", token, "\" has id ", id, ", expected 0 to ",
           all.size() - 1, " for ", all.size(), " tokens");
    const auto at = static_cast<std::size_t>(id);
    expect(!taken[at], where, ": id ", id, " belongs to \"", tokens[at], "\" and to \"", token, "\"");
    taken[at] = true;
    tokens[at] = token;
  }
  return tokens;
}

/// The entries of a vocab.json, in the file's order.
inline VocabEntries read_vocab_json(const std::filesystem::path& path) {
  return vocab_entries(parse_json(read_text_file(path), path.string()), path.string());
}

}  // namespace detail

}  // namespace morphvlm
