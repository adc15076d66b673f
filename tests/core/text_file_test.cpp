// text_file.hpp: what people's editors make of text files, and files that are no text.
#include "morphvlm/core/text_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/config.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::text_file_test {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

TEST(TextFile, AByteOrderMarkIsNoText) {
  const testing::ScratchFolder folder;
  EXPECT_EQ(read_text_file(testing::put(folder / "a", "\xEF\xBB\xBFtext\r\n")), "text\r\n");
  EXPECT_EQ(read_file_bytes(folder / "a"), "\xEF\xBB\xBFtext\r\n");
  EXPECT_EQ(read_text_file(testing::put(folder / "b", "")), "");
}

TEST(TextFile, LinesEndEitherWay) {
  EXPECT_THAT(split_lines("a\r\nb\n\r\nc\r"), ElementsAre("a", "b", "", "c\r"));
  EXPECT_THAT(split_lines("a\n"), ElementsAre("a", ""));
  EXPECT_THAT(split_lines(""), ElementsAre(""));
}

TEST(TextFile, WhatIsNoTextIsNamedAsWhatItIs) {
  const testing::ScratchFolder folder;
  const auto message = [&](const std::string& bytes) {
    return message_of([&] { read_text_file(testing::put(folder / "x.json", bytes)); });
  };
  EXPECT_THAT(message("\xFF\xFE{\0}\0"s),
              AllOf(HasSubstr("x.json: expected UTF-8 text"), HasSubstr("UTF-16")));
  EXPECT_THAT(message("\xFE\xFF\0{\0}"s), HasSubstr("found UTF-16 text"));
  EXPECT_THAT(message("{\0\"\0a\0\"\0"s), HasSubstr("found UTF-16 text"));
  EXPECT_THAT(message("\0{\0\"\0a"s), HasSubstr("found UTF-16 text"));
  EXPECT_THAT(message("\xFF\xFE\0\0{\0\0\0"s), HasSubstr("found UTF-32 text"));
  EXPECT_THAT(message("\x1F\x8B\x08rest"), HasSubstr("found gzip data (unpack it first)"));
  EXPECT_THAT(message("PK\x03\x04rest"), HasSubstr("found a zip archive"));
  EXPECT_THAT(message("\x08\0\0\0\0\0\0\0{}"s), HasSubstr("found binary data"));
  EXPECT_THAT(message_of([&] { read_text_file(folder / "."); }), HasSubstr("cannot be opened"));
  EXPECT_THAT(message_of([&] { read_text_file(folder / "none"); }), HasSubstr("none: cannot be opened"));
}

TEST(TextFile, TextInAnotherCodeIsNamedByLine) {
  EXPECT_NO_THROW(expect_utf8_file("caf\u00e9\n", "x.csv"));
  EXPECT_THAT(message_of([] { expect_utf8_file("a\ncaf\xE9,1\n", "x.csv"); }),
              AllOf(HasSubstr("x.csv: line 2"), HasSubstr("byte 233"), HasSubstr("Windows-1252")));
}

struct Place {
  std::filesystem::path folder = {};
  std::string note = {};
};

TEST(TextFile, APathOfAnyBytesCanBeWrittenAsJson) {
  const Json json = to_json(Place{"caf\xE9/run", "\xFFx"});
  EXPECT_EQ(json.dump(), "{\"folder\":\"caf\uFFFD/run\",\"note\":\"\uFFFDx\"}");
  EXPECT_EQ(json_text(Json("caf\xE9")), "\"caf\uFFFD\"");
}

}  // namespace
}  // namespace morphvlm::text_file_test
