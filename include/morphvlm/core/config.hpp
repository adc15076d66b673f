// Configs are aggregates with initialisers. Their field names are the keys of their JSON form and of
// command-line flags; an unknown key is an error that names its path.
#pragma once

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/reflect.hpp"
#include "morphvlm/core/utf8.hpp"

namespace morphvlm {

namespace detail {

template <class T>
struct ConfigTraits {
  static constexpr bool vector = false, optional = false, variant = false, map = false;
};
template <class T>
struct ConfigTraits<std::vector<T>> : ConfigTraits<void> {
  static constexpr bool vector = true;
};
template <class T>
struct ConfigTraits<std::optional<T>> : ConfigTraits<void> {
  static constexpr bool optional = true;
};
template <class... T>
struct ConfigTraits<std::variant<T...>> : ConfigTraits<void> {
  static constexpr bool variant = true;
};
template <class T>
struct ConfigTraits<std::map<std::string, T>> : ConfigTraits<void> {
  static constexpr bool map = true;
};

inline std::string config_path(const std::string& prefix, std::string_view key) {
  return field_path(prefix, key);
}

template <class T>
T scalar_from_json(const Json& json, const std::string& path) {
  const bool fits = std::is_same_v<T, bool>       ? json.is_boolean()
                    : std::is_integral_v<T>       ? json.is_number_integer()
                    : std::is_floating_point_v<T> ? json.is_number()
                                                  : json.is_string();
  const char* wanted = std::is_same_v<T, bool>       ? "true or false"
                       : std::is_integral_v<T>       ? "an integer"
                       : std::is_floating_point_v<T> ? "a number"
                                                     : "a string";
  expect(fits, path, ": expected ", wanted, ", found ", json.dump());
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    expect(holds_integer<T>(json), path, ": ", json.dump(), " does not fit the field's type");
  }
  return json.template get<T>();
}

template <class E>
E enum_from_json(const Json& json, const std::string& path) {
  std::string known;
  for (const auto& [value, name] : enum_names<E>) {
    if (json.is_string() && json.template get<std::string>() == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fail(path, ": expected one of ", known, ", found ", json.dump());
}

}  // namespace detail

/// The JSON form of a config: objects of fields, enums by name, a variant as {"<T::name>": {...}}.
template <class T>
Json to_json(const T& value) {
  using Traits = detail::ConfigTraits<T>;
  if constexpr (Traits::vector) {
    Json out = Json::array();
    for (const auto& item : value) out.push_back(to_json(item));
    return out;
  } else if constexpr (Traits::optional) {
    return value ? to_json(*value) : Json(nullptr);
  } else if constexpr (Traits::variant) {
    return std::visit([](const auto& v) { return Json{{std::string(v.name), to_json(v)}}; }, value);
  } else if constexpr (Traits::map) {
    Json out = Json::object();
    for (const auto& [key, item] : value) out[key] = to_json(item);
    return out;
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(detail::enum_name(value));
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return replace_invalid_utf8(value.string());  // a path may be any bytes, JSON text may not
  } else if constexpr (std::is_same_v<T, std::string>) {
    return replace_invalid_utf8(value);
  } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
    Json out = Json::object();
    if constexpr (Reflectable<T>) {
      for_each_field(value,
                     [&](std::string_view name, const auto& f) { out[std::string(name)] = to_json(f); });
    }
    return out;
  } else {
    return Json(value);
  }
}

/// Overwrites `value` with what `json` says; fields that `json` leaves out keep their value. Unknown keys,
/// wrong types and numbers out of their field's range (field_notes) are errors led by `path`.
template <class T>
void update_from_json(T& value, const Json& json, const std::string& path);

namespace detail {

inline void refuse_unknown_keys(const Json& json, const std::vector<std::string>& known,
                                const std::string& path) {
  for (const auto& [key, unused] : json.items()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    std::string list;
    for (const auto& name : known) list += (list.empty() ? "" : ", ") + name;
    fail(config_path(path, key), ": unknown key; known here: ", list.empty() ? "none" : list);
  }
}

template <class T>
void update_aggregate(T& value, const Json& json, const std::string& path) {
  expect(json.is_object(), path.empty() ? "config" : path, ": expected an object, found ", json.dump());
  std::vector<std::string> known;
  if constexpr (Reflectable<T>) {
    for_each_field(value, [&](std::string_view name, auto& field) {
      auto it = json.find(known.emplace_back(name));
      if (it != json.end()) update_from_json(field, *it, config_path(path, name));
    });
  }
  refuse_unknown_keys(json, known, path);
  if constexpr (Reflectable<T>) expect_own_ranges(value, path);
}

template <class... Ts>
void update_variant(std::variant<Ts...>& value, const Json& json, const std::string& path) {
  const bool bare = json.is_string();
  expect(bare || (json.is_object() && json.size() == 1), path, ": expected {\"<kind>\": {...}}, found ",
         json.dump());
  const std::string kind = bare ? json.template get<std::string>() : json.begin().key();
  std::string known;
  const bool found = ([&] {
    known += (known.empty() ? "" : ", ") + std::string(Ts::name);
    if (kind != Ts::name) return false;
    if (!std::holds_alternative<Ts>(value)) value = Ts{};
    if (!bare) update_from_json(std::get<Ts>(value), json.begin().value(), config_path(path, kind));
    return true;
  }() || ...);
  expect(found, path, ": unknown kind \"", kind, "\"; known: ", known);
}

}  // namespace detail

template <class T>
void update_from_json(T& value, const Json& json, const std::string& path) {
  using Traits = detail::ConfigTraits<T>;
  if constexpr (Traits::vector) {
    expect(json.is_array(), path, ": expected a list, found ", json.dump());
    value.clear();
    for (std::size_t i = 0; i < json.size(); ++i) {
      update_from_json(value.emplace_back(), json[i], detail::config_path(path, std::to_string(i)));
    }
  } else if constexpr (Traits::optional) {
    if (json.is_null()) return value.reset();
    update_from_json(value.emplace(), json, path);
  } else if constexpr (Traits::variant) {
    detail::update_variant(value, json, path);
  } else if constexpr (Traits::map) {
    expect(json.is_object(), path, ": expected an object, found ", json.dump());
    for (const auto& [key, item] : json.items())
      update_from_json(value[key], item, detail::config_path(path, key));
  } else if constexpr (std::is_enum_v<T>) {
    value = detail::enum_from_json<T>(json, path);
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    value = detail::scalar_from_json<std::string>(json, path);
  } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
    detail::update_aggregate(value, json, path);
  } else {
    value = detail::scalar_from_json<T>(json, path);
  }
}

/// A config from its JSON form; see update_from_json.
template <class T>
T from_json(const Json& json, const std::string& where) {
  T value{};
  update_from_json(value, json, where);
  return value;
}

namespace detail {

inline Json nest(std::string_view name, Json value) {
  for (auto dot = name.rfind('.'); dot != std::string_view::npos; dot = name.rfind('.')) {
    value = Json{{std::string(name.substr(dot + 1)), std::move(value)}};
    name = name.substr(0, dot);
  }
  return Json{{std::string(name), std::move(value)}};
}

template <class T>
void set_flag(T& config, std::string_view name, const std::string& text) {
  const Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return update_from_json(config, nest(name, text), "");
  T before = config;
  try {
    update_from_json(config, nest(name, parsed), "");
  } catch (const Error& as_json) {
    // A folder may be called 2024: what is no number where a text is wanted is tried as the text it is.
    config = before;
    try {
      update_from_json(config, nest(name, text), "");
    } catch (const Error&) {
      config = std::move(before);
      throw as_json;
    }
  }
}

// Errors that begin with a field's path begin with the flag as it was typed.
template <class T>
void apply_flag(T& config, std::string_view name, const std::string& text) {
  try {
    set_flag(config, name, text);
  } catch (const Error& e) {
    const std::string_view message = e.what();
    fail(message.starts_with(name) && !name.empty() ? "--" : "", message);
  }
}

}  // namespace detail

/// Applies flags `--a.b=value` (and `--a.flag` for true) to `config` by field names. Values are read as JSON
/// where they parse as such and as text otherwise. Returns the arguments that are not flags. An unknown
/// name or a value of the wrong type is an Error naming the flag.
template <class T>
std::vector<std::string> apply_flags(T& config, std::span<const char* const> arguments) {
  std::vector<std::string> rest;
  for (std::string_view argument : arguments) {
    if (!argument.starts_with("--")) {
      rest.emplace_back(argument);
      continue;
    }
    argument.remove_prefix(2);
    const auto equals = argument.find('=');
    const bool has_value = equals != std::string_view::npos;
    detail::apply_flag(config, argument.substr(0, equals),
                       has_value ? std::string(argument.substr(equals + 1)) : "true");
  }
  return rest;
}

}  // namespace morphvlm
