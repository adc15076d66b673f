// The parts of the small world that need no training: its words, its texts, the order of its rows.
#include "experiments/mini/small_world.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>

#include "experiments/mini/sweep.hpp"

namespace morphvlm::experiments {
namespace {

using ::testing::ElementsAre;

TEST(WordVocabulary, SplitsWordsDigitsAndSigns) {
  EXPECT_THAT(split_into_words("<image>Is it Red?\n\nIL-12<|endofchunk|>"),
              ElementsAre("<image>", "is", "it", "red", "?", "il", "-", "1", "2", "<|endofchunk|>"));
}

TEST(WordVocabulary, KeepsWhatIsWantedAndTheMostFrequent) {
  const auto words = WordVocabulary::of({"blue"}, {"b a c c", "a c"}, 8);
  EXPECT_THAT(words.words,
              ElementsAre("<unk>", "<pad>", "</s>", "<image>", "<|endofchunk|>", "blue", "c", "a"));
  EXPECT_THAT(words.encode("<image> C b blue"),
              ElementsAre(WordVocabulary::kImage, 6, WordVocabulary::kUnknown, 5));
  EXPECT_EQ(words.decode({3, 6, 7, 2}), "c a");
}

std::int64_t supervised(const LabelledIds& text) {
  return std::ssize(text.labels) - std::ranges::count(text.labels, kIgnoredLabel);
}

const WordVocabulary& some_words() {
  static const auto words = WordVocabulary::of(
      {instruction_prompt("is it red", "x"), "The answer is yes. it works well aa bb"}, {}, 100);
  return words;
}

TEST(SmallWorld, InstructionsSuperviseTheAnswerAlone) {
  const auto text = instruction_ids(some_words(), {.question = "is it red?", .answers = {"yes"}});
  EXPECT_EQ(supervised(text), 6);  // the answer is yes . </s>
  EXPECT_EQ(std::ranges::count(text.ids, WordVocabulary::kImage), 1);
  EXPECT_EQ(text.ids.back(), WordVocabulary::kEnd);
}

TEST(SmallWorld, AbstractsAreCutButTheirAnswerIsKept) {
  std::string long_context;
  for (int i = 0; i < 200; ++i) long_context += "aa bb ";
  const PubMedQaExample example{
      .question = "is it red", .contexts = {long_context}, .long_answer = "it works well"};
  const auto text = medical_ids(some_words(), example, 96);
  EXPECT_LE(std::ssize(text.ids), 96);
  EXPECT_GT(std::ssize(text.ids), 80);
  EXPECT_EQ(supervised(text), 4);
  EXPECT_EQ(std::ranges::count(text.ids, WordVocabulary::kImage), 0);
}

TEST(SmallWorld, EveryRowComesOnceAnEpochInAnOrderOfTheSeeds) {
  RowOrder order{10, 5}, again{10, 5}, other{10, 6};
  std::vector<std::int64_t> first, same, different;
  for (std::int64_t i = 0; i < 5; ++i) {
    for (const auto row : order.batch(i, 4)) first.push_back(row);
    for (const auto row : again.batch(i, 4)) same.push_back(row);
    for (const auto row : other.batch(i, 4)) different.push_back(row);
  }
  EXPECT_EQ(std::set(first.begin(), first.begin() + 10).size(), 10u);
  EXPECT_EQ(std::set(first.begin() + 10, first.end()).size(), 10u);
  EXPECT_EQ(first, same);
  EXPECT_NE(first, different);
}

TEST(Sweep, RunsEveryJobOnceAndPassesAnErrorOn) {
  std::vector<std::atomic<int>> runs(20);
  for_each_job(20, "", [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
  for (const auto& count : runs) EXPECT_EQ(count, 1);
  EXPECT_THROW(for_each_job(4, "",
                            [](std::int64_t i) {
                              if (i == 2) throw std::runtime_error("job 2");
                            }),
               std::runtime_error);
}

}  // namespace
}  // namespace morphvlm::experiments
