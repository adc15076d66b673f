// The Moses tokenizer and detokenizer for English, as sacremoses 0.1 has them with aggressive dash splits and
// XML escapes: what BioGPT's text went through before byte-pair encoding.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/text/moses_classes.hpp"
#include "morphvlm/text/regex.hpp"

namespace morphvlm {

namespace detail {

/// White space in Python's sense.
inline constexpr const char* kPythonSpace =
    R"(\t-\r\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// Words that keep their period: in English it does not end a sentence behind them.
inline bool keeps_period(std::string_view word) {
  static const std::unordered_set<std::string_view> known = {
      // titles, ranks and offices
      "Adj", "Adm", "Adv", "Asst", "Bart", "Brig", "Capt", "Cmdr", "Col", "Comdr", "Con", "Cpl", "DR", "Dr",
      "Drs", "Ens", "Gen", "Gov", "Hon", "Hr", "Insp", "Lt", "MM", "MR", "MRS", "MS", "Maj", "Messrs", "Mlle",
      "Mme", "Mr", "Mrs", "Ms", "Msgr", "Pfc", "Ph", "Prof", "Pvt", "Rep", "Reps", "Res", "Rev", "Rt", "Sen",
      "Sens", "Sfc", "Sgt", "Sr", "St", "Supt", "Surg",
      // institutions, works, money, numbering, usage
      "Bldg", "Bros", "Corp", "Hosp", "Nos", "Nr", "Op", "Ord", "Rs", "e.g", "i.e", "rev", "v", "vs",
      // months
      "Apr", "Aug", "Dec", "Feb", "Jan", "Jul", "Jun", "Mar", "Nov", "Oct", "Sep"};
  const bool initial = word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z';
  return initial || known.contains(word);
}

/// Words that keep their period only before a number.
inline bool keeps_period_before_number(std::string_view word) {
  return word == "Art" || word == "No" || word == "pp";
}

struct MosesRule {
  Regex pattern;
  std::string replacement;
};

inline std::string moses_apply(const std::vector<MosesRule>& rules, std::string text) {
  for (const MosesRule& rule : rules) text = regex_substitute(rule.pattern, text, rule.replacement);
  return text;
}

/// A class's complement: one character that is none of it.
inline std::string moses_not(const std::string& one) { return "(?s:(?!" + one + ").)"; }

/// Everything up to the dots: spaces, signs that stand alone, dashes inside words.
inline const std::vector<MosesRule>& moses_sign_rules() {
  static const std::vector<MosesRule> rules = [] {
    const std::string alnum = moses_letter_or_digit(), space = std::string("[") + kPythonSpace + "]";
    return std::vector<MosesRule>{
        {compile_regex(space + "+"), " "},
        {compile_regex("[\\x00-\\x1f]"), ""},
        {compile_regex("^ +| +\\z"), ""},
        {compile_regex("((?!" + alnum + ")[^ .'`,\\-])"), " $1 "},
        {compile_regex("(" + alnum + ")-(?=" + alnum + ")"), "$1 @-@ "},
    };
  }();
  return rules;
}

/// Commas outside of numbers, and English apostrophes.
inline const std::vector<MosesRule>& moses_mark_rules() {
  static const std::vector<MosesRule> rules = [] {
    const std::string alpha = moses_letter(), number = moses_number();
    const std::string neither = "(?s:(?!" + alpha + "|" + number + ").)";
    const auto rule = [](const std::string& pattern, const char* with) {
      return MosesRule{compile_regex(pattern), with};
    };
    return std::vector<MosesRule>{
        rule("(" + moses_not(number) + "),", "$1 , "),
        rule(",(" + moses_not(number) + ")", " , $1"),
        rule("(" + number + "),$", "$1 , "),
        rule("(" + moses_not(alpha) + ")'(" + moses_not(alpha) + ")", "$1 ' $2"),
        rule("(" + neither + ")'(" + alpha + ")", "$1 ' $2"),
        rule("(" + alpha + ")'(" + moses_not(alpha) + ")", "$1 ' $2"),
        rule("(" + alpha + ")'(" + alpha + ")", "$1 '$2"),
        rule("(" + number + ")'(s)", "$1 '$2"),
    };
  }();
  return rules;
}

/// Runs of two and more dots as words without dots, " DOTDOTMULTI ", which no later rule touches.
inline std::string hide_dots(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_not_of('.', at), text.size());
    if (end - at < 2) {
      out += text[at++];
      continue;
    }
    out += ' ';
    for (; at < end; ++at) out += "DOT";
    out += end < text.size() ? "MULTI " : "MULTI";
  }
  return out;
}

inline std::string show_dots(const std::string& text) {
  static const Regex run = compile_regex("(?:DOT)+MULTI");
  std::string out;
  std::size_t done = 0;
  for_each_match(run, text, [&](std::size_t begin, std::size_t end) {
    out.append(text, done, begin - done).append((end - begin - 5) / 3, '.');
    done = end;
  });
  return out.append(text, done);
}

inline std::vector<std::string> split_at_spaces(std::string_view text) {
  static const Regex word = compile_regex(std::string("[^") + kPythonSpace + "]+");
  std::vector<std::string> out;
  for_each_match(word, text, [&](std::size_t begin, std::size_t end) {
    out.emplace_back(text.substr(begin, end - begin));
  });
  return out;
}

inline std::string join(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) (out += i > 0 ? between : "") += words[i];
  return out;
}

/// Takes the period off the words that it ends a sentence behind.
inline std::string split_periods(std::string_view text) {
  static const Regex letter = compile_regex(moses_letter()), lower = compile_regex("\\A" + moses_lower());
  std::vector<std::string> words = split_at_spaces(text);
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].size() < 2 || words[i].back() != '.') continue;
    const std::string prefix = words[i].substr(0, words[i].size() - 1);
    const std::string_view next = i + 1 < words.size() ? std::string_view(words[i + 1]) : std::string_view();
    const bool abbreviation = prefix.find('.') != std::string::npos && regex_search(letter, prefix);
    const bool number_follows = !next.empty() && next[0] >= '0' && next[0] <= '9';
    if (abbreviation || keeps_period(prefix) || (!next.empty() && regex_search(lower, next)) ||
        (keeps_period_before_number(prefix) && number_follows))
      continue;
    words[i] = prefix + " .";
  }
  return join(words, " ");
}

/// Characters that mean something to Moses' files, and how they are spelled. The ampersand comes first when
/// escaping and last when unescaping.
inline constexpr std::array<std::pair<char, std::string_view>, 8> kMosesEscapes = {{{'&', "&amp;"},
                                                                                    {'|', "&#124;"},
                                                                                    {'<', "&lt;"},
                                                                                    {'>', "&gt;"},
                                                                                    {'\'', "&apos;"},
                                                                                    {'"', "&quot;"},
                                                                                    {'[', "&#91;"},
                                                                                    {']', "&#93;"}}};

inline std::string moses_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto* found =
        std::find_if(kMosesEscapes.begin(), kMosesEscapes.end(), [&](auto& e) { return e.first == c; });
    if (found == kMosesEscapes.end())
      out += c;
    else
      out += found->second;
  }
  return out;
}

}  // namespace detail

/// The words of an English text (UTF-8; an error otherwise), escaped: `"AT&T's"` gives `&quot;`, `AT`,
/// `&amp;`, `T`, `&apos;s`, `&quot;`.
inline std::vector<std::string> moses_tokenize(std::string_view raw) {
  static const Regex final_quote = compile_regex("\\.' ?$");
  expect_utf8(raw, "Moses tokenizer: text");
  std::string text = detail::moses_apply(detail::moses_sign_rules(), std::string(raw));
  text = detail::moses_apply(detail::moses_mark_rules(), detail::hide_dots(text));
  text = detail::split_periods(text);
  text = regex_substitute(final_quote, text, " . ' ");
  return detail::split_at_spaces(detail::moses_escape(detail::show_dots(text)));
}

}  // namespace morphvlm
