// The way back from the words of the Moses tokenizer to English text.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/text/moses.hpp"

namespace morphvlm {

namespace detail {

inline void replace_all(std::string& text, std::string_view what, std::string_view with) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, done)) {
    out.append(text, done, at - done).append(with);
    done = at + what.size();
  }
  text = out.append(text, done);
}

inline std::string moses_unescape(std::string text) {
  // Older files spell these three in another way.
  replace_all(text, "&bar;", "|");
  replace_all(text, "&bra;", "[");
  replace_all(text, "&ket;", "]");
  for (auto e = kMosesEscapes.rbegin(); e != kMosesEscapes.rend(); ++e)
    replace_all(text, e->second, std::string_view(&e->first, 1));
  return text;
}

/// What kind of word decides where spaces go.
struct MosesKinds {
  Regex cjk_first, cjk_last, opening, closing, contraction, quotes, double_quotes;
};

inline const MosesKinds& moses_kinds() {
  static const MosesKinds kinds = [] {
    // Scripts written without spaces. The ends of the blocks are exclusive, as they are in the reference.
    const std::string cjk =
        R"([\x{1101}-\x{11fe}\x{2e81}-\x{a4ce}\x{a841}-\x{a87e}\x{ac01}-\x{d7ae}\x{f901}-\x{fafe})"
        R"(\x{fe31}-\x{fe4e}\x{ff66}-\x{ffdb}\x{17001}-\x{18afe}\x{1b001}-\x{1b12e}\x{1b171}-\x{1b2fe})"
        R"(\x{20001}-\x{2fffe}])";
    return MosesKinds{compile_regex("\\A" + cjk),
                      compile_regex(cjk + "\\z"),
                      compile_regex("\\A(?:" + moses_currency() + "|[(\\[{\\x{bf}\\x{a1}])+\\z"),
                      compile_regex("\\A[,.?!:;\\\\%}\\])]+\\z"),
                      compile_regex("\\A'" + moses_plain_letter()),
                      compile_regex("\\A['\"\\x{201e}\\x{201c}`]+\\z"),
                      compile_regex("\\A[\\x{201e}\\x{201c}\\x{201d}]+\\z")};
  }();
  return kinds;
}

/// Puts words together one by one; `space` goes before the next word that takes one.
struct MosesJoiner {
  std::string out = {};
  std::string_view space = " ";
  std::map<std::string, int> quotes_seen = {};

  /// A word that leans on nothing.
  void plain(const std::string& word) {
    (out += space) += word;
    space = " ";
  }
  /// A word that the next one is joined to.
  void open(const std::string& word) {
    (out += space) += word;
    space = "";
  }
  /// A word that is joined to the one before.
  void close(const std::string& word) {
    out += word;
    space = " ";
  }
  /// Quotation marks open and close by turns; an apostrophe after an s belongs to it.
  void quote(const std::string& word, std::string_view before) {
    int& seen = quotes_seen[regex_search(moses_kinds().double_quotes, word) ? "\"" : word];
    const bool opens = seen % 2 == 0;
    if (opens && word == "'" && before.ends_with('s')) return close(word);
    ++seen;
    opens ? open(word) : close(word);
  }
};

}  // namespace detail

/// The text that `words` (escaped, as moses_tokenize gives them) were made of, as far as that can be told.
inline std::string moses_detokenize(const std::vector<std::string>& words) {
  std::string text = " " + detail::join(words, " ") + " ";
  detail::replace_all(text, " @-@ ", "-");
  const std::vector<std::string> parts = detail::split_at_spaces(detail::moses_unescape(std::move(text)));
  const detail::MosesKinds& kinds = detail::moses_kinds();
  detail::MosesJoiner joiner;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string& word = parts[i];
    const std::string_view before = i > 0 ? std::string_view(parts[i - 1]) : std::string_view();
    if (regex_search(kinds.cjk_first, word))
      regex_search(kinds.cjk_last, before) ? joiner.close(word) : joiner.plain(word);
    else if (regex_search(kinds.opening, word))
      joiner.open(word);
    else if (regex_search(kinds.closing, word) || (i > 0 && regex_search(kinds.contraction, word)))
      joiner.close(word);
    else if (regex_search(kinds.quotes, word))
      joiner.quote(word, before);
    else
      joiner.plain(word);
  }
  const std::string& out = joiner.out;
  return out.starts_with(' ') ? out.substr(1) : out;
}

}  // namespace morphvlm
