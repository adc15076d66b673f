// JSON: the only header that names nlohmann/json. Everything else says `Json` and uses the readers here,
// which turn the library's exceptions into ours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/text_file.hpp"

namespace morphvlm {

/// Insertion-ordered, so that files written here read in the order of the fields.
using Json = nlohmann::ordered_json;

/// Deepest nesting accepted from a file: far above any config, far below the parser's stack.
inline constexpr std::size_t kMaxJsonDepth = 64;

namespace detail {

// Takes the parser's events. The library's own builder looks every key of an object up among all before it,
// which for a vocabulary of 50,000 takes minutes, and lets a repeated key's last value win.
class JsonBuilder : public Json::json_sax_t {
 public:
  explicit JsonBuilder(std::string_view where) : where_(where) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no text has any
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    Level& level = levels_.back();
    auto& members = level.value->get_ref<Json::object_t&>();
    expect(!is_known(level, members, name), where_, ": key \"", name, "\" appears twice in one object");
    members.emplace_back(std::move(name), nullptr);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception& e) override {
    fail(where_, ": not valid JSON: ", e.what());
  }

 private:
  // `keys` stays empty while an object is small.
  struct Level {
    Json* value;
    std::unordered_set<std::string> keys = {};
  };

  static bool is_known(Level& level, const Json::object_t& members, const std::string& name) {
    constexpr std::size_t kSmall = 16;
    if (members.size() < kSmall) {
      return std::ranges::any_of(members, [&](const auto& member) { return member.first == name; });
    }
    if (level.keys.empty()) {
      for (const auto& member : members) level.keys.insert(member.first);
    }
    return !level.keys.insert(name).second;
  }

  // Where the next value belongs: an object's last member is the one whose key has just been read.
  Json& place() {
    if (levels_.empty()) return root_;
    Json& parent = *levels_.back().value;
    if (parent.is_object()) return parent.get_ref<Json::object_t&>().back().second;
    return parent.get_ref<Json::array_t&>().emplace_back();
  }
  bool add(Json value) {
    place() = std::move(value);
    return true;
  }
  bool open(Json value) {
    expect(levels_.size() < kMaxJsonDepth, where_, ": JSON nested deeper than ", kMaxJsonDepth);
    Json& here = place();
    here = std::move(value);
    levels_.push_back({&here});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view where_;
  Json root_;
  std::vector<Level> levels_;
};

}  // namespace detail

/// Parses `text` in linear time; `where` (a file or key) leads the message of any error. A key that an object
/// has twice is an error: which of its values is meant cannot be known.
inline Json parse_json(std::string_view text, std::string_view where) {
  detail::JsonBuilder builder(where);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

/// `json` as text on one line, or laid out with `indent`. Bytes that are no UTF-8, as a path's may be, become
/// U+FFFD: the library would throw.
inline std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Reads and parses a whole file.
inline Json read_json(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

namespace detail {

template <class T>
inline constexpr bool is_integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

/// Whether `json` is an integer that T can hold.
template <class T>
bool holds_integer(const Json& json) {
  if (!json.is_number_integer()) return false;
  return json.is_number_unsigned() ? std::in_range<T>(json.template get<std::uint64_t>())
                                   : std::in_range<T>(json.template get<std::int64_t>());
}

// The library casts whatever is a number: 1.5 becomes 1, 2^40 another number of 32 bits, 1e300 undefined
// behaviour. What is no number it refuses itself.
template <class T>
void expect_integers(const Json& json, std::string_view key, std::string_view where) {
  if constexpr (is_integer<T>) {
    expect(holds_integer<T>(json) || !(json.is_number() || json.is_boolean()), where, ": key \"", key,
           "\": expected an integer of ", 8 * sizeof(T), " bits, found ", json.dump());
  } else if constexpr (requires { typename T::value_type; }) {
    if constexpr (std::is_same_v<T, std::vector<typename T::value_type>> &&
                  is_integer<typename T::value_type>)
      for (const auto& item : json) expect_integers<typename T::value_type>(item, key, where);
  }
}

}  // namespace detail

/// The member `key` of `object` as T; a missing key or another type is an error naming `where` and the key,
/// and so is a number that is no integer of T's range where T is an integer (or a vector of them).
template <class T>
T json_get(const Json& object, std::string_view key, std::string_view where) {
  expect(object.is_object() && object.contains(key), where, ": key \"", key, "\" is missing");
  const Json& found = object.at(std::string(key));
  detail::expect_integers<T>(found, key, where);
  try {
    return found.template get<T>();
  } catch (const nlohmann::json::exception& e) {
    fail(where, ": key \"", key, "\": ", e.what());
  }
}

}  // namespace morphvlm
