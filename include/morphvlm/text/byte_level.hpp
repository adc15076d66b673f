// GPT-2's byte alphabet: each of the 256 bytes has a printable character, so that vocabularies and merge
// files are plain text. Bytes that print as themselves (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stay; the other 68
// take U+0100, U+0101, … in order.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "morphvlm/core/utf8.hpp"

namespace morphvlm {

namespace detail {

inline bool is_byte_level_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

inline constexpr int kByteLevelEnd = 256 + 68;

struct ByteLevelTables {
  std::array<std::string, 256> character;             // byte -> its character as UTF-8
  std::array<std::int16_t, kByteLevelEnd> byte_of{};  // code point -> byte, -1 where there is none
};

inline const ByteLevelTables& byte_level_tables() {
  static const ByteLevelTables tables = [] {
    ByteLevelTables t;
    t.byte_of.fill(-1);
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const int code = is_byte_level_printable(byte) ? byte : next++;
      append_utf8(t.character[static_cast<std::size_t>(byte)], static_cast<std::uint32_t>(code));
      t.byte_of[static_cast<std::size_t>(code)] = static_cast<std::int16_t>(byte);
    }
    return t;
  }();
  return tables;
}

}  // namespace detail

/// The character that stands for `byte`, as UTF-8 (one or two bytes).
inline const std::string& byte_level_char(unsigned char byte) {
  return detail::byte_level_tables().character[byte];
}

/// Bytes spelled in the byte alphabet: " a" -> "Ġa".
inline std::string to_byte_level(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_level_char(static_cast<unsigned char>(c));
  return out;
}

/// The bytes that a token of the byte alphabet stands for; nothing if it holds a character outside of it.
inline std::optional<std::string> from_byte_level(std::string_view token) {
  const auto& byte_of = detail::byte_level_tables().byte_of;
  std::string out;
  for (std::size_t at = 0; at < token.size();) {
    const detail::Utf8Step step = detail::utf8_step(token, at);
    if (!step.valid || step.bytes > 2) return std::nullopt;
    const auto first = static_cast<unsigned char>(token[at]);
    const std::size_t code =
        step.bytes == 1 ? first
                        : ((first & 0x1Fu) << 6) | (static_cast<unsigned char>(token[at + 1]) & 0x3Fu);
    if (code >= byte_of.size() || byte_of[code] < 0) return std::nullopt;
    out += static_cast<char>(byte_of[code]);
    at += step.bytes;
  }
  return out;
}

}  // namespace morphvlm
