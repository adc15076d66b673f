// Names and values of an aggregate's fields: the only header that names Boost.PFR. State dicts, configs
// and command-line flags all go through here.
#pragma once

#include <array>
#include <boost/pfr.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

namespace morphvlm {

namespace detail {
template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;
}  // namespace detail

/// A struct whose fields can be listed: an aggregate without base classes that is neither empty nor an array.
template <class T>
concept Reflectable =
    std::is_class_v<T> && std::is_aggregate_v<T> && !std::is_empty_v<T> && !detail::is_std_array<T>;

/// Calls f(std::string_view name, field&) for each field of `value`, in the order of declaration.
template <class T, class F>
requires Reflectable<std::remove_cvref_t<T>>
void for_each_field(T& value, F&& f) {
  boost::pfr::for_each_field_with_name(value, [&](std::string_view name, auto& field) { f(name, field); });
}

/// Whether predicate(std::type_identity<Field>{}) holds for the type of any field of T.
template <Reflectable T, class Predicate>
constexpr bool any_field(Predicate predicate) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return (predicate(std::type_identity<boost::pfr::tuple_element_t<I, T>>{}) || ...);
  }
  (std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});
}

/// Number of fields of an aggregate.
template <Reflectable T>
inline constexpr std::size_t field_count = boost::pfr::tuple_size_v<T>;

}  // namespace morphvlm
