// Enums that files and flags call by name.
#pragma once

#include <string_view>

namespace morphvlm {

/// Names of an enum's values in files and flags; specialise as an array of {value, "name"} pairs.
template <class E>
inline constexpr int enum_names = 0;

namespace detail {

template <class E>
std::string_view enum_name(E e) {
  for (const auto& [value, name] : enum_names<E>) {
    if (value == e) return name;
  }
  return "?";
}

}  // namespace detail

}  // namespace morphvlm
