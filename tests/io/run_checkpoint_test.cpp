// Folders of checkpoints: whole or not there, whatever fails while they are written.
#include "morphvlm/io/run_checkpoint.hpp"

#include <ATen/ops/arange.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::run_checkpoint_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;
using testing::message_of;
using testing::ScratchFolder;

RunCheckpoint checkpoint(std::int64_t step, double score = 0) {
  return {.step = step,
          .score = score,
          .state = {{"moved", step}},
          .tensors = {{"w", at::arange(5).add(step)}, {"empty", at::arange(0)}}};
}

void damage(const fs::path& file) {
  std::string bytes = testing::contents(file);
  bytes[bytes.size() - 2] ^= 1;
  testing::put(file, bytes);
}

TEST(RunCheckpoint, TheNewestComesBack) {
  const ScratchFolder folder;
  EXPECT_FALSE(find_checkpoint(folder / "none").newest);
  for (const std::int64_t step : {9, 100000000, 20}) save_checkpoint(folder.path, checkpoint(step, 1.5));
  const auto found = find_checkpoint(folder.path);
  ASSERT_TRUE(found.newest);
  EXPECT_EQ(found.newest->step, 100000000);
  EXPECT_EQ(found.newest->score, 1.5);
  EXPECT_EQ(found.newest->state.at("moved"), 100000000);
  EXPECT_TRUE(found.newest->tensors.at(0).second.equal(at::arange(5).add(100000000)));
  EXPECT_TRUE(found.damaged.empty());
}

TEST(RunCheckpoint, DamagedOnesArePassedOver) {
  const ScratchFolder folder;
  for (const std::int64_t step : {1, 2, 3, 4}) save_checkpoint(folder.path, checkpoint(step));
  damage(folder / "step-00000004/tensors.safetensors");
  fs::remove(folder / "step-00000003/complete.json");
  const auto found = find_checkpoint(folder.path);
  ASSERT_TRUE(found.newest);
  EXPECT_EQ(found.newest->step, 2);
  ASSERT_EQ(found.damaged.size(), 2u);
  EXPECT_THAT(found.damaged[0].reason, HasSubstr("step-00000004/tensors.safetensors: damaged"));
  EXPECT_THAT(found.damaged[1].reason, HasSubstr("step-00000003/complete.json"));
  set_damaged_aside(folder.path, found);
  EXPECT_THAT(folder.names(), ElementsAre("step-00000001", "step-00000002", "step-00000003.damaged",
                                          "step-00000004.damaged"));
  save_checkpoint(folder.path, checkpoint(4));
  EXPECT_EQ(find_checkpoint(folder.path).newest->step, 4);
}

TEST(RunCheckpoint, NoneThatIsWholeIsAnError) {
  const ScratchFolder folder;
  save_checkpoint(folder.path, checkpoint(1));
  damage(folder / "step-00000001/state.json");
  EXPECT_THAT(message_of([&] { find_checkpoint(folder.path); }), HasSubstr("no checkpoint is whole"));
}

TEST(RunCheckpoint, TheLastAndTheBestStay) {
  const ScratchFolder folder;
  for (const std::int64_t step : {1, 2, 3, 4, 5})
    save_checkpoint(folder.path, checkpoint(step, step == 2 ? 0.5 : 1 + static_cast<double>(step)));
  testing::put(folder / "step-notes", "not one of ours");
  prune_checkpoints(folder.path, {.last = 2});
  EXPECT_THAT(folder.names(), ElementsAre("step-00000002", "step-00000004", "step-00000005", "step-notes"));
  prune_checkpoints(folder.path, {.last = 0, .best = false});
  EXPECT_THAT(folder.names(), ElementsAre("step-00000005", "step-notes"));
}

TEST(RunCheckpoint, AFolderServesOneRunAtATime) {
  const ScratchFolder folder;
  fs::create_directories(folder / ".morphvlm-77-0.tmp/half");
  {
    const CheckpointLock lock(folder.path);
    EXPECT_FALSE(fs::exists(folder / ".morphvlm-77-0.tmp"));
    EXPECT_THAT(message_of([&] { CheckpointLock(folder.path); }), HasSubstr("another run"));
  }
  EXPECT_NO_THROW(CheckpointLock(folder.path));
}

// Lets the call number `at` of one kind fail.
struct Faults {
  static inline int at = 0, calls = 0, error = 0;
  static bool due() { return calls++ == at; }
  static int refuse() {
    errno = error;
    return -1;
  }
  // Half of it is written before the disk is full.
  static ::ssize_t write(int fd, const void* from, std::size_t size) {
    if (!due()) return ::write(fd, from, size);
    return size > 1 && error == 0 ? ::write(fd, from, size / 2) : refuse();
  }
  static int fsync(int fd) { return due() ? refuse() : ::fsync(fd); }
  static int rename(const char* a, const char* b) { return due() ? refuse() : ::rename(a, b); }

  ~Faults() { detail::file_calls() = {}; }
};

// Every call of a save fails once; returns how many there are.
int fail_each(const fs::path& folder, int error, const detail::FileCalls& calls) {
  const Faults restore;
  for (Faults::at = 0;; ++Faults::at) {
    Faults::calls = 0;
    Faults::error = error;
    detail::file_calls() = calls;
    const std::string message = message_of([&] { save_checkpoint(folder, checkpoint(8)); });
    detail::file_calls() = {};
    if (Faults::calls <= Faults::at) {
      EXPECT_EQ(message, "(nothing was thrown)");
      EXPECT_EQ(find_checkpoint(folder).newest->step, 8);
      return Faults::at;
    }
    EXPECT_THAT(message, HasSubstr(std::generic_category().message(error)));
    const auto found = find_checkpoint(folder);
    // Where only the last sync of all failed, the new one is in place already.
    EXPECT_TRUE(found.newest->step == 7 || found.newest->step == 8);
    EXPECT_TRUE(found.damaged.empty());
    for (const auto& entry : fs::directory_iterator(folder))
      EXPECT_THAT(entry.path().filename().string(), HasSubstr("step-"));
    fs::remove_all(folder / "step-00000008");
  }
}

TEST(RunCheckpoint, AnyCallMayFail) {
  for (const int error : {ENOSPC, EIO}) {
    const ScratchFolder folder;
    save_checkpoint(folder.path, checkpoint(7));
    EXPECT_GE(fail_each(folder.path, error, {.write = &Faults::write}), 3);
    fs::remove_all(folder / "step-00000008");
    EXPECT_GE(fail_each(folder.path, error, {.fsync = &Faults::fsync}), 5);
    fs::remove_all(folder / "step-00000008");
    EXPECT_GE(fail_each(folder.path, error, {.rename = &Faults::rename}), 4);
  }
}

TEST(RunCheckpoint, ShortWritesAreContinued) {
  const ScratchFolder folder;
  const Faults restore;
  for (Faults::at = 0; Faults::at < 4; ++Faults::at) {
    Faults::calls = Faults::error = 0;
    detail::file_calls() = {.write = &Faults::write};
    save_checkpoint(folder.path, checkpoint(Faults::at));
    EXPECT_EQ(find_checkpoint(folder.path).newest->step, Faults::at);
  }
}

TEST(RunCheckpoint, AFolderThatCannotBeWrittenIsNamed) {
  const ScratchFolder folder;
  testing::put(folder / "file", "x");
  EXPECT_THAT(message_of([&] { save_checkpoint(folder / "file", checkpoint(1)); }),
              HasSubstr((folder / "file").string()));
}

}  // namespace
}  // namespace morphvlm::run_checkpoint_test
