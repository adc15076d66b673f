// The pages of docs/tutorials: their code is the code that is tested, and their commands run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/formats/files.hpp"
#include "tests/tutorials/own_images.hpp"

namespace morphvlm::pages_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kSource = MORPHVLM_SOURCE_DIR;

std::string page(const std::string& name) {
  const auto text = testing::contents(kSource / "docs/tutorials" / (name + ".md"));
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

struct Block {
  std::string language = {}, text = {};
};

std::vector<Block> blocks(const std::string& page) {
  std::vector<Block> found;
  std::istringstream lines(page);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) found.push_back({line.substr(3)});
    } else if (inside) {
      found.back().text += line + '\n';
    }
  }
  EXPECT_FALSE(inside) << "a block that does not end";
  return found;
}

// A folder in which a page's commands find what they name: `./morph` calls the built programs, which lie
// where the release preset puts them.
struct Commands : ::testing::Test {
  testing::ScratchFolder scratch;

  void SetUp() override {
    const fs::path programs = scratch / "build/release/experiments";
    fs::create_directories(programs);
    for (const fs::path built : {MORPHVLM_TRAIN, MORPHVLM_EVALUATE, MORPHVLM_FORWARD, MORPHVLM_PLAN,
                                 MORPHVLM_ANSWER, MORPHVLM_REPRO})
      fs::create_symlink(built, programs / built.filename());
    testing::put(scratch / "morph",
                 "#!/bin/sh\nprogram=$1\nshift\nexec build/release/experiments/$program \"$@\"\n");
    fs::permissions(scratch / "morph", fs::perms::owner_all);
  }

  // What a block's commands print to both streams, and the exit status.
  std::pair<int, std::string> run(const std::string& commands) const {
    testing::put(scratch / "commands.sh", "set -e\nunset MORPHVLM_ASSETS\nexport CUDA_VISIBLE_DEVICES=\ncd " +
                                              scratch.path.string() + "\n" + commands);
    const std::string said = (scratch / "said").string();
    const int status =
        std::system(("sh " + (scratch / "commands.sh").string() + " >" + said + " 2>&1").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, testing::contents(said)};
  }
};

TEST(TutorialPages, CodeIsTheCodeThatIsTested) {
  int code = 0;
  for (const auto& entry : fs::directory_iterator(kSource / "docs/tutorials")) {
    const std::string name = entry.path().stem();
    const auto base = kSource / "tests/tutorials" / name;
    const std::string tested =
        testing::contents(base.string() + "_test.cpp") + testing::contents(base.string() + ".hpp");
    for (const Block& block : blocks(page(name))) {
      EXPECT_THAT(block.language, ::testing::AnyOf("cpp", "sh", "json", "text")) << name;
      if (block.language != "cpp") continue;
      ++code;
      EXPECT_NE(tested.find("\n" + block.text), std::string::npos) << name << " shows\n" << block.text;
    }
  }
  EXPECT_GT(code, 10);
}

TEST(TutorialPages, TheIndexNamesThemAll) {
  const std::string index = page("README");
  for (const auto& entry : fs::directory_iterator(kSource / "docs/tutorials"))
    if (entry.path().stem() != "README") {
      EXPECT_THAT(index, HasSubstr("](" + entry.path().filename().string() + ")"));
    }
}

TEST_F(Commands, FineTuneRuns) {
  testing::make_own_images(scratch.path);
  int ran = 0;
  for (const Block& block : blocks(page("fine_tune"))) {
    if (block.language != "sh") continue;
    const auto [status, said] = run(block.text);
    EXPECT_EQ(status, 0) << block.text << said;
    ++ran;
  }
  EXPECT_GE(ran, 3);
  EXPECT_TRUE(fs::exists(scratch / "runs/mine/adapter/adapter.safetensors"));
}

TEST_F(Commands, MemoryPlanPrintsWhatThePageShows) {
  const auto all = blocks(page("memory_plan"));
  int ran = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].language != "sh") continue;
    const auto [status, said] = run(all[i].text);
    EXPECT_EQ(status, 0) << all[i].text << said;
    ++ran;
    if (i + 1 < all.size() && all[i + 1].language == "text") {
      EXPECT_EQ(said, all[i + 1].text) << all[i].text;
    }
  }
  EXPECT_GE(ran, 2);
}

// Its commands need files of many gigabytes. Without them each gets as far as the model folder: every flag
// was one of the program's own.
TEST_F(Commands, PaperNamesFlagsThatThereAre) {
  int ran = 0;
  for (const Block& block : blocks(page("paper"))) {
    if (block.language != "sh") continue;
    std::istringstream lines(block.text);
    std::string command;
    for (std::string line; std::getline(lines, line);) {
      command += line + '\n';
      if (line.ends_with('\\')) continue;
      const auto [status, said] = run(command);
      ++ran;
      if (command.find("./morph repro") != std::string::npos) {
        // Neither a card nor files: everything is skipped.
        EXPECT_EQ(status, 77) << command << said;
      } else if (command.find("--model of3b") != std::string::npos) {
        EXPECT_EQ(status, 1) << command << said;
        EXPECT_THAT(said,
                    HasSubstr(command.find("--inputs") == std::string::npos ? "of3b" : "in.safetensors"))
            << command;
        EXPECT_THAT(said, Not(HasSubstr("--"))) << command;
      } else {
        EXPECT_EQ(status, 0) << command << said;
      }
      command.clear();
    }
  }
  EXPECT_GE(ran, 12);
}

}  // namespace
}  // namespace morphvlm::pages_test
