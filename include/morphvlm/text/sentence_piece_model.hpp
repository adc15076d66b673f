// SentencePiece model files (protocol buffers), checked before the library sees them: it trusts the table
// that normalizes characters, and a hostile one would have it read beyond its memory.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/utf8.hpp"

namespace morphvlm::detail {

/// A field of a protocol buffer: its number and either a number or bytes.
struct ProtoField {
  std::uint32_t number = 0;
  std::uint64_t value = 0;      // of a varint or of fixed width
  std::string_view bytes = {};  // of a string or message
  bool is_bytes = false;
};

/// Walks through the fields of a message; anything cut off or of an unknown kind is an error.
struct ProtoReader {
  std::string_view bytes;
  std::string where;
  std::size_t at = 0;

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      expect(at < bytes.size(), where, ": not a SentencePiece model: truncated at byte ", at);
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail(where, ": not a SentencePiece model: a number of more than 64 bits before byte ", at);
  }
  std::string_view take(std::uint64_t size) {
    expect(size <= bytes.size() - at, where, ": not a SentencePiece model: ", size, " bytes at byte ", at,
           " of which ", bytes.size() - at, " are there");
    const auto taken = bytes.substr(at, static_cast<std::size_t>(size));
    at += taken.size();
    return taken;
  }
  /// False at the end.
  bool next(ProtoField& field) {
    if (at == bytes.size()) return false;
    const std::uint64_t tag = varint();
    field = {.number = static_cast<std::uint32_t>(tag >> 3)};
    const auto kind = tag & 7;
    expect((kind == 0 || kind == 1 || kind == 2 || kind == 5) && tag >> 3 != 0 && tag >> 32 == 0, where,
           ": not a SentencePiece model: field ", tag >> 3, " of kind ", kind, " before byte ", at);
    if (kind == 0) field.value = varint();
    if (kind == 2) field.bytes = take(varint());
    if (kind == 1 || kind == 5) {
      const auto fixed = take(kind == 1 ? 8 : 4);
      std::memcpy(&field.value, fixed.data(), fixed.size());
    }
    field.is_bytes = kind == 2;
    return true;
  }
};

/// Checks a normalization table: a double-array trie from characters to places in a list of replacements.
/// Every step that a lookup can take must stay inside, and no lookup may pass more entries than the library
/// has room for.
struct CharsMapChecker {
  std::string where;
  std::vector<std::uint32_t> units;
  std::string_view replacements;
  std::vector<std::uint8_t> most_entries;  // below a node; kUnseen or kOpen before it is known
  static constexpr std::uint8_t kUnseen = 255, kOpen = 254;
  static constexpr int kMaxEntries = 32, kMaxDepth = 128;

  static std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

  std::uint8_t walk(std::uint32_t base, int depth) {
    expect((base | 255u) < units.size(), where, ": the normalization table points outside of itself");
    std::uint8_t& known = most_entries[base];
    expect(known != kOpen && depth < kMaxDepth, where,
           ": the normalization table runs in a circle or too deep");
    if (known != kUnseen) return known;
    known = kOpen;
    int most = 0;
    for (std::uint32_t label = 0; label < 256; ++label) {
      const std::uint32_t unit = units[base ^ label];
      if ((unit & (1u << 31 | 0xFFu)) != label) continue;
      if (label == 0 && (unit >> 31) == 0 && (unit & 0x100) == 0 && offset(unit) == 0)
        continue;  // leads nowhere
      const std::uint32_t below = (base ^ label) ^ offset(unit);
      int entries = 0;
      if ((unit >> 8 & 1) != 0) {
        expect(below < units.size() && (units[below] & 0x7FFFFFFFu) < replacements.size(), where,
               ": the normalization table has an entry outside of its replacements");
        entries = 1;
      }
      entries += walk(below, depth + 1);
      most = std::max(most, entries);
    }
    expect(most <= kMaxEntries, where, ": the normalization table has more than ", kMaxEntries,
           " entries that begin alike");
    return most_entries[base] = static_cast<std::uint8_t>(most);
  }
};

inline void check_chars_map(std::string_view blob, const std::string& where) {
  if (blob.empty()) return;
  std::uint32_t size = 0;
  expect(blob.size() > sizeof size, where, ": a normalization table of ", blob.size(), " bytes");
  std::memcpy(&size, blob.data(), sizeof size);
  blob.remove_prefix(sizeof size);
  expect(size < blob.size() && size % 4 == 0 && size >= 1024 && blob.back() == '\0', where,
         ": a normalization table of ", size, " bytes in ", blob.size());
  CharsMapChecker checker{where, std::vector<std::uint32_t>(size / 4), blob.substr(size), {}};
  std::memcpy(checker.units.data(), blob.data(), size);
  checker.most_entries.assign(checker.units.size(), CharsMapChecker::kUnseen);
  checker.walk(CharsMapChecker::offset(checker.units[0]), 0);
}

inline void check_normalizer_spec(std::string_view bytes, const std::string& where) {
  ProtoReader reader{bytes, where};
  for (ProtoField field; reader.next(field);)
    if (field.number == 2) check_chars_map(field.bytes, where);
}

inline void check_piece(std::string_view bytes, const std::string& where) {
  ProtoReader reader{bytes, where};
  for (ProtoField field; reader.next(field);) {
    if (field.number == 1)
      expect(field.is_bytes && !field.bytes.empty() && field.bytes.find('\0') == std::string_view::npos &&
                 find_invalid_utf8(field.bytes) == std::string_view::npos,
             where, ": expected text of at least one character");
    if (field.number == 2)
      expect(std::isfinite(std::bit_cast<float>(static_cast<std::uint32_t>(field.value))), where,
             ": the score is not finite");
  }
}

/// Refuses a model file that is cut off, is none at all, or would lead the library astray.
inline void check_sentence_piece_model(std::string_view bytes, const std::string& where) {
  ProtoReader reader{bytes, where};
  std::size_t pieces = 0;
  for (ProtoField field; reader.next(field);) {
    const bool message = field.number == 1 || field.number == 2 || field.number == 3 || field.number == 5;
    expect(!message || field.is_bytes, where, ": not a SentencePiece model: field ", field.number,
           " is a number");
    if (field.number == 1) check_piece(field.bytes, where + ": piece " + std::to_string(pieces++));
    if (field.number == 3 || field.number == 5) check_normalizer_spec(field.bytes, where);
  }
  expect(pieces > 0, where, ": not a SentencePiece model: it has no pieces");
}

/// Appends fields to a message that is being written.
struct ProtoWriter {
  std::string bytes = {};

  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
  }
  void number(std::uint32_t field, std::uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void real(std::uint32_t field, float value) {
    varint(field << 3 | 5);
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes.append(raw, sizeof raw);
  }
  void text(std::uint32_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes += value;
  }
};

}  // namespace morphvlm::detail
