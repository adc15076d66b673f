// Event files, byte by byte as TensorBoard's own writer makes them.
#include "morphvlm/io/event_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::event_file_test {
namespace {

double fixed_time() { return 1700000000.25; }

TEST(EventFile, IsWhatTensorBoardWrites) {
  const testing::ScratchFolder folder;
  EventFile events(folder / "logs", 40, &fixed_time);
  events.scalar("train/loss", 1.375, 40);
  events.histogram("norms", std::vector{0.5, 1.0, 1.5, 8.0}, 300);
  events.image("answers/\u00e4", {.height = 2, .width = 300, .file = std::string_view("\x89PNG\0\xff", 6)},
               70000);
  events.text("answers/1", "| a | b |\n|---|---|\n", 70001);
  EXPECT_EQ(testing::contents(events.path()), testing::contents(testing::golden_path("event_file.bin")));
  EXPECT_THAT(events.path().filename().string(), ::testing::StartsWith("events.out.tfevents.1700000000."));
}

TEST(EventFile, AKnownChecksum) { EXPECT_EQ(detail::crc32c("123456789"), 0xE3069283U); }

TEST(EventFile, HistogramsOfOneValueAndOfNone) {
  const testing::ScratchFolder folder;
  EventFile events(folder.path);
  EXPECT_NO_THROW(events.histogram("one", std::vector{2.0}, 0));
  EXPECT_THAT(testing::message_of([&] { events.histogram("none", {}, 0); }), ::testing::HasSubstr("none"));
}

TEST(EventFile, WithoutAFolderNothingIsWritten) {
  EventFile events;
  events.scalar("a", 1, 0);
  EXPECT_TRUE(events.path().empty());
}

TEST(EventFile, AFolderThatCannotBeMadeIsAnError) {
  const testing::ScratchFolder folder;
  testing::put(folder / "file", "x");
  EXPECT_ANY_THROW(EventFile(folder / "file/logs"));
}

}  // namespace
}  // namespace morphvlm::event_file_test
