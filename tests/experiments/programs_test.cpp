// What all programs have in common: --help, ranges of their flags, and a standard output that takes all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "tests/formats/files.hpp"

namespace morphvlm::programs_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Programs : ::testing::TestWithParam<const char*> {
  testing::ScratchFolder scratch;
  std::filesystem::path out = scratch / "out", said = scratch / "said";

  // The exit status of a line of the shell.
  int shell(const std::string& line) const {
    const int status = std::system((line + " 2>" + said.string()).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int run(const std::string& words) const {
    return shell(std::string(GetParam()) + ' ' + words + " >" + out.string());
  }

  // Lines of --help that are about a flag.
  std::vector<std::string> flags() const {
    EXPECT_EQ(run("--help"), 0) << testing::contents(said);
    std::vector<std::string> found;
    std::istringstream lines(testing::contents(out));
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("  --")) found.push_back(line.substr(2));
    return found;
  }
};

INSTANTIATE_TEST_SUITE_P(All, Programs,
                         ::testing::Values(MORPHVLM_EVALUATE, MORPHVLM_TRAIN, MORPHVLM_FORWARD, MORPHVLM_PLAN,
                                           MORPHVLM_ANSWER, MORPHVLM_REPRO),
                         [](const auto& program) {
                           return std::filesystem::path(program.param).stem().string();
                         });

TEST_P(Programs, HelpListsEveryFlagWithALine) {
  const auto lines = flags();
  EXPECT_GE(lines.size(), 4u);
  for (const auto& line : lines) {
    // Flag, its kind of value, two spaces at least, what it is.
    const auto gap = line.find("  ");
    ASSERT_NE(gap, std::string::npos) << line;
    const auto help = line.find_first_not_of(' ', gap);
    ASSERT_NE(help, std::string::npos) << line;
    EXPECT_NE(line[help], '(') << line;
  }
  EXPECT_THAT(testing::contents(out), StartsWith("usage: "));
  EXPECT_EQ(testing::contents(said), "");
  const std::string asked = testing::contents(out);
  ASSERT_EQ(run("-h"), 0);
  EXPECT_EQ(testing::contents(out), asked);
}

TEST_P(Programs, AStandardOutputThatIsFullOrClosedIsAnError) {
  const std::string program(GetParam());
  EXPECT_EQ(shell(program + " --help >/dev/full"), 1);
  EXPECT_THAT(testing::contents(said),
              HasSubstr("standard output: cannot be written: No space left on device"));
  EXPECT_EQ(shell(program + " --help >&-"), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("standard output: cannot be written"));
}

TEST_P(Programs, ANumberOutOfItsRangeIsNamedByItsFlag) {
  int tried = 0;
  for (const auto& line : flags()) {
    // "(default 3; 1 to 512)"
    const std::string notes = line.substr(std::min(line.size(), line.rfind('(')));
    const auto has = [&](const char* words) { return notes.find(words) != std::string::npos; };
    if (!notes.starts_with("(default ") || !(has(" or more") || has(" and at most ") || has(" to ")))
      continue;
    ++tried;
    const std::string flag = line.substr(0, line.find(' '));
    // Below all of them.
    EXPECT_NE(run(flag + "=-7"), 0) << line;
    EXPECT_THAT(testing::contents(said), HasSubstr(flag + ": expected ")) << line;
    EXPECT_THAT(testing::contents(said), HasSubstr(", found -7")) << line;
  }
  const std::string name = std::filesystem::path(GetParam()).stem().string();
  EXPECT_EQ(tried > 0, name != "forward" && name != "answer");
}

TEST_P(Programs, AWordThatIsNoFlagIsNamed) {
  EXPECT_NE(run("surplus"), 0);
  EXPECT_THAT(testing::contents(said), HasSubstr("surplus"));
  EXPECT_NE(run("--no_such_flag 1"), 0);
  EXPECT_THAT(testing::contents(said), HasSubstr("--no_such_flag: unknown key"));
}

TEST(PlanProgram, AResultThatNobodyTookIsAnError) {
  const testing::ScratchFolder scratch;
  const std::string plan =
      std::string(MORPHVLM_PLAN) + " --json=true --memory 12GB 2>" + (scratch / "said").string();
  EXPECT_EQ(std::system((plan + " >" + (scratch / "out").string()).c_str()), 0);
  EXPECT_NE(std::system((plan + " >/dev/full").c_str()), 0);
  EXPECT_NE(std::system((plan + " >&-").c_str()), 0);
}

}  // namespace
}  // namespace morphvlm::programs_test
