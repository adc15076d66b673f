// Words as tokens: the vocabulary of models so small that byte-pair encoding would only lengthen their texts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/data/prompt.hpp"
#include "morphvlm/data/vqa_text.hpp"

namespace morphvlm::experiments {

/// Lower-case words, single digits and single other signs; line breaks count as spaces.
inline std::vector<std::string> split_into_words(std::string_view text) {
  std::vector<std::string> words;
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
  };
  for (std::size_t i = 0; i < text.size();) {
    if (text.substr(i).starts_with(kImageToken) || text.substr(i).starts_with(kEndOfChunk)) {
      const auto& special = text.substr(i).starts_with(kImageToken) ? kImageToken : kEndOfChunk;
      words.emplace_back(special);
      i += special.size();
    } else if (is_letter(text[i])) {
      std::string word;
      for (; i < text.size() && is_letter(text[i]); ++i)
        word += text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
      words.push_back(std::move(word));
    } else {
      if (std::string_view(" \t\r\n").find(text[i]) == std::string_view::npos) words.emplace_back(1, text[i]);
      ++i;
    }
  }
  return words;
}

/// The most frequent words of some texts, and the tokens that join text and pictures.
struct WordVocabulary {
  static constexpr std::int64_t kUnknown = 0, kPad = 1, kEnd = 2, kImage = 3, kEndChunk = 4;
  std::vector<std::string> words = {};
  std::unordered_map<std::string, std::int64_t> ids = {};

  /// At most `size` tokens. All words of `wanted` are in; the rest are the most frequent of `texts`, of
  /// equals the alphabetically first.
  static WordVocabulary of(const std::vector<std::string>& wanted, const std::vector<std::string>& texts,
                           std::size_t size) {
    WordVocabulary out;
    for (const auto name : {std::string_view("<unk>"), std::string_view("<pad>"), std::string_view("</s>"),
                            kImageToken, kEndOfChunk})
      out.add(std::string(name));
    for (const auto& text : wanted)
      for (const auto& word : split_into_words(text)) out.add(word);
    std::map<std::string, std::int64_t> counts;
    for (const auto& text : texts)
      for (const auto& word : split_into_words(text)) ++counts[word];
    std::vector<std::pair<std::int64_t, std::string>> by_count;
    for (const auto& [word, count] : counts) by_count.emplace_back(-count, word);
    std::ranges::sort(by_count);
    for (const auto& [count, word] : by_count)
      if (out.words.size() < size) out.add(word);
    return out;
  }

  TokenIds encode(std::string_view text) const {
    TokenIds out;
    for (const auto& word : split_into_words(text)) {
      const auto it = ids.find(word);
      out.push_back(it == ids.end() ? kUnknown : it->second);
    }
    return out;
  }

  std::string decode(const TokenIds& tokens) const {
    std::string text;
    for (const auto id : tokens)
      if (id > kEndChunk) text += (text.empty() ? "" : " ") + words.at(static_cast<std::size_t>(id));
    return text;
  }

 private:
  void add(const std::string& word) {
    if (ids.emplace(word, std::ssize(words)).second) words.push_back(word);
  }
};

}  // namespace morphvlm::experiments
