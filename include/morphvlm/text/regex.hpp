// Regular expressions over UTF-8: the only header that names PCRE2. The tokenizers' patterns need Unicode
// classes and look-ahead, which std::regex and RE2 do not have.
#pragma once

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <memory>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/utf8.hpp"

namespace morphvlm {

/// A compiled pattern; copies share the compiled code, which is read-only and safe to use from many threads.
struct Regex {
  std::string pattern;                     ///< as it was given, for messages
  std::shared_ptr<const pcre2_code> code;  ///< null in one that was not made by compile_regex
};

/// Backtracking steps allowed in one match. The known tokenizers' patterns need a few per character; a
/// pattern that a file brings along and that explodes is stopped within a fraction of a second.
inline constexpr std::uint32_t kRegexMatchLimit = 10'000'000;
/// Heap that one match may use, in KiB.
inline constexpr std::uint32_t kRegexHeapLimitKiB = 64 * 1024;

namespace detail {

inline std::string pcre2_message(int code) {
  unsigned char text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// PCRE2's Unicode `\s` also holds U+180E, which is no white space since Unicode 6.3 and none to the regular
/// expression engines that tokenizers were made with; so `\s` and `\S` are spelled out.
inline std::string with_unicode_spaces(std::string_view pattern) {
  static constexpr std::string_view kSpaces = "\\t-\\r\\x{20}\\x{85}\\p{Z}";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '[' && !in_class)
      in_class = true;
    else if (c == ']')
      in_class = false;
    if (c != '\\' || i + 1 == pattern.size()) {
      out += c;
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's' && in_class)
      out += kSpaces;
    else if (escaped == 's')
      ((out += '[') += kSpaces) += ']';
    else if (escaped == 'S' && !in_class)
      ((out += "[^") += kSpaces) += ']';
    else
      (out += c) += escaped;
  }
  return out;
}

struct MatchState {
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data;
  std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context;
};

inline MatchState make_match_state(const Regex& regex) {
  MatchState s{{pcre2_match_data_create_from_pattern(regex.code.get(), nullptr), pcre2_match_data_free},
               {pcre2_match_context_create(nullptr), pcre2_match_context_free}};
  expect(s.data && s.context, "regular expression: out of memory");
  pcre2_set_match_limit(s.context.get(), kRegexMatchLimit);
  pcre2_set_heap_limit(s.context.get(), kRegexHeapLimitKiB);
  return s;
}

}  // namespace detail

/// Compiles `pattern` (PCRE2 syntax, Unicode properties on). A bad pattern is an error naming it and the
/// place.
inline Regex compile_regex(std::string_view pattern) {
  expect_utf8(pattern, "regular expression");
  const std::string spelled = detail::with_unicode_spaces(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  expect(code != nullptr, "regular expression \"", spelled, "\" at ", offset, ": ",
         detail::pcre2_message(error));
  // Where there is no JIT, matching interprets: slower, the same result.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return {std::string(pattern), {code, pcre2_code_free}};
}

/// Calls `f(begin, end)` for every non-empty match in `text`, left to right, offsets in bytes. Text that is
/// not UTF-8 and a match beyond the limits above are errors.
template <class F>
void for_each_match(const Regex& regex, std::string_view text, F&& f) {
  const detail::MatchState state = detail::make_match_state(regex);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::uint32_t options = 0;
  for (std::size_t at = 0; at < text.size();) {
    const int found = pcre2_match(regex.code.get(), subject, text.size(), at, options, state.data.get(),
                                  state.context.get());
    if (found == PCRE2_ERROR_NOMATCH) return;
    expect(found >= 0, "regular expression \"", regex.pattern, "\" on a text of ", text.size(),
           " bytes: ", detail::pcre2_message(found));
    options = PCRE2_NO_UTF_CHECK;  // the first call has checked all of the text
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state.data.get());
    const std::size_t begin = span[0], end = span[1];
    if (end > begin) f(begin, end);
    at = end > begin ? end : end + (end < text.size() ? detail::utf8_step(text, end).bytes : 1);
  }
}

/// Whether `regex` matches anywhere in `text`.
inline bool regex_search(const Regex& regex, std::string_view text) {
  bool found = false;
  for_each_match(regex, text, [&](std::size_t, std::size_t) { found = true; });
  return found;
}

namespace detail {

/// PCRE2's own case change, one character to one: `text` (UTF-8) with its letters in lower case.
inline std::string lower_letters(std::string_view text) {
  static const Regex all = compile_regex("(?s).+");
  // A character of two bytes can become one of three, never more.
  std::string out(2 * text.size() + 1, '\0');
  PCRE2_SIZE size = out.size();
  const auto* replacement = reinterpret_cast<PCRE2_SPTR>("\\L$0");
  const int done = pcre2_substitute(all.code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                    PCRE2_SUBSTITUTE_EXTENDED, nullptr, nullptr, replacement,
                                    PCRE2_ZERO_TERMINATED, reinterpret_cast<PCRE2_UCHAR*>(out.data()), &size);
  expect(done >= 0, "lower case of a text of ", text.size(), " bytes: ", pcre2_message(done));
  out.resize(size);
  return out;
}

}  // namespace detail

/// `text` with every match of `regex`, but at most `most`, replaced by `with`.
inline std::string regex_replace(const Regex& regex, std::string_view text, std::string_view with,
                                 std::size_t most) {
  std::string out;
  std::size_t done = 0, count = 0;
  for_each_match(regex, text, [&](std::size_t begin, std::size_t end) {
    if (count++ >= most) return;
    (out += text.substr(done, begin - done)) += with;
    done = end;
  });
  return out += text.substr(done);
}

/// `text` with every match of `regex` replaced by `replacement`, in which `$1` is the first group and `$$` a
/// dollar sign. Text that is not UTF-8 and a match beyond the limits above are errors.
inline std::string regex_substitute(const Regex& regex, std::string_view text, std::string_view replacement) {
  const detail::MatchState state = detail::make_match_state(regex);
  const auto bytes = [](std::string_view s) { return reinterpret_cast<PCRE2_SPTR>(s.data()); };
  std::string out(2 * text.size() + 64, '\0');
  for (;;) {
    PCRE2_SIZE size = out.size();
    const int done = pcre2_substitute(regex.code.get(), bytes(text), text.size(), 0,
                                      PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH,
                                      state.data.get(), state.context.get(), bytes(replacement),
                                      replacement.size(), reinterpret_cast<PCRE2_UCHAR*>(out.data()), &size);
    const bool grow = done == PCRE2_ERROR_NOMEMORY && size > out.size();
    expect(grow || done >= 0, "regular expression \"", regex.pattern, "\" on a text of ", text.size(),
           " bytes: ", detail::pcre2_message(done));
    out.resize(size);
    if (!grow) return out;
  }
}

/// `text` (UTF-8) in lower case, as Unicode and Python's str.lower() have it for letters, with the two that
/// do not go one to one: U+0130 becomes "i" and a dot above, a sigma that ends a word the final sigma.
/// (Python also changes signs that have a case, such as circled letters; they stay here.)
inline std::string lower_case(std::string_view text) {
  // Marks and apostrophes neither end a word nor begin one.
  static const std::string cased = "[\\p{Lu}\\p{Ll}\\p{Lt}]";
  static const std::string ignored =
      "[\\p{M}\\p{Cf}\\p{Lm}\\p{Sk}'.:\\x{B7}\\x{2018}\\x{2019}\\x{2024}\\x{2027}]*+";
  static const Regex final_sigma = compile_regex(cased + ignored + "\\K\\x{3A3}(?!" + ignored + cased + ")");
  static const Regex dotted = compile_regex("\\x{130}");
  if (text.empty()) return {};
  const std::string sigmas = regex_replace(final_sigma, text, "\u03C2", text.size());
  return detail::lower_letters(regex_replace(dotted, sigmas, "i\u0307", text.size()));
}

}  // namespace morphvlm
