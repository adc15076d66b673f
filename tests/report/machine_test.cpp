#include "morphvlm/report/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "tests/formats/files.hpp"

namespace morphvlm::machine_test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST(MachineTest, KnowsThisOne) {
  const Machine m = this_machine();
  EXPECT_GT(m.cores, 0);
  EXPECT_GE(m.cores_present, m.cores);
  EXPECT_GT(m.memory_bytes, std::int64_t{1} << 27);
  EXPECT_THAT(m.compiler, AnyOf(StartsWith("g++ "), StartsWith("clang ")));
  EXPECT_THAT(m.torch, StartsWith("2."));
  EXPECT_THAT(m.os, HasSubstr("Linux"));
#if defined(__x86_64__) && defined(__GNUC__)
  EXPECT_EQ(m.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(m.avx512, __builtin_cpu_supports("avx512f") != 0);
#endif
  EXPECT_EQ(m, this_machine());
}

TEST(MachineTest, CountsTheCoresItMayUse) {
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_SET(first, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  const std::int64_t cores = this_machine().cores;
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(cores, 1);
}

TEST(MachineTest, ReadsEntriesOfSystemFiles) {
  const testing::ScratchFolder folder;
  const auto file =
      testing::put(folder / "f", "model\t\t: 17\nmodel name\t: AMD EPYC \nNAME=\"Debian GNU\"\nempty:\n");
  EXPECT_EQ(detail::file_entry(file, "model", ':'), "17");
  EXPECT_EQ(detail::file_entry(file, "model name", ':'), "AMD EPYC");
  EXPECT_EQ(detail::file_entry(file, "NAME", '='), "Debian GNU");
  EXPECT_EQ(detail::file_entry(file, "empty", ':'), "");
  EXPECT_EQ(detail::file_entry(file, "mod", ':'), "");
  EXPECT_EQ(detail::file_entry(folder / "missing", "a", ':'), "");
  EXPECT_TRUE(detail::has_flag("fpu avx512f avx2", "avx2"));
  EXPECT_FALSE(detail::has_flag("fpu avx512f", "avx512"));
}

TEST(CommitTest, NamesCommitAndChanges) {
  if (std::system("git --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "git is not there";
  const testing::ScratchFolder folder;
  const auto work = folder / "it's a tree; echo";  // a shell must not take it apart
  std::filesystem::create_directory(work);
  EXPECT_EQ(git_commit(work), "unknown");
  testing::put(work / "a", "one");
  const std::string git = "git -C " + detail::shell_quote(work.string()) + " -c user.name=n -c user.email=e ";
  ASSERT_EQ(std::system((git + "init -q").c_str()), 0);
  ASSERT_EQ(std::system((git + "add a").c_str()), 0);
  ASSERT_EQ(std::system((git + "-c commit.gpgsign=false commit -q -m m").c_str()), 0);
  const std::string commit = git_commit(work);
  EXPECT_THAT(commit, MatchesRegex("[0-9a-f]+"));
  EXPECT_EQ(commit.size(), 40u);
  testing::put(work / "untracked", "x");
  EXPECT_EQ(git_commit(work), commit);
  testing::put(work / "a", "another");
  EXPECT_EQ(git_commit(work), commit + " (modified)");
  EXPECT_EQ(git_commit(folder / "missing"), "unknown");
}

TEST(TimeTest, IsoInUtc) {
  const std::chrono::system_clock::time_point when{std::chrono::seconds(1769860800)};
  EXPECT_EQ(utc_time(when), "2026-01-31T12:00:00Z");
  EXPECT_EQ(utc_now().size(), 20u);
}

}  // namespace
}  // namespace morphvlm::machine_test
