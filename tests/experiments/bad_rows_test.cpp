// What becomes of a row that cannot be used, and of all that was done before it was met: the programs
// `evaluate` and `train` on a file with one bad picture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "experiments/programs/bad_rows.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "tests/experiments/train_program.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::bad_rows_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct BadRowsProgram : testing::TrainProgram {
  fs::path out = scratch / "answers.jsonl", part = scratch / "answers.jsonl.part", good = {};

  void SetUp() override {
    TrainProgram::SetUp();
    good = scratch / "good.jpg";
    fs::copy_file(scratch / "jpeg_420.jpg", good);
    add("good.jpg", "is it bad?", "a");
  }

  void add(const std::string& picture, const std::string& question, const std::string& answer) const {
    testing::put(lines, testing::contents(lines) +
                            Json{{"image", picture}, {"question", question}, {"answer", answer}}.dump() +
                            "\n");
  }

  int evaluate(std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"--model", model.string(), "--data", lines.string(), "--task",
                                   "lines",   "--batch",      "2",      "--out",        out.string()};
    words.insert(words.end(), more.begin(), more.end());
    return wait_for(start(MORPHVLM_EVALUATE, words));
  }

  std::string said_text() const { return testing::contents(said); }
  static std::int64_t line_count(const fs::path& file) {
    const std::string text = testing::contents(file);
    return std::count(text.begin(), text.end(), '\n');
  }
};

TEST(BadRows, EndTheRunOrAreCounted) {
  experiments::BadRows ends(false), skips(true);
  EXPECT_EQ(testing::message_of([&] { ends.add("set", "7", "no picture"); }),
            "set: question \"7\": no picture; --skip_bad_rows leaves such rows out");
  EXPECT_TRUE(skips.guard("set", "6", [] {}));
  EXPECT_EQ(skips.summary(), "");
  EXPECT_FALSE(skips.guard("set", "7", [] { fail("no picture"); }));
  EXPECT_EQ(skips.count(), 1u);
  EXPECT_EQ(skips.summary(), "1 row is left out:\n  set: question \"7\": no picture\n");
}

TEST_F(BadRowsProgram, EvaluateKeepsItsAnswersAndGoesOn) {
  ASSERT_EQ(evaluate(), 0) << said_text();
  const std::string whole = testing::contents(out);
  EXPECT_EQ(line_count(out), 7);
  EXPECT_FALSE(fs::exists(part));
  fs::remove(out);

  testing::put(good, "not a picture");
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(),
              AllOf(HasSubstr("question \"7\""), HasSubstr("good.jpg"), HasSubstr("--skip_bad_rows")));
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(line_count(part), 1 + 6);
  // Not by chance, and not of another run.
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(), HasSubstr("--resume"));
  EXPECT_EQ(evaluate({"--resume", "--num_beams", "1"}), 1);
  EXPECT_THAT(said_text(), HasSubstr("/arguments/num_beams: 3 there, 1 here"));
  EXPECT_EQ(line_count(part), 1 + 6);

  fs::copy_file(scratch / "jpeg_420.jpg", good, fs::copy_options::overwrite_existing);
  // An answer that is there is not asked for again, and a line that was cut off is none.
  std::string kept = testing::contents(part);
  const auto at = kept.find("\"answer\":\"") + 10;
  testing::put(part, kept.insert(at, "kept ") + "{\"row\": 6, \"ans");
  ASSERT_EQ(evaluate({"--resume"}), 0) << said_text();
  const std::string resumed = testing::contents(out);
  const auto again = resumed.find("\"answer\":\"kept ");
  ASSERT_NE(again, std::string::npos);
  EXPECT_EQ(std::string(resumed).erase(again + 10, 5), whole);
  EXPECT_FALSE(fs::exists(part));
}

TEST_F(BadRowsProgram, SeveralProcessesGoOnWithWhatOneHasKept) {
#ifndef USE_C10D_GLOO
  GTEST_SKIP() << "compiled without Gloo's headers";
#endif
  ASSERT_EQ(evaluate(), 0) << said_text();
  const std::string whole = testing::contents(out);
  fs::remove(out);
  testing::put(good, "not a picture");
  EXPECT_EQ(evaluate(), 1);
  fs::copy_file(scratch / "jpeg_420.jpg", good, fs::copy_options::overwrite_existing);
  ASSERT_EQ(evaluate({"--resume", "--processes", "2"}), 0) << said_text();
  EXPECT_EQ(testing::contents(out), whole);
  for (const auto& name : scratch.names()) EXPECT_THAT(name, Not(HasSubstr(".part")));
}

TEST_F(BadRowsProgram, EvaluateLeavesThemOutAndCountsThem) {
  testing::put(good, "not a picture");
  add("nowhere.jpg", "is it there?", "a");
  ASSERT_EQ(evaluate({"--skip_bad_rows"}), 0) << said_text();
  EXPECT_THAT(said_text(), AllOf(HasSubstr("\"questions\": 6"), HasSubstr("\"skipped\": 2"),
                                 HasSubstr("2 rows are left out"), HasSubstr("nowhere.jpg")));
  EXPECT_EQ(line_count(out), 6);
}

TEST_F(BadRowsProgram, SpecialTokensInAQuestionAreAnErrorOrText) {
  add("good.jpg", "is <image> red?", "a<|endofchunk|>");
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(), AllOf(HasSubstr("question \"8\""), HasSubstr("<image>")));
  EXPECT_EQ(train("refused"), 1);
  EXPECT_THAT(said_text(), AllOf(HasSubstr("question \"8\""), HasSubstr("<image>")));
  ASSERT_EQ(evaluate({"--special_tokens", "text"}), 0) << said_text();
  EXPECT_THAT(said_text(), HasSubstr("\"questions\": 8"));
  ASSERT_EQ(train("text", {"--data.special_tokens", "text", "--train.steps", "1"}), 0) << said_text();
  EXPECT_THAT(said_text(), HasSubstr("\"rows\": 8"));
  EXPECT_EQ(evaluate({"--special_tokens", "perhaps"}), 1);
  EXPECT_THAT(said_text(), HasSubstr("--special_tokens: expected error or text, found \"perhaps\""));
}

TEST_F(BadRowsProgram, OutIsCheckedBeforeAnythingIsRead) {
  out = "/proc/answers";
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(),
              AllOf(HasSubstr("/proc/answers: cannot be created"), Not(HasSubstr("parameters from"))));
  out = scratch.path;
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(), HasSubstr("expected a file, found a folder"));
  // A device is written to, and what it does not take does not take the scores along.
  out = "/dev/full";
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(said_text(), AllOf(HasSubstr("\"accuracy\""), HasSubstr("/dev/full: cannot be written")));
  testing::put(scratch / "run", "");
  EXPECT_EQ(train("run"), 1);
  EXPECT_THAT(said_text(), AllOf(HasSubstr("run"), Not(HasSubstr("parameters from"))));
}

TEST_F(BadRowsProgram, TrainKeepsTheLatentsOfTheOthers) {
  ASSERT_EQ(train("whole"), 0) << said_text();
  testing::put(good, "not a picture");
  EXPECT_EQ(train("run"), 1);
  EXPECT_THAT(said_text(), AllOf(HasSubstr("question \"7\""), HasSubstr("good.jpg")));
  const auto rows = [&] {
    return load_safetensors(scratch / "run/latents.safetensors").front().second.size(0);
  };
  EXPECT_EQ(rows(), 3);
  fs::copy_file(scratch / "jpeg_420.jpg", good, fs::copy_options::overwrite_existing);
  ASSERT_EQ(train("run"), 0) << said_text();
  EXPECT_EQ(rows(), 4);
  // Pictures that were seen in other company differ in their last bits.
  const auto ours = losses("run"), theirs = losses("whole");
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1e-4 * theirs[i]);
}

TEST_F(BadRowsProgram, TrainLeavesThemOutAndCountsThem) {
  testing::put(good, "not a picture");
  for (const std::string vision : {"false", "true"}) {
    ASSERT_EQ(train("run" + vision, {"--skip_bad_rows", "--parts.vision", vision, "--train.steps", "2"}), 0)
        << said_text();
    EXPECT_THAT(said_text(),
                AllOf(HasSubstr("\"rows\": 6"), HasSubstr("\"skipped_rows\": 1"), HasSubstr("good.jpg")));
  }
}

}  // namespace
}  // namespace morphvlm::bad_rows_test
