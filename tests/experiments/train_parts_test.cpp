// The program `train` with what a folder does not have yet, and with two kinds of data.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/experiments/small_sets.hpp"
#include "tests/experiments/train_program.hpp"

namespace morphvlm::train_parts_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TrainProgram;

std::vector<Json> lines_of(const fs::path& path) {
  std::vector<Json> out;
  std::istringstream in(testing::contents(path));
  for (std::string line; std::getline(in, line);) out.push_back(parse_json(line, path.string()));
  return out;
}

struct TrainParts : TrainProgram {};

TEST_F(TrainParts, MakesBlocksForALanguageModelThatHasNone) {
  fs::remove_all(model / "flamingo");
  EXPECT_EQ(train("none"), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("expected a folder flamingo in it, or --parts.perceiver"));
  const std::vector<std::string> parts{"--parts.perceiver",
                                       "true",
                                       "--parts.gated_cross_attention",
                                       "true",
                                       "--adapter",
                                       "NoAdapter",
                                       "--train.steps",
                                       "80",
                                       "--batch",
                                       "6"};
  ASSERT_EQ(train("blocks", parts), 0) << testing::contents(said);
  EXPECT_THAT(testing::contents(said), HasSubstr("made here"));
  const auto pretrained = losses("blocks");
  EXPECT_LT(pretrained.back(), 0.9 * pretrained.front());
  // The same seed makes the same blocks.
  ASSERT_EQ(train("again", parts), 0) << testing::contents(said);
  EXPECT_EQ(losses("again"), pretrained);
  // They belong to the folder now, as they were left.
  fs::copy(scratch / "blocks/flamingo", model / "flamingo", fs::copy_options::recursive);
  ASSERT_EQ(train("tuned", {"--batch", "6", "--train.lr", "1e-9"}), 0) << testing::contents(said);
  EXPECT_NEAR(losses("tuned").front(), pretrained.back(), 0.1 * pretrained.back());
}

struct TwoKinds : TrainProgram {
  fs::path texts = scratch / "texts.jsonl";
  std::vector<std::string> kinds{"--also.data", texts.string(), "--also_batch", "1", "--log_batches", "true"};

  void SetUp() override {
    TrainProgram::SetUp();
    std::string text;
    for (const char* answer : {"abc", "bca", "cab", "acb"})
      text += Json{{"question", "what is it?"}, {"answer", answer}}.dump() + "\n";
    testing::put(texts, text);
  }
};

TEST_F(TwoKinds, AddUpAndAreLoggedApart) {
  ASSERT_EQ(train("run", kinds), 0) << testing::contents(said);
  const auto all = losses("run");
  const auto batches = lines_of(scratch / "run/batches.jsonl");
  ASSERT_EQ(batches.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(batches[i].at("batch"), i);
    const double sum = batches[i].at("data").get<double>() + batches[i].at("also").get<double>();
    EXPECT_NEAR(all[i], sum, 1e-5 * sum);
    EXPECT_GT(batches[i].at("flops").get<double>(), 0);
  }
  EXPECT_LT(all.back(), all.front());
  // One kind alone costs less.
  ASSERT_EQ(train("alone", {"--log_batches", "true"}), 0) << testing::contents(said);
  const auto alone = lines_of(scratch / "alone/batches.jsonl");
  EXPECT_FALSE(alone[0].contains("also"));
  EXPECT_LT(alone[0].at("flops").get<double>(), batches[0].at("flops").get<double>());
  EXPECT_NEAR(alone[0].at("data").get<double>(), batches[0].at("data").get<double>(), 1e-6);
}

TEST_F(TwoKinds, AKilledRunGoesOnWithTheSameBatches) {
  ASSERT_EQ(train("whole", kinds), 0) << testing::contents(said);
  const fs::path log = scratch / "cut/batches.jsonl";
  const pid_t child = start(MORPHVLM_TRAIN, arguments("cut", kinds));
  for (int i = 0; i < 6000 && (!fs::exists(log) || lines_of(log).size() < 7); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(child, SIGKILL);
  EXPECT_EQ(wait_for(child), -1);
  auto more = kinds;
  more.emplace_back("--resume");
  ASSERT_EQ(train("cut", more), 0) << testing::contents(said);
  EXPECT_EQ(losses("cut"), losses("whole"));
  EXPECT_EQ(testing::contents(log), testing::contents(scratch / "whole/batches.jsonl"));
}

TEST_F(TwoKinds, OtherTextsAreAnotherRun) {
  ASSERT_EQ(train("run", kinds), 0) << testing::contents(said);
  testing::put(texts, Json{{"question", "what is it?"}, {"answer", "xyz"}}.dump() + "\n");
  auto more = kinds;
  more.emplace_back("--resume");
  EXPECT_EQ(train("run", more), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("a run with another config"));
  EXPECT_EQ(train("shared", {"--log_batches", "true", "--processes", "2"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("expected one process"));
}

TEST_F(TrainParts, CaptionsAreWhatFollowsOutput) {
  const fs::path coco = scratch / "coco";
  fs::create_directories(coco);
  testing::SmallSets{coco}.make_coco();
  ASSERT_EQ(train("run", {"--data.task", "coco", "--data.data", coco.string()}), 0)
      << testing::contents(said);
  EXPECT_THAT(testing::contents(said), HasSubstr("\"rows\": 6"));
  fs::remove(coco / "val2017/000000000001.jpg");
  EXPECT_EQ(train("missing", {"--data.task", "coco", "--data.data", coco.string()}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("1 images are missing"));
}

}  // namespace
}  // namespace morphvlm::train_parts_test
