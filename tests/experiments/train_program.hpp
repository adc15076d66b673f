// The program `train` on a small model folder, as a user would run it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/experiments/model_folder.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::testing {

struct TrainProgram : ::testing::Test {
  ScratchFolder scratch;
  std::filesystem::path model = scratch / "model", lines = scratch / "mine.jsonl", said = scratch / "said";

  void SetUp() override {
    make_model_folder(model);
    std::string text;
    int number = 0;
    for (const std::string picture : {"jpeg_420.jpg", "jpeg_gray.jpg", "jpeg_progressive.jpg"}) {
      std::filesystem::copy_file(golden_path("images") / picture, scratch / picture);
      for (const std::string question : {"is it red?", "what is it?"})
        text +=
            Json{{"image", picture}, {"question", question}, {"answer", std::string(2, "abcdef"[number++])}}
                .dump() +
            "\n";
    }
    put(lines, text);
  }

  std::vector<std::string> arguments(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"--model",
                                 model.string(),
                                 "--data.data",
                                 lines.string(),
                                 "--out",
                                 (scratch / out).string(),
                                 "--train.steps",
                                 "24",
                                 "--train.lr",
                                 "0.02",
                                 "--batch",
                                 "2",
                                 "--lora.rank",
                                 "4",
                                 "--checkpoints.every",
                                 "4"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  pid_t start(const std::string& program, const std::vector<std::string>& arguments) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int file = ::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    std::vector<char*> words{const_cast<char*>(program.c_str())};
    for (const auto& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execv(program.c_str(), words.data());
    ::_exit(127);
  }

  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  int train(const std::string& out, const std::vector<std::string>& more = {}) const {
    return wait_for(start(MORPHVLM_TRAIN, arguments(out, more)));
  }

  std::vector<double> losses(const std::string& out) const {
    std::vector<double> found;
    std::istringstream log(contents(scratch / out / "log.jsonl"));
    for (std::string line; std::getline(log, line);) found.push_back(parse_json(line, "log").at("loss"));
    return found;
  }

  // Questions that two processes share get the answers of one; they do not come out even.
  void expect_answers_are_shared(const std::filesystem::path& adapter) const {
    std::vector<std::string> answers;
    for (const std::string count : {"1", "2"}) {
      const std::filesystem::path out = scratch / ("answers" + count);
      const pid_t asked =
          start(MORPHVLM_EVALUATE, {"--model", model.string(), "--data", lines.string(), "--task", "lines",
                                    "--adapter", adapter.string(), "--batch", "2", "--limit", "5",
                                    "--processes", count, "--out", out.string()});
      ASSERT_EQ(wait_for(asked), 0) << contents(said);
      answers.push_back(contents(out));
    }
    EXPECT_EQ(std::count(answers[0].begin(), answers[0].end(), '\n'), 5);
    EXPECT_EQ(answers[0], answers[1]);
  }

  std::string adapter(const std::string& out) const {
    return contents(scratch / out / "adapter/adapter.safetensors");
  }
};

}  // namespace morphvlm::testing
