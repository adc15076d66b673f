// What readers do with the keys of other people's JSON files, as lists: what is refused is refused by the
// list, and docs/files.md shows it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"

namespace morphvlm {

/// What a reader does with a key.
enum class KeyUse {
  honoured,  ///< read; it decides what comes out
  refused,   ///< what it asks for is not here: an error, unless its value is one of `accepted`
  ignored    ///< changes no number here; passed over
};

/// A key of a file and what a reader does with it.
struct FileKey {
  std::string_view name;           ///< as the file spells it
  KeyUse use = KeyUse::honoured;   ///< what is done with it
  std::string_view accepted = {};  ///< of a refused key: JSON texts of what is taken all the same, one a line
  std::string_view left_out =
      {};  ///< JSON text of what its writer means by leaving it out; empty: an accepted value
};

namespace detail {

inline bool is_accepted(const Json& value, std::string_view accepted) {
  while (!accepted.empty()) {
    const auto end = accepted.find('\n');
    if (value == parse_json(accepted.substr(0, end), "an accepted value")) return true;
    accepted = end == std::string_view::npos ? std::string_view{} : accepted.substr(end + 1);
  }
  return false;
}

inline std::string accepted_list(std::string_view accepted) {
  std::string list;
  for (const char c : accepted) list += c == '\n' ? std::string(" or ") : std::string(1, c);
  return list;
}

}  // namespace detail

/// An Error that names the key, what is accepted and what was found, where `object` asks for something that
/// its reader's list refuses. null is as good as a missing key. `where` leads the message.
inline void refuse_keys(const Json& object, std::span<const FileKey> keys, std::string_view where) {
  for (const FileKey& key : keys) {
    if (key.use != KeyUse::refused) continue;
    const auto it = object.find(key.name);
    const bool missing = it == object.end() || it->is_null();
    if (missing && key.left_out.empty()) continue;
    const Json value = missing ? parse_json(key.left_out, key.name) : *it;
    expect(detail::is_accepted(value, key.accepted), where, ": ", key.name, ": expected ",
           key.accepted.empty() ? std::string("no such key") : detail::accepted_list(key.accepted),
           ", found ", value.dump());
  }
}

/// An Error where `object` has a key that its reader's list lacks: for objects in which an unknown key could
/// change numbers.
inline void refuse_unknown_keys(const Json& object, std::span<const FileKey> keys, std::string_view where) {
  for (const auto& [name, value] : object.items()) {
    bool known = false;
    for (const FileKey& key : keys) known = known || key.name == name;
    expect(known, where, ": unknown key \"", name, "\", found ", value.dump());
  }
}

}  // namespace morphvlm
