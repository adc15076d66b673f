// OpenFlamingo's few-shot evaluation: which questions are asked, in which order, and which demonstrations
// stand before each. open_flamingo equivalent: eval/utils.py and evaluate_vqa of eval/evaluate.py (v2.0.1,
// one process).
#pragma once

#include <ATen/ops/randperm.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/mersenne_twister.hpp"
#include "morphvlm/data/prompt.hpp"

namespace morphvlm {

/// One trial. Defaults: OpenFlamingo's.
struct FewShotConfig {
  std::int64_t shots = 0;         ///< 0: two demonstrations without their images
  std::int64_t samples = 0;       ///< questions asked; 0: all
  std::int64_t query_set = 2048;  ///< training rows that demonstrations come from
  std::int64_t seed = 42;         ///< 0 to 2^32 - 1

  /// Demonstrations before a question.
  std::int64_t demonstrations() const { return shots > 0 ? shots : 2; }
};

/// A question of the test set with its demonstrations from the training set, by row.
struct FewShotQuery {
  std::int64_t test_row = 0;                      ///< the question
  std::vector<std::int64_t> demonstrations = {};  ///< in the order of the prompt
};

namespace detail {

inline std::uint32_t few_shot_seed(const FewShotConfig& c) {
  expect(std::in_range<std::uint32_t>(c.seed), "few-shot: expected a seed from 0 to 2^32 - 1, found ",
         c.seed);
  return static_cast<std::uint32_t>(c.seed);
}

/// Refuses what cannot be drawn: numbers that Python would refuse, under the names of the fields.
inline void expect_few_shot(std::int64_t train_rows, std::int64_t test_rows, const FewShotConfig& c) {
  expect(c.shots >= 0, "few-shot: expected shots of 0 or more, found ", c.shots);
  expect(c.samples >= 0 && c.samples <= test_rows, "few-shot: samples: expected 0 (all) to ", test_rows,
         ", which is how many questions there are, found ", c.samples);
  expect(c.query_set >= 0 && c.query_set <= train_rows, "few-shot: query_set: expected at most ", train_rows,
         ", which is how many rows there are to demonstrate, found ", c.query_set);
  expect(c.demonstrations() <= c.query_set, "few-shot: too few demonstrations: shots ", c.shots, " take ",
         c.demonstrations(), ", query_set has ", c.query_set);
}

}  // namespace detail

/// The trial's questions in the order they are asked.
inline std::vector<FewShotQuery> select_few_shot(std::int64_t train_rows, std::int64_t test_rows,
                                                 const FewShotConfig& c) {
  detail::expect_few_shot(train_rows, test_rows, c);
  NumpyRandom numpy(detail::few_shot_seed(c));
  const auto asked = numpy.choice(test_rows, c.samples > 0 ? c.samples : test_rows);
  const auto pool = numpy.choice(train_rows, c.query_set);
  // Its distributed sampler shuffles what was selected once more, by torch's generator and always with seed
  // 0.
  const Tensor order = at::randperm(std::ssize(asked), make_generator(0), at::kLong);
  PythonRandom python(static_cast<std::uint64_t>(c.seed));
  std::vector<FewShotQuery> out;
  for (std::int64_t i = 0; i < order.numel(); ++i) {
    FewShotQuery query{.test_row = asked[static_cast<std::size_t>(order.const_data_ptr<std::int64_t>()[i])]};
    for (const auto j : python.sample(c.query_set, c.demonstrations()))
      query.demonstrations.push_back(pool[static_cast<std::size_t>(j)]);
    out.push_back(std::move(query));
  }
  return out;
}

/// The same as OpenFlamingo before v2 drew it, from one data set: the first rows of one selection are the
/// pool, the others are asked in their order. It did not seed the generator of the demonstrations; here
/// `seed` does.
inline std::vector<FewShotQuery> select_few_shot_v0(std::int64_t rows, const FewShotConfig& c) {
  detail::expect_few_shot(rows, rows, c);
  expect(c.query_set + c.samples <= rows, "few-shot: query_set ", c.query_set, " and samples ", c.samples,
         ": expected at most ", rows, " together, which is how many rows there are");
  NumpyRandom numpy(detail::few_shot_seed(c));
  const auto drawn = numpy.choice(rows, c.query_set + c.samples);
  PythonRandom python(static_cast<std::uint64_t>(c.seed));
  std::vector<FewShotQuery> out;
  for (auto i = c.query_set; i < std::ssize(drawn); ++i) {
    FewShotQuery query{.test_row = drawn[static_cast<std::size_t>(i)]};
    for (const auto j : python.sample(c.query_set, c.demonstrations()))
      query.demonstrations.push_back(drawn[static_cast<std::size_t>(j)]);
    out.push_back(std::move(query));
  }
  return out;
}

/// How a version of OpenFlamingo spells its VQA prompt.
struct FewShotStyle {
  std::string_view short_answer = "Short answer:";  ///< what stands between question and answer
  bool lines = true;                                ///< demonstrations end with a line break
  bool strip = false;  ///< white space (ASCII's) around questions and answers goes
};

inline constexpr FewShotStyle kFewShotV2{},    ///< OpenFlamingo's since v2
    kFewShotV0{"Short Answer:", false, true};  ///< and before

namespace detail {

inline std::string_view strip_ascii(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r\x1c\x1d\x1e\x1f";  // Python's
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace detail

/// The prompt of one example: open at the end where `answer` is null.
inline std::string vqa_prompt(std::string_view question, const std::string* answer,
                              const FewShotStyle& style = kFewShotV2) {
  const auto strip = [&](std::string_view text) { return style.strip ? detail::strip_ascii(text) : text; };
  std::string text(kImageToken);
  text.append("Question:").append(strip(question)).append(" ").append(style.short_answer);
  if (answer) text.append(strip(*answer)).append(kEndOfChunk);
  return text;
}

/// What a model is asked with: demonstrations, then the question. Demonstrations answer with their first
/// annotator; without shots they lose their image tokens.
inline std::string few_shot_prompt(const VqaDataset& train, const VqaDataset& test, const FewShotQuery& query,
                                   const FewShotConfig& c, const FewShotStyle& style = kFewShotV2) {
  std::string text;
  for (const auto row : query.demonstrations) {
    const auto& example = train.examples.at(static_cast<std::size_t>(row));
    expect(!example.answers.empty(), train.name, ": row ", row, " has no answer to demonstrate");
    text.append(vqa_prompt(example.question, &example.answers.front(), style));
    if (style.lines) text += '\n';
  }
  if (c.shots == 0) {
    for (auto at = text.find(kImageToken); at != std::string::npos; at = text.find(kImageToken, at))
      text.erase(at, kImageToken.size());
  }
  return text +
         vqa_prompt(test.examples.at(static_cast<std::size_t>(query.test_row)).question, nullptr, style);
}

/// The pictures of a query in the order of its image tokens.
inline std::vector<std::filesystem::path> few_shot_images(const VqaDataset& train, const VqaDataset& test,
                                                          const FewShotQuery& query, const FewShotConfig& c) {
  std::vector<std::filesystem::path> images;
  if (c.shots > 0) {
    for (const auto row : query.demonstrations)
      images.push_back(train.examples.at(static_cast<std::size_t>(row)).image);
  }
  images.push_back(test.examples.at(static_cast<std::size_t>(query.test_row)).image);
  return images;
}

}  // namespace morphvlm
