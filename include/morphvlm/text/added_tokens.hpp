// Added tokens: whole strings such as "<image>" that are found in the text before anything else happens to
// it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/utf8.hpp"
#include "morphvlm/text/regex.hpp"

namespace morphvlm {

/// A token recognised as a whole.
struct AddedToken {
  std::string text;          ///< `content` in tokenizer.json; UTF-8, not empty
  std::int64_t id = 0;       ///< add_token does not look at it
  bool special = true;       ///< left out of decoded text on request
  bool lstrip = false;       ///< swallows the white space before it
  bool rstrip = false;       ///< … and after it
  bool normalized = false;   ///< searched after the ones that are not, in what those have left
  bool single_word = false;  ///< only where no word character touches it
};

/// A stretch of text: an added token (`id`), or ordinary text between them.
struct TextSection {
  std::string_view text;           ///< into the text that was cut; with the white space that a token swallows
  std::optional<std::int64_t> id;  ///< of the added token; none: ordinary text
};

/// Stretches of a text, [begin, end) in bytes, in which special tokens are ordinary text.
using PlainRanges = std::vector<std::pair<std::size_t, std::size_t>>;

namespace detail {

// Bytes that no UTF-8 text has: a prompt carries its plain stretches with it, whatever it goes through before
// it is encoded.
inline constexpr char kPlainBegin = '\xFE', kPlainEnd = '\xFF';

/// A text without the marks of its plain stretches, and where they are.
struct MarkedText {
  std::string text;
  PlainRanges plain;
};

/// Marks that do not come in pairs stay in the text, which then is not UTF-8.
inline MarkedText read_marks(std::string_view marked) {
  MarkedText out;
  for (std::size_t at = 0; at < marked.size();) {
    const std::size_t begin = std::min(marked.find(kPlainBegin, at), marked.size());
    const std::size_t end = marked.find(kPlainEnd, begin);
    if (end == std::string_view::npos) {
      out.text += marked.substr(at);
      break;
    }
    out.text += marked.substr(at, begin - at);
    const std::string_view plain = marked.substr(begin + 1, end - begin - 1);
    out.plain.emplace_back(out.text.size(), out.text.size() + plain.size());
    out.text += plain;
    at = end + 1;
  }
  return out;
}

inline bool touches(const PlainRanges& plain, std::size_t begin, std::size_t end) {
  return std::ranges::any_of(plain, [&](const auto& r) { return begin < r.second && r.first < end; });
}

/// The ranges as they are in the stretch of the text that begins at `begin`.
inline PlainRanges shift_ranges(const PlainRanges& plain, std::size_t begin, std::size_t size) {
  PlainRanges out;
  for (const auto& [from, to] : plain)
    if (from < begin + size && to > begin)
      out.emplace_back(from > begin ? from - begin : 0, std::min(to - begin, size));
  return out;
}

/// Unicode White_Space at `at`: its length in bytes, or 0.
inline std::size_t white_space_at(std::string_view text, std::size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
  if (c < 0x80) return 0;
  static constexpr std::string_view kWide[] = {
      "\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
      "\u2007", "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};
  for (const std::string_view wide : kWide)
    if (text.substr(at).starts_with(wide)) return wide.size();
  return 0;
}

inline std::size_t skip_white_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const std::size_t bytes = white_space_at(text, at);
    if (bytes == 0) break;
    at += bytes;
  }
  return at;
}

/// Where the white space that ends at `end` begins, not before `begin`.
inline std::size_t white_space_before(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t run = end;
  for (std::size_t at = begin; at < end; at += utf8_step(text, at).bytes) {
    if (white_space_at(text, at) == 0)
      run = end;
    else if (run == end)
      run = at;
  }
  return run;
}

/// Whether a word character (Unicode's \w: letters, marks, digits, connectors, joiners) touches `text` at the
/// edge.
inline bool word_ends_at(std::string_view text) {
  static const Regex word = compile_regex("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]\\z");
  // A character has at most four bytes; the search need not walk through all of the text.
  std::size_t from = text.size();
  while (from > 0 && (from == text.size() || (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80)) --from;
  return regex_search(word, text.substr(from));
}
inline bool word_begins_at(std::string_view text) {
  return !text.empty() && word_ends_at(text.substr(0, utf8_step(text, 0).bytes));
}

}  // namespace detail

/// Finds the added tokens of one kind: leftmost first, of those the longest.
class AddedTokenFinder {
 public:
  /// Finds nothing.
  AddedTokenFinder() = default;

  /// `tokens` are copied.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    std::stable_sort(tokens_.begin(), tokens_.end(),
                     [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
    for (std::size_t i = 0; i < tokens_.size(); ++i)
      by_first_byte_[static_cast<unsigned char>(tokens_[i].text[0])].push_back(i);
  }

  /// Cuts `text` at the tokens, but not at special ones that touch one of the `plain` stretches.
  std::vector<TextSection> split(std::string_view text, const PlainRanges& plain = {}) const {
    std::vector<TextSection> out;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const AddedToken* token = match(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      const std::size_t found = at, end = at + token->text.size();
      // The search goes on behind the token even where it swallows white space or is none after all, as that
      // of the tokenizers library does.
      at = end;
      if (token->special && detail::touches(plain, found, end)) continue;
      if (token->single_word &&
          (detail::word_ends_at(text.substr(0, found)) || detail::word_begins_at(text.substr(end))))
        continue;
      const std::size_t begin =
          token->lstrip && done < found ? detail::white_space_before(text, done, found) : found;
      const std::size_t stop = token->rstrip ? detail::skip_white_space(text, end) : end;
      if (begin > done) out.push_back({text.substr(done, begin - done), std::nullopt});
      out.push_back({text.substr(begin, stop - begin), token->id});
      done = stop;
    }
    if (done < text.size()) out.push_back({text.substr(done), std::nullopt});
    return out;
  }

 private:
  const AddedToken* match(std::string_view text, std::size_t at) const {
    for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text[at])])
      if (text.substr(at).starts_with(tokens_[i].text)) return &tokens_[i];
    return nullptr;
  }

  std::vector<AddedToken> tokens_;                           // longest first
  std::array<std::vector<std::size_t>, 256> by_first_byte_;  // so that most bytes of a text cost one look
};

namespace detail {

/// Ids of a text as the tokenizers library goes about it: `plain` ones are cut out first, what is between
/// them is normalized by `normal(text)`, `normalized` ones are cut out of that, and `piece(text, first, out)`
/// appends the ids of the rest; `first` says that it is the beginning of the whole text.
template <class Normal, class Piece>
std::vector<std::int64_t> encode_between_added(const AddedTokenFinder& plain,
                                               const AddedTokenFinder& normalized, std::string_view text,
                                               Normal&& normal, Piece&& piece) {
  const MarkedText marked = read_marks(text);
  expect_utf8(marked.text, "tokenizer: text to encode");
  std::vector<std::int64_t> out;
  for (const TextSection& outer : plain.split(marked.text, marked.plain)) {
    if (outer.id) {
      out.push_back(*outer.id);
      continue;
    }
    const auto begin = static_cast<std::size_t>(outer.text.data() - marked.text.data());
    const std::string inside = normal(outer.text);
    PlainRanges ranges = shift_ranges(marked.plain, begin, outer.text.size());
    if (inside != outer.text && !ranges.empty()) {
      // Normalizing has moved the bytes: only where no special token is found at all do the ranges not
      // matter.
      ranges = {{0, inside.size()}};
      expect(normalized.split(inside, ranges).size() == normalized.split(inside).size(),
             "tokenizer: a special token that is sought in normalized text cannot be taken as plain text");
    }
    for (const TextSection& section : normalized.split(inside, ranges)) {
      if (section.id)
        out.push_back(*section.id);
      else
        piece(section.text, begin == 0 && section.text.data() == inside.data(), out);
    }
  }
  return out;
}

}  // namespace detail

}  // namespace morphvlm
