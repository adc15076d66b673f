// Names and values of an aggregate's fields: the only header that names Boost.PFR. State dicts, configs
// and command-line flags all go through here.
#pragma once

#include <array>
#include <boost/pfr.hpp>
#include <cstddef>
#include <string_view>
#include <tuple>
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

namespace detail {

template <class T>
inline constexpr auto field_names = boost::pfr::names_as_array<T>();

// call(field&...). Boost.PFR's own loops make five functions a field and an f, which half of all compile time
// went into: up to so many fields, the language's bindings make none.
template <class T, class F>
constexpr decltype(auto) with_fields(T& value, F&& call) {
  constexpr std::size_t count = boost::pfr::tuple_size_v<std::remove_const_t<T>>;
  if constexpr (count == 1) {
    auto& [a] = value;
    return call(a);
  } else if constexpr (count == 2) {
    auto& [a, b] = value;
    return call(a, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = value;
    return call(a, b, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = value;
    return call(a, b, c, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = value;
    return call(a, b, c, d, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, f] = value;
    return call(a, b, c, d, e, f);
  } else if constexpr (count == 7) {
    auto& [a, b, c, d, e, f, g] = value;
    return call(a, b, c, d, e, f, g);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, f, g, h] = value;
    return call(a, b, c, d, e, f, g, h);
  } else if constexpr (count == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = value;
    return call(a, b, c, d, e, f, g, h, i);
  } else if constexpr (count == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = value;
    return call(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (count == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (count == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (count == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (count == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (count == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else if constexpr (count == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value;
    return call(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  } else {
    return std::apply(call, boost::pfr::structure_tie(value));
  }
}

template <class... Fields>
struct FieldTypes {
  template <class Predicate>
  static constexpr bool any(Predicate predicate) {
    return (predicate(std::type_identity<Fields>{}) || ...);
  }
};

struct TypesOf {
  template <class... Fields>
  constexpr FieldTypes<Fields...> operator()(Fields&...) const {
    return {};
  }
};

}  // namespace detail

/// Calls f(std::string_view name, field&) for each field of `value`, in the order of declaration.
template <class T, class F>
requires Reflectable<std::remove_cvref_t<T>>
void for_each_field(T& value, F&& f) {
  detail::with_fields(value, [&](auto&... fields) {
    const std::string_view* name = detail::field_names<std::remove_const_t<T>>.data();
    (f(*name++, fields), ...);
  });
}

/// Whether predicate(std::type_identity<Field>{}) holds for the type of any field of T.
template <Reflectable T, class Predicate>
constexpr bool any_field(Predicate predicate) {
  return decltype(detail::with_fields(std::declval<T&>(), detail::TypesOf{}))::any(predicate);
}

/// Number of fields of an aggregate.
template <Reflectable T>
inline constexpr std::size_t field_count = boost::pfr::tuple_size_v<T>;

}  // namespace morphvlm
