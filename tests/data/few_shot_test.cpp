// Selections against numpy, Python's random and OpenFlamingo's own evaluation (tests/golden/few_shot.py).
#include "morphvlm/data/few_shot.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "morphvlm/core/json.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::few_shot_test {
namespace {

using Rows = std::vector<std::int64_t>;

const Json& golden() {
  static const Json json = read_json(testing::golden_path("few_shot.json"));
  return json;
}

TEST(NumpyRandom, ChoosesAsNumpy) {
  for (const auto& c : golden().at("choices")) {
    NumpyRandom random(c.at("seed").get<std::uint32_t>());
    EXPECT_EQ(random.choice(c.at("n"), c.at("size")), c.at("rows").get<Rows>()) << c.at("seed");
  }
}

TEST(PythonRandom, SamplesAsPython) {
  for (const auto& c : golden().at("samples")) {
    PythonRandom random(c.at("seed").get<std::uint64_t>());
    Rows rows = random.sample(c.at("n"), c.at("k"));
    for (const auto row : random.sample(c.at("n"), c.at("k"))) rows.push_back(row);
    EXPECT_EQ(rows, c.at("rows").get<Rows>()) << c.at("n") << ' ' << c.at("k");
  }
}

TEST(PythonRandom, TakesNoMoreThanThereIs) {
  EXPECT_EQ(testing::message_of([] { PythonRandom(1).sample(3, 4); }),
            "sample: cannot take 4 of 3 without repeats");
  EXPECT_EQ(testing::message_of([] { NumpyRandom(1).choice(3, 4); }),
            "choice: cannot take 4 of 3 without repeats");
}

TEST(FewShot, PicksTheQuestionsAndDemonstrationsOfOpenFlamingo) {
  for (const auto& trial : golden().at("trials")) {
    const FewShotConfig config{.shots = trial.at("shots"),
                               .samples = trial.at("samples"),
                               .query_set = trial.at("query_set"),
                               .seed = trial.at("seed")};
    const auto queries = select_few_shot(trial.at("train"), trial.at("test"), config);
    const Json& expected = trial.at("queries");
    ASSERT_EQ(queries.size(), expected.size());
    for (std::size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(queries[i].test_row, expected[i][0].get<std::int64_t>()) << i;
      EXPECT_EQ(queries[i].demonstrations, expected[i][1].get<Rows>()) << i;
    }
  }
}

TEST(FewShot, PromptsOfAllShots) {
  const VqaDataset train{"train", {{"a.jpg", "How many?", {"2", "two"}}, {"b.jpg", "Why?", {"fun"}}}, {}};
  const VqaDataset test{"test", {{"c.jpg", "Where?", {"here"}}}, {}};
  const FewShotQuery query{.test_row = 0, .demonstrations = {1, 0}};
  EXPECT_EQ(few_shot_prompt(train, test, query, {.shots = 2}),
            "<image>Question:Why? Short answer:fun<|endofchunk|>\n"
            "<image>Question:How many? Short answer:2<|endofchunk|>\n"
            "<image>Question:Where? Short answer:");
  EXPECT_EQ(few_shot_prompt(train, test, query, {.shots = 0}),
            "Question:Why? Short answer:fun<|endofchunk|>\n"
            "Question:How many? Short answer:2<|endofchunk|>\n"
            "<image>Question:Where? Short answer:");
  using Paths = std::vector<std::filesystem::path>;
  EXPECT_EQ(few_shot_images(train, test, query, {.shots = 2}), (Paths{"b.jpg", "a.jpg", "c.jpg"}));
  EXPECT_EQ(few_shot_images(train, test, query, {.shots = 0}), Paths{"c.jpg"});
}

TEST(FewShot, PromptsBeforeVersion2) {
  const VqaDataset train{"train", {{"a.jpg", " How many?\n", {"2 ", "two"}}, {"b.jpg", "Why?", {"fun"}}}, {}};
  const VqaDataset test{"test", {{"c.jpg", "Where? ", {"here"}}}, {}};
  const FewShotQuery query{.test_row = 0, .demonstrations = {1, 0}};
  EXPECT_EQ(few_shot_prompt(train, test, query, {.shots = 0}, kFewShotV0),
            "Question:Why? Short Answer:fun<|endofchunk|>Question:How many? Short Answer:2<|endofchunk|>"
            "<image>Question:Where? Short Answer:");
  EXPECT_EQ(few_shot_prompt(train, test, query, {.shots = 2}, kFewShotV0),
            "<image>Question:Why? Short Answer:fun<|endofchunk|>"
            "<image>Question:How many? Short Answer:2<|endofchunk|><image>Question:Where? Short Answer:");
}

TEST(FewShot, BeforeVersion2OneSelectionHasThePoolAndTheQuestions) {
  for (const auto& trial : golden().at("trials_v0")) {
    const FewShotConfig config{.shots = trial.at("shots"),
                               .samples = trial.at("samples"),
                               .query_set = trial.at("query_set"),
                               .seed = trial.at("seed")};
    const auto queries = select_few_shot_v0(trial.at("rows"), config);
    const Json& expected = trial.at("queries");
    ASSERT_EQ(queries.size(), expected.size());
    for (std::size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(queries[i].test_row, expected[i][0].get<std::int64_t>()) << i;
      EXPECT_EQ(queries[i].demonstrations, expected[i][1].get<Rows>()) << i;
    }
  }
}

TEST(FewShot, NumbersThatCannotBeDrawnAreNamed) {
  const auto message = [](std::int64_t train, std::int64_t test, const FewShotConfig& c) {
    return testing::message_of([&] { select_few_shot(train, test, c); });
  };
  EXPECT_EQ(message(9, 9, {.shots = 8, .query_set = 4}),
            "few-shot: too few demonstrations: shots 8 take 8, query_set has 4");
  EXPECT_EQ(message(1, 9, {.query_set = 1}),
            "few-shot: too few demonstrations: shots 0 take 2, query_set has 1");
  EXPECT_EQ(
      message(9, 9, {.query_set = 10}),
      "few-shot: query_set: expected at most 9, which is how many rows there are to demonstrate, found 10");
  EXPECT_EQ(message(9, 9, {.samples = -1, .query_set = 4}),
            "few-shot: samples: expected 0 (all) to 9, which is how many questions there are, found -1");
  EXPECT_EQ(message(9, 9, {.shots = -1, .query_set = 4}), "few-shot: expected shots of 0 or more, found -1");
  EXPECT_EQ(
      testing::message_of([] { select_few_shot_v0(9, {.samples = 6, .query_set = 4}); }),
      "few-shot: query_set 4 and samples 6: expected at most 9 together, which is how many rows there are");
}

TEST(FewShot, SeedsAreThoseOfNumpy) {
  EXPECT_EQ(testing::message_of([] { select_few_shot(9, 9, {.query_set = 9, .seed = -1}); }),
            "few-shot: expected a seed from 0 to 2^32 - 1, found -1");
}

TEST(PythonRandom, ShufflesAndDrawsAsPython) {
  for (const auto& c : golden().at("draws")) {
    PythonRandom random(c.at("seed").get<std::uint64_t>());
    for (const auto& expected : c.at("reals")) EXPECT_EQ(random.real(), expected.get<double>());
    Rows rows(c.at("shuffled").size());
    std::iota(rows.begin(), rows.end(), 0);
    random.shuffle(rows);
    EXPECT_EQ(rows, c.at("shuffled").get<Rows>());
    for (const auto& expected : c.at("chosen_of_7")) EXPECT_EQ(random.below(7), expected.get<std::int64_t>());
  }
}

}  // namespace
}  // namespace morphvlm::few_shot_test
