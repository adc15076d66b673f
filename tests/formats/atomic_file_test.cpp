#include "morphvlm/formats/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "tests/formats/files.hpp"

namespace morphvlm::atomic_file_test {
namespace {

using testing::contents;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
namespace fs = std::filesystem;

auto one_file(std::string name, std::string text) {
  return [=](const fs::path& folder) { put(folder / name, text); };
}

TEST(WriteFile, WritesAndReplaces) {
  const ScratchFolder folder;
  write_file(folder / "a", "old");
  write_file(folder / "a", std::string_view("n\0w", 3));
  EXPECT_EQ(contents(folder / "a"), std::string("n\0w", 3));
  const auto bytes = std::as_bytes(std::span("xyz", 3));
  write_file(folder / "b", bytes);
  EXPECT_EQ(contents(folder / "b"), "xyz");
  EXPECT_THAT(folder.names(), ElementsAre("a", "b"));
}

TEST(WriteFile, TakesRelativePathsAndMakesParents) {
  const ScratchFolder folder;
  const auto before = fs::current_path();
  fs::current_path(folder.path);
  write_file("a", "1");
  write_file("x/y/b", "2");
  fs::current_path(before);
  EXPECT_EQ(contents(folder / "a"), "1");
  EXPECT_EQ(contents(folder / "x/y/b"), "2");
}

TEST(WriteFile, ShowsNothingBeforeTheEnd) {
  const ScratchFolder folder;
  put(folder / "a", "old");
  write_file(folder / "a", [&](const FileSink& sink) {
    sink.write("new");
    EXPECT_EQ(contents(folder / "a"), "old");
  });
  EXPECT_EQ(contents(folder / "a"), "new");
}

TEST(WriteFile, KeepsTheOldFileWhenTheWriterFails) {
  const ScratchFolder folder;
  put(folder / "a", "old");
  auto half = [](const FileSink& sink) {
    sink.write("half");
    throw std::runtime_error("stopped");
  };
  EXPECT_THROW(write_file(folder / "a", half), std::runtime_error);
  EXPECT_EQ(contents(folder / "a"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("a"));
}

TEST(WriteFile, KeepsTheOldContentWhenTheWriterIsKilled) {
  const ScratchFolder folder;
  put(folder / "a", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    write_file(folder / "a", [](const FileSink& sink) {
      sink.write("half");
      ::_exit(0);
    });
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(contents(folder / "a"), "old");
}

TEST(WriteFile, FollowsALink) {
  const ScratchFolder folder;
  put(folder / "real", "old");
  fs::create_symlink("real", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(contents(folder / "real"), "new");
}

TEST(WriteFile, TakesTheLongestNames) {
  const ScratchFolder folder;
  const std::string name(255, 'n');
  write_file(folder / name, "1");
  EXPECT_EQ(contents(folder / name), "1");
}

TEST(WriteFile, NamesWhatIsInTheWay) {
  const ScratchFolder folder;
  EXPECT_ERROR(write_file(folder.path, "x"), HasSubstr(folder.path.string()), HasSubstr("found a folder"));
  put(folder / "file", "x");
  EXPECT_ERROR(write_file(folder / "file/a", "x"), HasSubstr("file/a: cannot be written"));
  EXPECT_ERROR(write_file("/", "x"), HasSubstr("\"/\""));
  EXPECT_THAT(folder.names(), ElementsAre("file"));
}

// What comes out of a pipe while `write` writes into it.
template <class F>
std::string through(const fs::path& pipe, F&& write) {
  // Open for both ends, so that neither waits for the other.
  const detail::Descriptor reader(::open(pipe.c_str(), O_RDWR | O_NONBLOCK));
  write();
  std::string out(64, '\0');
  out.resize(static_cast<std::size_t>(std::max<::ssize_t>(0, ::read(reader.fd, out.data(), out.size()))));
  return out;
}

TEST(WriteFile, WritesIntoAPipeAndLeavesItOne) {
  const ScratchFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder / "link");
  for (const char* name : {"pipe", "link"}) {
    EXPECT_EQ(through(folder / "pipe", [&] { write_file(folder / name, "text"); }), "text");
    EXPECT_TRUE(fs::is_fifo(folder / "pipe")) << name;
  }
  EXPECT_THAT(folder.names(), ElementsAre("link", "pipe"));
  const auto fails = [](const FileSink& sink) {
    sink.write("half");
    throw std::runtime_error("stopped");
  };
  EXPECT_EQ(
      through(folder / "pipe", [&] { EXPECT_THROW(write_file(folder / "pipe", fails), std::runtime_error); }),
      "half");
  EXPECT_TRUE(fs::is_fifo(folder / "pipe"));
}

TEST(WriteFile, WritesIntoADeviceAndLeavesItOne) {
  const ScratchFolder folder;
  if (::mknod((folder / "null").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0)
    GTEST_SKIP() << "needs the right to make devices";
  const detail::Descriptor probe(::open((folder / "null").c_str(), O_WRONLY));
  if (probe.fd < 0) GTEST_SKIP() << "devices cannot be used in " << folder.path;
  write_file(folder / "null", "text");
  EXPECT_TRUE(fs::is_character_file(folder / "null"));
  EXPECT_THAT(folder.names(), ElementsAre("null"));
  ASSERT_EQ(::mknod((folder / "full").c_str(), S_IFCHR | 0600, makedev(1, 7)), 0);
  EXPECT_ERROR(write_file(folder / "full", "x"), HasSubstr("full: cannot be written: No space left"));
  EXPECT_TRUE(fs::is_character_file(folder / "full"));
}

TEST(WriteFile, TakesASystemsDevice) {
  ASSERT_TRUE(fs::is_character_file("/dev/null"));
  write_file("/dev/null", "text");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

// A socket cannot be opened: an error, and it stays.
TEST(WriteFile, LeavesASocketAlone) {
  const ScratchFolder folder;
  ASSERT_EQ(::mknod((folder / "socket").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_ERROR(write_file(folder / "socket", "x"), HasSubstr("socket: cannot be opened for writing"));
  EXPECT_TRUE(fs::is_socket(folder / "socket"));
}

// `program --out /dev/stdout > file`: what was written before stays in front, and the file is the same one.
TEST(WriteFile, AppendsToAnOpenFileThatIsNamed) {
  if (!fs::exists("/dev/fd")) GTEST_SKIP() << "needs /dev/fd";
  const ScratchFolder folder;
  const detail::Descriptor out(::open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600));
  const FileSink sink{out.fd, "out"};
  sink.write("before ");
  const auto name = "/dev/fd/" + std::to_string(out.fd);
  fs::create_symlink(name, folder / "link");
  write_file(name, "text ");
  write_file(folder / "link", "through a link ");
  sink.write("behind");
  EXPECT_EQ(contents(folder / "out"), "before text through a link behind");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_THAT(folder.names(), ElementsAre("link", "out"));
}

TEST(FileSink, ReportsAFullDisk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const detail::Descriptor full(::open("/dev/full", O_WRONLY));
  EXPECT_ERROR((FileSink{full.fd, "a.bin"}.write("x")), HasSubstr("a.bin: cannot be written: No space left"));
}

TEST(WriteDirectory, WritesAndReplacesItsOwn) {
  const ScratchFolder folder;
  write_directory(folder / "runs/x", one_file("old", "1"));
  write_directory(folder / "runs/x/", one_file("new", "2"));
  EXPECT_FALSE(fs::exists(folder / "runs/x/old"));
  EXPECT_EQ(contents(folder / "runs/x/new"), "2");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "runs"), {}), 1);
}

TEST(WriteDirectory, TakesAnEmptyFolder) {
  const ScratchFolder folder;
  fs::create_directory(folder / "x");
  write_directory(folder / "x", one_file("a", "1"));
  EXPECT_EQ(contents(folder / "x/a"), "1");
}

TEST(WriteDirectory, NeverReplacesAFolderItDidNotMake) {
  const ScratchFolder folder;
  fs::create_directory(folder / "x");
  put(folder / "x/precious", "1");
  bool filled = false;
  auto fill = [&](const fs::path&) { filled = true; };
  EXPECT_ERROR(write_directory(folder / "x", fill), HasSubstr("has other content"));
  EXPECT_ERROR(expect_writable_directory(folder / "x"), HasSubstr("has other content"));
  EXPECT_FALSE(filled);
  EXPECT_EQ(contents(folder / "x/precious"), "1");
  put(folder / "file", "1");
  EXPECT_ERROR(write_directory(folder / "file", fill), HasSubstr("expected a folder, found a file"));
}

TEST(WriteDirectory, KeepsTheOldFolderWhenFillingFails) {
  const ScratchFolder folder;
  write_directory(folder / "x", one_file("a", "old"));
  auto half = [](const fs::path& to) {
    put(to / "a", "half");
    throw std::runtime_error("stopped");
  };
  EXPECT_THROW(write_directory(folder / "x", half), std::runtime_error);
  EXPECT_EQ(contents(folder / "x/a"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("x"));
}

TEST(WriteDirectory, ReplacesByTwoRenamesWhereOneIsNotPossible) {
  const ScratchFolder folder;
  fs::create_directory(folder / "old");
  put(folder / "old/a", "1");
  fs::create_directory(folder / "fresh");
  put(folder / "fresh/b", "2");
  detail::replace_directory(folder / "fresh", folder / "old", false);
  EXPECT_THAT(folder.names(), ElementsAre("old"));
  EXPECT_EQ(contents(folder / "old/b"), "2");
  EXPECT_FALSE(fs::exists(folder / "old/a"));
}

TEST(WriteDirectory, PutsTheOldFolderBackWhenTheSecondRenameFails) {
  const ScratchFolder folder;
  fs::create_directory(folder / "old");
  put(folder / "old/a", "1");
  EXPECT_ERROR(detail::replace_directory(folder / "absent", folder / "old", false),
               HasSubstr("old: cannot be put into place: No such file"));
  EXPECT_THAT(folder.names(), ElementsAre("old"));
  EXPECT_EQ(contents(folder / "old/a"), "1");
}

}  // namespace
}  // namespace morphvlm::atomic_file_test
