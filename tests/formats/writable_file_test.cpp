#include "morphvlm/formats/writable_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::writable_file_test {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;
using ::testing::StartsWith;

std::string message(const std::filesystem::path& path) {
  return message_of([&] { expect_writable_file(path); });
}

TEST(WritableFile, LeavesWhatIsThereAsItIs) {
  const ScratchFolder folder;
  const auto file = testing::put(folder / "old", "old");
  EXPECT_EQ(message(file), "(nothing was thrown)");
  EXPECT_EQ(testing::contents(file), "old");
  EXPECT_EQ(message(folder / "new"), "(nothing was thrown)");
  EXPECT_EQ(folder.names(), std::set<std::string>{"old"});
}

TEST(WritableFile, MakesTheFolderAsWritingDoes) {
  const ScratchFolder folder;
  EXPECT_EQ(message(folder / "a/b/new"), "(nothing was thrown)");
  EXPECT_TRUE(std::filesystem::is_empty(folder / "a/b"));
}

TEST(WritableFile, NamesWhatCannotBeWritten) {
  const ScratchFolder folder;
  testing::put(folder / "file", "");
  EXPECT_THAT(message(folder.path), HasSubstr("expected a file, found a folder"));
  EXPECT_THAT(message(folder / "file/below"), StartsWith((folder / "file/below").string() + ": cannot be"));
  EXPECT_THAT(message(folder / std::string(300, 'x')), HasSubstr("cannot be written"));
  EXPECT_THAT(message("/proc/new"), StartsWith("/proc/new: cannot be"));
}

TEST(WritableFile, ADeviceOrAPipeIsAskedItself) {
  const ScratchFolder folder;
  const auto pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0644), 0);
  EXPECT_TRUE(is_device_or_pipe(pipe));
  EXPECT_TRUE(is_device_or_pipe("/dev/null"));
  EXPECT_FALSE(is_device_or_pipe(folder.path) || is_device_or_pipe(folder / "nothing"));
  EXPECT_EQ(message(pipe), "(nothing was thrown)");
  EXPECT_EQ(message("/dev/null"), "(nothing was thrown)");
  EXPECT_EQ(folder.names(), std::set<std::string>{"pipe"});
}

}  // namespace
}  // namespace morphvlm::writable_file_test
