// UTF-8: validation and repair. Text from files and command lines is untrusted; the tokenizer refuses what is
// not UTF-8, and decoding ids cut inside a character must still give text that JSON and HTML can hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

namespace detail {

struct Utf8Step {
  std::size_t bytes = 1;  // length of the character, or of the ill-formed sequence to skip (never 0)
  bool valid = false;
};

/// The allowed range of the second byte depends on the first one (no overlong forms, no surrogates, nothing
/// above U+10FFFF): Unicode 15, table 3-7.
inline bool utf8_second_byte_fits(unsigned char first, unsigned char second) {
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

inline Utf8Step utf8_step(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {1, true};
  if (first < 0xC2 || first > 0xF4) return {1, false};
  const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {i, false};
    const bool fits = i == 1 ? utf8_second_byte_fits(first, byte(at + 1)) : (byte(at + i) & 0xC0) == 0x80;
    if (!fits) return {i, false};
  }
  return {length, true};
}

}  // namespace detail

/// The offset of the first byte that is not well-formed UTF-8, or npos.
inline std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const detail::Utf8Step step = detail::utf8_step(text, at);
    if (!step.valid) return at;
    at += step.bytes;
  }
  return std::string_view::npos;
}

/// Refuses text that is not well-formed UTF-8, naming `where` and the byte.
inline void expect_utf8(std::string_view text, std::string_view where) {
  const std::size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  fail(where, ": not valid UTF-8 at byte ", at, " (value ", int{static_cast<unsigned char>(text[at])}, ")");
}

/// `bytes` with every maximal ill-formed part replaced by U+FFFD, as the Unicode standard recommends (and as
/// Rust's from_utf8_lossy and Python's errors="replace" do).
inline std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const detail::Utf8Step step = detail::utf8_step(bytes, at);
    if (step.valid)
      out.append(bytes, at, step.bytes);
    else
      out += "\xEF\xBF\xBD";
    at += step.bytes;
  }
  return out;
}

/// Appends the character `code_point` (at most U+10FFFF, not a surrogate) to `out`.
inline void append_utf8(std::string& out, std::uint32_t code_point) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)); };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | (code_point >> 6));
    out += tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | (code_point >> 12));
    (out += tail(6)) += tail(0);
  } else {
    out += static_cast<char>(0xF0 | (code_point >> 18));
    ((out += tail(12)) += tail(6)) += tail(0);
  }
}

}  // namespace morphvlm
