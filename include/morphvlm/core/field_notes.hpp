// What there is to say about a config's fields: a line of help each, and which values a number may have.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/reflect.hpp"

namespace morphvlm {

/// The values that a number may have, ends included unless they are open. Not a number is never one.
struct Range {
  double low = -std::numeric_limits<double>::infinity();  ///< the least one
  double high = std::numeric_limits<double>::infinity();  ///< the greatest one
  bool open_low = false;                                  ///< `low` itself is none
  bool open_high = false;                                 ///< `high` itself is none

  /// Whether `value` is one of them.
  constexpr bool holds(double value) const {
    return (open_low ? value > low : value >= low) && (open_high ? value < high : value <= high);
  }
  /// Whether there is anything to hold a value to.
  constexpr bool limits() const {
    constexpr auto kInfinity = std::numeric_limits<double>::infinity();
    return low > -kInfinity || high < kInfinity;
  }
};

/// `low` or more.
constexpr Range at_least(double low) { return {.low = low}; }
/// More than `low`, at most `high`.
constexpr Range above(double low, double high) { return {.low = low, .high = high, .open_low = true}; }
/// `low` to `high`, both included.
constexpr Range from_to(double low, double high) { return {.low = low, .high = high}; }
/// `low` or more, and less than `high`.
constexpr Range from_below(double low, double high) { return {.low = low, .high = high, .open_high = true}; }

namespace detail {

// Whole numbers as such: 4294967295, not 4.29497e+09.
inline std::string number_text(double value) {
  if (std::abs(value) < 1e15 && value == std::floor(value))
    return std::to_string(static_cast<std::int64_t>(value));
  std::ostringstream out;
  out << value;
  return out.str();
}

}  // namespace detail

/// "1 or more", "0 to 1000", "more than 0 and at most 1".
inline std::string to_string(const Range& range) {
  const std::string low = detail::number_text(range.low), high = detail::number_text(range.high);
  const bool ends = range.high < std::numeric_limits<double>::infinity();
  if (!range.open_low && !range.open_high && ends) return low + " to " + high;
  std::string out = range.open_low ? "more than " + low : low + " or more";
  if (ends) out += (range.open_high ? " and less than " : " and at most ") + high;
  return out;
}

/// A field's line.
struct FieldNote {
  std::string_view name = {};  ///< the field's
  std::string_view help = {};  ///< for people, in a few words
  Range range = {};            ///< of a number, there or in an optional
};

/// The notes of T's fields, one for each in their order; specialised beside the type. None: nothing is said
/// and nothing is checked.
template <class T>
inline constexpr std::array<FieldNote, 0> field_notes{};

namespace detail {

template <Reflectable T>
constexpr bool notes_name_the_fields() {
  if (field_notes<T>.empty()) return true;
  if (field_notes<T>.size() != field_count<T>) return false;
  for (std::size_t i = 0; i < field_notes<T>.size(); ++i)
    if (field_notes<T>[i].name != field_names<T>[i]) return false;
  return true;
}

inline void expect_in(const Range& range, double value, const std::string& path) {
  if (!range.limits() || range.holds(value)) return;
  fail(path, ": expected ", to_string(range), ", found ", number_text(value));
}

inline std::string field_path(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + '.' + std::string(name);
}

template <class T>
inline constexpr bool is_number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

}  // namespace detail

/// An Error naming the field of `value` (of its own, not of what they hold) whose number is out of its range.
/// `path` leads the name.
template <Reflectable T>
void expect_own_ranges(const T& value, const std::string& path) {
  static_assert(detail::notes_name_the_fields<T>(), "field_notes: one for each field, in their order");
  if constexpr (!field_notes<T>.empty()) {
    const FieldNote* note = field_notes<T>.data();
    for_each_field(value, [&](std::string_view name, const auto& field) {
      using Field = std::remove_cvref_t<decltype(field)>;
      const Range& range = (note++)->range;
      if constexpr (detail::is_number<Field>) {
        detail::expect_in(range, static_cast<double>(field), detail::field_path(path, name));
      } else if constexpr (requires {
                             requires detail::is_number<typename Field::value_type>;
                             field.has_value();
                           }) {
        if (field) detail::expect_in(range, static_cast<double>(*field), detail::field_path(path, name));
      }
    });
  }
}

/// The same for a whole config: its fields, theirs, those of lists and of the alternative that a variant
/// holds. For work that may be given one that no file and no flag was read into.
template <class T>
void expect_ranges(const T& value, const std::string& path) {
  if constexpr (requires { std::variant_size<T>::value; }) {
    std::visit([&](const auto& v) { expect_ranges(v, detail::field_path(path, v.name)); }, value);
  } else if constexpr (requires {
                         value.begin();
                         typename T::value_type;
                         requires std::is_class_v<typename T::value_type>;
                       }) {
    std::size_t i = 0;
    for (const auto& item : value) expect_ranges(item, detail::field_path(path, std::to_string(i++)));
  } else if constexpr (Reflectable<T>) {
    expect_own_ranges(value, path);
    for_each_field(value, [&](std::string_view name, const auto& field) {
      expect_ranges(field, detail::field_path(path, name));
    });
  }
}

}  // namespace morphvlm
