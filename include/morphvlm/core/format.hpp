// Numbers as text for people, the same in every locale.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>

namespace morphvlm {

/// `value` with `digits` decimals, whatever the locale; "nan" and "inf" are possible results.
inline std::string fixed(double value, int digits) {
  char buffer[400];  // a double has at most 309 digits before the point
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed,
                                 std::clamp(digits, 0, 20));
  return {buffer, end.ptr};
}

/// `value` rounded to `digits` decimals as Python's `round` does: the decimal nearest to the exact value of
/// the double, ties to even.
inline double round_decimal(double value, int digits) {
  const std::string text = fixed(value, digits);
  double out = value;  // what from_chars leaves where the text is "inf" or "nan"
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

/// Seconds for people: "0.4 s", "12 s", "3:05", "1:02:03"; "?" where the number is not finite or negative.
inline std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e15) return "?";
  if (seconds < 9.95) return fixed(seconds, 1) + " s";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return std::to_string(whole) + " s";
  const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (whole < 3600) return std::to_string(whole / 60) + ':' + two(whole % 60);
  return std::to_string(whole / 3600) + ':' + two(whole / 60 % 60) + ':' + two(whole % 60);
}

/// A share as a percentage without the sign: percent(0.8912) is "89.1".
inline std::string percent(double share, int digits = 1) { return fixed(100 * share, digits); }

/// An integer with its thousands apart, "9,673".
inline std::string with_commas(std::int64_t n) {
  std::string digits = std::to_string(n);
  const std::size_t first = n < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

/// Bytes with a binary unit, "1.5 GiB".
inline std::string format_bytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fixed(value, unit == 0 ? 0 : 1) + ' ' + kUnits[unit];
}

}  // namespace morphvlm
