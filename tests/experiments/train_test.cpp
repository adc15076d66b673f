// The program `train` on a small model folder, as a user would run it: it learns, it can be stopped and goes
// on, and what it saves can be asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <thread>

#include "experiments/programs/train_task.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/text/load_tokenizer.hpp"
#include "tests/experiments/train_program.hpp"

namespace morphvlm::train_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

using testing::TrainProgram;

TEST_F(TrainProgram, LearnsAndCanBeAsked) {
  ASSERT_EQ(train("run", {"--train.steps", "120", "--batch", "6", "--validation", lines.string()}), 0)
      << testing::contents(said);
  const auto curve = losses("run");
  ASSERT_EQ(curve.size(), 120u);
  EXPECT_LT(curve.back(), curve.front() / 2);
  EXPECT_THAT(testing::contents(said), HasSubstr("validation_loss"));
  // What it answered by the end, with the picture, is there for TensorBoard.
  std::string events;
  for (const auto& file : fs::directory_iterator(scratch / "run/events"))
    events += testing::contents(file.path());
  EXPECT_THAT(events, HasSubstr("is it red? Short answer: | aa | aa"));
  EXPECT_THAT(events, HasSubstr(testing::contents(scratch / "jpeg_420.jpg")));
  const pid_t asked = start(MORPHVLM_EVALUATE, {"--model", model.string(), "--data", lines.string(), "--task",
                                                "lines", "--adapter", (scratch / "run/adapter").string()});
  ASSERT_EQ(wait_for(asked), 0) << testing::contents(said);
  EXPECT_THAT(testing::contents(said), AllOf(HasSubstr("\"questions\": 6"), HasSubstr("accuracy")));
}

TEST_F(TrainProgram, IsStoppedBySigtermAndGoesOn) {
  ASSERT_EQ(train("whole"), 0) << testing::contents(said);
  const pid_t child = start(MORPHVLM_TRAIN, arguments("cut", {"--train.accumulate", "1"}));
  while (!fs::exists(scratch / "cut/log.jsonl") || losses("cut").size() < 6)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ::kill(child, SIGTERM);
  const int status = wait_for(child);
  // On a fast machine the run may have come to its end first.
  if (status != 0) {
    EXPECT_EQ(status, 143) << testing::contents(said);
    EXPECT_THAT(testing::contents(said), HasSubstr("stopped by signal 15"));
    EXPECT_FALSE(fs::exists(scratch / "cut/adapter"));
    EXPECT_EQ(train("cut"), 1);
    EXPECT_THAT(testing::contents(said), HasSubstr("resume"));
  }
  ASSERT_EQ(train("cut", {"--resume"}), 0) << testing::contents(said);
  EXPECT_EQ(losses("cut"), losses("whole"));
  EXPECT_EQ(adapter("cut"), adapter("whole"));
}

TEST_F(TrainProgram, SeveralProcessesTrainAsOneDoes) {
#ifndef USE_C10D_GLOO
  GTEST_SKIP() << "compiled without Gloo's headers";
#endif
  const auto validation_loss = [&] {
    const std::string text = testing::contents(said);
    const auto at = text.find("\"validation_loss\": ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + 19));
  };
  const std::vector<std::string> window{"--train.accumulate", "2",           "--train.steps", "6",
                                        "--validation",       lines.string()};
  ASSERT_EQ(train("one", window), 0) << testing::contents(said);
  const auto theirs = losses("one");
  const double reached = validation_loss();
  ASSERT_GT(reached, 0);
  using Words = std::vector<std::string>;
  for (const auto& more : {Words{"--processes", "2"}, Words{"--processes", "2", "--shard_base"}}) {
    auto words = window;
    words.insert(words.end(), more.begin(), more.end());
    const std::string out = "two" + std::to_string(more.size());
    ASSERT_EQ(train(out, words), 0) << testing::contents(said);
    const auto ours = losses(out);
    ASSERT_EQ(ours.size(), 6u);
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs.at(i), 1e-5 * theirs[i]);
    EXPECT_NEAR(validation_loss(), reached, 1e-5 * reached);
    expect_answers_are_shared(scratch / out / "adapter");
  }
  EXPECT_EQ(train("three", {"--processes", "3"}), 1);
  EXPECT_THAT(testing::contents(said),
              HasSubstr("3 processes share the batches of a step, of which there are 1"));
}

TEST_F(TrainProgram, ABaseInFourBitsOrOnTheHost) {
  const auto run = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.end(), {"--train.steps", "4"});
    ASSERT_EQ(train(out, more), 0) << testing::contents(said);
    ASSERT_EQ(losses(out).size(), 4u);
  };
  run("near", {});
  run("far", {"--stream_base=true"});
  EXPECT_EQ(losses("far"), losses("near"));
  EXPECT_EQ(adapter("far"), adapter("near"));
  run("packed", {"--base", "nf4"});
  run("far_packed", {"--base", "nf4", "--stream_base=true"});
  EXPECT_NE(losses("packed"), losses("near"));
  EXPECT_EQ(losses("far_packed"), losses("packed"));
  EXPECT_EQ(adapter("far_packed"), adapter("packed"));
  using Words = std::vector<std::string>;
  for (const auto& [error, words] : std::map<std::string, Words>{
           {"found \"int3\"", {"--base", "int3"}},
           {"expected --adapter LoRA<Attn>, found \"NoAdapter\"",
            {"--adapter", "NoAdapter", "--stream_base=true"}},
           {"neither --base nf4 nor --stream_base", {"--shard_base=true", "--stream_base=true"}}}) {
    EXPECT_EQ(train("refused", words), 1);
    EXPECT_THAT(testing::contents(said), HasSubstr(error));
  }
}

TEST_F(TrainProgram, SlurmStartsSeveralProcesses) {
#ifndef USE_C10D_GLOO
  GTEST_SKIP() << "compiled without Gloo's headers";
#endif
  const auto shell = [&](const std::string& line, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"-c", line};
    words.insert(words.end(), more.begin(), more.end());
    return wait_for(start("/bin/sh", words));
  };
  if (shell("command -v srun && timeout 20 srun -n 2 --overcommit true") != 0)
    GTEST_SKIP() << "no Slurm is up here (" << testing::contents(said) << ')';
  const std::vector<std::string> window{"--train.accumulate", "2", "--train.steps", "6"};
  ASSERT_EQ(train("one", window), 0) << testing::contents(said);
  auto words = arguments("two", window);
  words.insert(words.begin(), MORPHVLM_TRAIN);
  ASSERT_EQ(shell("MASTER_PORT=29483 exec srun -n 2 --overcommit \"$0\" \"$@\"", words), 0)
      << testing::contents(said);
  const auto ours = losses("two"), theirs = losses("one");
  ASSERT_EQ(ours.size(), 6u);
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs.at(i), 1e-5 * theirs[i]);
}

// What ran out of memory may go on with less of it.
TEST_F(TrainProgram, GoesOnWithOtherActivationsRecomputed) {
  ASSERT_EQ(train("whole"), 0) << testing::contents(said);
  ASSERT_EQ(train("run"), 0) << testing::contents(said);
  for (const auto* name : {"step-00000024", "step-00000020"})
    fs::remove_all(scratch / "run/checkpoints" / name);
  fs::remove_all(scratch / "run/adapter");
  ASSERT_EQ(train("run", {"--resume", "--recompute.every", "1", "--recompute.feed_forward=true"}), 0)
      << testing::contents(said);
  const auto ours = losses("run"), theirs = losses("whole");
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1e-4 * theirs[i]);
}

TEST_F(TrainProgram, GoesOnWithTheSameDataOnly) {
  ASSERT_EQ(train("run"), 0) << testing::contents(said);
  EXPECT_EQ(train("run", {"--resume", "--batch", "3"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("another config"));
  std::string text = testing::contents(lines);
  text.replace(text.find("\"aa\""), 4, "\"ab\"");
  testing::put(lines, text);
  EXPECT_EQ(train("run", {"--resume"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("another config"));
}

TEST_F(TrainProgram, FieldsComeFromAFileAndFlagsGoBefore) {
  testing::put(scratch / "c.json", R"({"train": {"steps": 3, "lr": 0.5}, "adapter": "NoAdapter",
                                       "parts": {"gated_cross_attention": true}})");
  ASSERT_EQ(train("run", {"--config", (scratch / "c.json").string()}), 0) << testing::contents(said);
  const Json stored = read_json(scratch / "run/train.json");
  EXPECT_EQ(stored.at("adapter"), "NoAdapter");
  EXPECT_EQ(stored.at("train").at("steps"), 24);
  EXPECT_EQ(stored.at("train").at("lr"), 0.02);
  for (const auto& [name, t] : load_safetensors(scratch / "run/adapter/adapter.safetensors"))
    EXPECT_TRUE(name.starts_with("gated_cross_attn.")) << name;
}

TEST_F(TrainProgram, MistakesAreNamed) {
  EXPECT_EQ(train("run", {"--adapter", "LoRA<Mlp>"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("LoRA<Mlp>"));
  EXPECT_EQ(train("run", {"--data.max_tokens", "9"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("nothing of its answer is left within 9"));
  EXPECT_EQ(train("run", {"--data.prompt", "{question}{answer}"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("expected <image>"));
  EXPECT_EQ(train("run", {"--data.task", "vqa"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("aokvqa, coco, lines, pubmedqa, pubmedqa-long, vqav2"));
  fs::remove(scratch / "jpeg_gray.jpg");
  EXPECT_EQ(train("run"), 1);
  EXPECT_THAT(testing::contents(said), AllOf(HasSubstr("1 images are missing"), HasSubstr("jpeg_gray.jpg")));
}

// The rows of a task, through the model folder's tokenizer.
struct TrainRows : TrainProgram {
  std::vector<experiments::TrainRow> rows(const experiments::TrainDataConfig& config) {
    Tokenizer tokenizer = load_tokenizer(model / "language");
    add_media_tokens(tokenizer);
    return experiments::read_train_rows(config, tokenizer);
  }

  static std::int64_t learned(const experiments::TrainRow& row) {
    return std::ranges::count_if(row.text.labels, [](auto l) { return l != kIgnoredLabel; });
  }
};

TEST_F(TrainRows, TheAnswerAloneIsLearned) {
  const auto all = rows({.data = lines});
  ASSERT_EQ(all.size(), 6u);
  const auto& text = all.front().text;
  const std::size_t learned = 3;  // two letters and <|endofchunk|>
  ASSERT_GT(text.ids.size(), learned);
  for (std::size_t i = 0; i < text.ids.size(); ++i)
    EXPECT_EQ(text.labels[i], i + learned < text.ids.size() ? kIgnoredLabel : text.ids[i]) << i;
}

TEST_F(TrainRows, TestQuestionsOfPubMedQaAreLeftOut) {
  Json all = Json::object(), truth = Json::object();
  for (int i = 0; i < 4; ++i) {
    const std::string id = std::to_string(1000 + i);
    all[id] = {{"QUESTION", "does it help?"},
               {"CONTEXTS", {std::string(40, 'x') + " it was tried."}},
               {"LABELS", {"METHODS"}},
               {"MESHES", Json::array()},
               {"LONG_ANSWER", i == 0 ? "it does." : std::string(600, 'y')},
               {"final_decision", "maybe"}};
    if (i % 2 == 1) truth[id] = "maybe";
  }
  testing::put(scratch / "ori_pqal.json", all.dump());
  testing::put(scratch / "test_ground_truth.json", truth.dump());
  const auto found = rows({.task = "pubmedqa", .data = scratch.path, .max_tokens = 250});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].id, "1000");
  EXPECT_EQ(found[1].id, "1002");
  for (const auto& row : found) {
    EXPECT_LE(row.text.ids.size(), 250u);
    EXPECT_EQ(learned(row), 6);
  }
  // A long answer gets half of the room, and the contexts what it leaves.
  const auto longer = rows({.task = "pubmedqa-long", .data = scratch.path, .max_tokens = 700});
  ASSERT_EQ(longer.size(), 2u);
  EXPECT_EQ(learned(longer[0]), 9);
  EXPECT_LT(longer[0].text.ids.size(), 700u);
  EXPECT_GE(learned(longer[1]), 350);
  EXPECT_EQ(longer[1].text.ids.size(), 700u);
}

}  // namespace
}  // namespace morphvlm::train_test
