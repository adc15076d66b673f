// The VQA accuracy of VQAv2 as OpenFlamingo computes it, quirks included: published numbers contain them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/format.hpp"
#include "morphvlm/eval/contractions.hpp"
#include "morphvlm/text/regex.hpp"

namespace morphvlm {

/// What a generated text says as an answer: up to the first "Question", "Answer" or "Short" (the model goes
/// on with the next example), of that up to the first ", ".
inline std::string answer_of_generation(std::string_view generated) {
  std::size_t end = generated.size();
  for (const std::string_view next : {"Question", "Answer", "Short"})
    end = std::min(end, generated.find(next));
  const std::string_view answer = generated.substr(0, end);
  return std::string(answer.substr(0, answer.find(", ")));
}

namespace detail {

/// Words between white space; in Python that includes the separators U+001C to U+001F.
inline std::vector<std::string> split_words(std::string_view text) {
  static const Regex word = compile_regex(R"([^\s\x{1C}-\x{1F}]+)");
  std::vector<std::string> words;
  for_each_match(word, text, [&](std::size_t begin, std::size_t end) {
    words.emplace_back(text.substr(begin, end - begin));
  });
  return words;
}

inline std::string trim(std::string_view text) {
  static const Regex inner = compile_regex(R"([^\s\x{1C}-\x{1F}](?s:.*[^\s\x{1C}-\x{1F}])?)");
  std::string out;
  for_each_match(inner, text,
                 [&](std::size_t begin, std::size_t end) { out = text.substr(begin, end - begin); });
  return out;
}

/// A sign is deleted if the text has it beside a space, or has a comma between digits anywhere; otherwise it
/// becomes a space. Periods go unless a digit follows, but only the first 32: the original passes the flag
/// re.UNICODE, which is 32, where the number of replacements is expected.
inline std::string strip_punctuation(const std::string& text) {
  static const Regex digit_comma = compile_regex(R"(\d,\d)");
  static const Regex period = compile_regex(R"(\.(?!\d))");
  const bool has_digit_comma = regex_search(digit_comma, text);
  std::string out;
  for (const char c : text) {
    if (std::string_view(";/[]\"{}()=+\\_-><@`,?!").find(c) == std::string_view::npos)
      out += c;
    else if (!has_digit_comma && text.find({c, ' '}) == std::string::npos &&
             text.find({' ', c}) == std::string::npos)
      out += ' ';
  }
  return regex_replace(period, out, "", 32);
}

inline const std::string& number_word(const std::string& word) {
  static const std::map<std::string, std::string> kNumbers = {
      {"none", "0"}, {"zero", "0"}, {"one", "1"},   {"two", "2"},   {"three", "3"}, {"four", "4"},
      {"five", "5"}, {"six", "6"},  {"seven", "7"}, {"eight", "8"}, {"nine", "9"},  {"ten", "10"}};
  const auto found = kNumbers.find(word);
  return found == kNumbers.end() ? word : found->second;
}

}  // namespace detail

/// An answer (UTF-8) as it is compared: white space and signs cleaned, lower case, number words as digits,
/// articles dropped, apostrophes of contractions restored.
inline std::string normalize_answer(std::string_view answer) {
  std::string text(answer);
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '\t', ' ');
  text = detail::strip_punctuation(detail::trim(text));
  std::string out;
  for (const std::string& word : detail::split_words(lower_case(text))) {
    const std::string& number = detail::number_word(word);
    if (number == "a" || number == "an" || number == "the") continue;
    if (!out.empty()) out += ' ';
    out += detail::restore_contraction(number);
  }
  return out;
}

/// Accuracy of one question in [0, 1]: for every annotator min(1, matches among the *other* answers / 3), and
/// the mean of those. With fewer than two answers that is 0 whatever is predicted: use exact_match there.
inline double vqa_accuracy(std::string_view prediction, std::span<const std::string> answers) {
  expect(!answers.empty(), "vqa_accuracy: a question without answers");
  const std::string said = normalize_answer(prediction);
  std::vector<bool> same;
  for (const auto& answer : answers) same.push_back(normalize_answer(answer) == said);
  const auto matches = std::ranges::count(same, true);
  // An annotator who gave the same answer leaves one match fewer among the others. Added one by one: the
  // published figures are rounded, and in another order a tie may fall to the other side.
  double sum = 0;
  for (const bool own : same) sum += std::min(1.0, static_cast<double>(matches - own) / 3.0);
  return sum / static_cast<double>(answers.size());
}

/// The overall figure of the official evaluation, in percent: `round(100 * mean, 2)` of vqa_accuracy over
/// questions; also of those of one answer or question type alone.
inline double vqa_percent(std::span<const double> accuracies) {
  expect(!accuracies.empty(), "vqa_percent: no question");
  double sum = 0;
  for (const double accuracy : accuracies) sum += accuracy;
  return round_decimal(100 * sum / static_cast<double>(accuracies.size()), 2);
}

/// 1 if the prediction is one of the answers after normalisation of both, else 0: the score of data sets with
/// a single answer a question, such as easy-VQA.
inline double exact_match(std::string_view prediction, std::span<const std::string> answers) {
  const std::string said = normalize_answer(prediction);
  return std::ranges::any_of(answers, [&](const auto& a) { return normalize_answer(a) == said; }) ? 1.0 : 0.0;
}

}  // namespace morphvlm
