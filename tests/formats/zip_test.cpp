// Archives made byte by byte, right and wrong.
#include "morphvlm/formats/zip.hpp"

#include <gtest/gtest.h>

#include "tests/formats/files.hpp"

namespace morphvlm::zip_test {
namespace {

using ::testing::HasSubstr;
using testing::le;
using testing::put;
using testing::ScratchFolder;

struct Entry {
  std::string name, data;
  std::uint16_t flags = 0, method = 0;
  std::optional<std::uint32_t> size = {}, stored = {},
                               header = {};  // what the directory says, if not the truth
  std::uint32_t crc = 0;
  std::string local_name = name;
  std::uint16_t local_method = method;
};

struct Archive {
  std::vector<Entry> entries;
  std::optional<std::uint16_t> count = {};
  std::optional<std::uint32_t> directory_size = {}, directory_offset = {};
  std::uint16_t disk = 0;
  std::string comment = {};

  std::string bytes() const {
    std::string out, directory;
    for (const Entry& e : entries) {
      const auto size = static_cast<std::uint32_t>(e.data.size());
      const auto name = static_cast<std::uint16_t>(e.name.size());
      const auto at = static_cast<std::uint32_t>(out.size());
      out += le<std::uint32_t>(0x04034b50) + le<std::uint16_t>(20) + le(e.flags) + le(e.local_method) +
             le<std::uint32_t>(0) + le(e.crc) + le(size) + le(size) +
             le(static_cast<std::uint16_t>(e.local_name.size())) + le<std::uint16_t>(0) + e.local_name +
             e.data;
      directory += le<std::uint32_t>(0x02014b50) + le<std::uint32_t>(0) + le(e.flags) + le(e.method) +
                   le<std::uint32_t>(0) + le(e.crc) + le(e.stored.value_or(size)) +
                   le(e.size.value_or(size)) + le(name) + le<std::uint16_t>(0) + le<std::uint16_t>(0) +
                   le<std::uint64_t>(0) + le(e.header.value_or(at)) + e.name;
    }
    const auto n = count.value_or(static_cast<std::uint16_t>(entries.size()));
    const auto offset = directory_offset.value_or(static_cast<std::uint32_t>(out.size()));
    const auto size = directory_size.value_or(static_cast<std::uint32_t>(directory.size()));
    return out + directory + le<std::uint32_t>(0x06054b50) + le(disk) + le(disk) + le(n) + le(n) + le(size) +
           le(offset) + le(static_cast<std::uint16_t>(comment.size())) + comment;
  }
};

struct Zip : ::testing::Test {
  ScratchFolder folder;

  ZipFile open(const std::string& bytes) const { return open_zip(put(folder / "a.zip", bytes)); }
  ZipFile open(const Archive& archive) const { return open(archive.bytes()); }
};

TEST_F(Zip, EntriesByName) {
  const auto zip = open({{{"a/data.pkl", "hello"}, {"a/empty", ""}}, {}, {}, {}, 0, "a comment"});
  ASSERT_EQ(zip.entries.size(), 2u);
  const auto bytes = zip.entries.at("a/data.pkl").bytes;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "hello");
  EXPECT_TRUE(zip.entries.at("a/empty").bytes.empty());
}

TEST_F(Zip, WhatIsNotStoredPlainlyIsRefused) {
  EXPECT_ERROR(open({{{"a", "x", 1}}}), HasSubstr("entry \"a\" is encrypted"));
  // A compressed entry may be there, as long as nobody asks for it.
  const auto zip = open({{{"a", "x", 0, 8}, {"b", "stored"}}});
  EXPECT_EQ(checked_entry(zip, "b").size(), 6u);
  EXPECT_ERROR(checked_entry(zip, "a"), HasSubstr("entry \"a\" is compressed (method 8)"));
  EXPECT_ERROR(open({{{"a", "x", 0, 0, 100}}}), HasSubstr("1 bytes are stored, but its size is 100"));
  EXPECT_ERROR(open({{{"a", "x"}, {"a", "y"}}}), HasSubstr("two entries are called \"a\""));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .disk = 1}), HasSubstr("several disks"));
}

TEST_F(Zip, HeadersThatDisagreeWithTheDirectoryAreRefused) {
  EXPECT_ERROR(open({{{.name = "a", .data = "x", .local_name = "b"}}}),
               HasSubstr("entry \"a\": its own header and the directory say different things"));
  EXPECT_ERROR(open({{{.name = "a", .data = "x", .local_method = 8}}}), HasSubstr("say different things"));
}

// The check value that the definition of this CRC gives.
TEST_F(Zip, Checksums) {
  const std::string nine = "123456789";
  EXPECT_EQ(crc32(std::as_bytes(std::span(nine))), 0xcbf43926);
  EXPECT_EQ(crc32({}), 0u);
  const auto zip = open({{{.name = "right", .data = nine, .crc = 0xcbf43926},
                          {.name = "wrong", .data = nine, .crc = 0xcbf43927},
                          {.name = "none", .data = nine}}});
  EXPECT_EQ(checked_entry(zip, "right").size(), 9u);
  EXPECT_EQ(checked_entry(zip, "none").size(), 9u);
  EXPECT_ERROR(checked_entry(zip, "wrong"),
               HasSubstr("a.zip: zip: entry \"wrong\" is damaged: its checksum differs"));
  EXPECT_ERROR(checked_entry(zip, "other"), HasSubstr("there is no entry \"other\""));
}

TEST_F(Zip, EntriesThatOverlapAreRefused) {
  EXPECT_ERROR(open({{{"a", "xxxx", 0, 0, 40, 40}, {"b", "y"}}}), HasSubstr("zip: entries overlap"));
  EXPECT_ERROR(open({{{"a", "x", 0, 0, 40, 40}}}),
               HasSubstr("entries overlap"));  // reaches into the directory
  EXPECT_ERROR(open({{{"a", "x", 0, 0, 4000, 4000}}}), HasSubstr("truncated: entry \"a\""));
  EXPECT_ERROR(open({{{"a", "x", 0, 0, {}, {}, 5}}}), HasSubstr("has no header at byte 5"));
  EXPECT_ERROR(open({{{"a", "x", 0, 0, {}, {}, 5000}}}), HasSubstr("byte 5000 is beyond"));
}

TEST_F(Zip, CountsThatTheBytesDoNotHaveAreRefused) {
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .count = 2}), HasSubstr("truncated"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .directory_size = 10}), HasSubstr("truncated"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .directory_size = 100000}), HasSubstr("zip directory"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .directory_offset = 100000}),
               HasSubstr("beyond the file"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}, .directory_offset = 3}), HasSubstr("damaged"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}, {"b", "y"}}, .count = 1}),
               HasSubstr("47 bytes of the directory are left over"));
  EXPECT_ERROR(open("PK\x03\x04 and nothing else"), HasSubstr("no end record"));
  EXPECT_ERROR(open(Archive{.entries = {{"a", "x"}}}.bytes() + "trailing"), HasSubstr("no end record"));
}

// The classic bomb: one entry's bytes, of which the directory makes thousands.
TEST_F(Zip, ManyEntriesOfTheSameBytesAreRefused) {
  Archive bomb{.entries = {{"a", std::string(1000, 'x')}}};
  for (int i = 0; i < 1000; ++i)
    bomb.entries.push_back(
        {.name = "a" + std::to_string(i), .data = "", .size = 1000, .stored = 1000, .header = 0});
  EXPECT_ERROR(open(bomb), HasSubstr("say different things"));  // each would need a header of its own
  bomb.entries.resize(1);
  for (int i = 0; i < 3; ++i)
    bomb.entries.push_back({.name = "b" + std::to_string(i), .data = "", .size = 90, .stored = 90});
  EXPECT_ERROR(open(bomb), HasSubstr("entries overlap"));  // each reaches over the next one's header
}

// The end record's own signature in a comment does not make it the end.
TEST_F(Zip, TheEndIsWhereItsCommentFits) {
  const std::string fake = le<std::uint32_t>(0x06054b50) + std::string(18, '\0');
  EXPECT_EQ(open(Archive{.entries = {{"a", "x"}}, .comment = fake + "..."}).entries.size(), 1u);
}

// The 64-bit records, right and then with an absurd count.
TEST_F(Zip, Zip64) {
  const auto archive = [](std::uint64_t count) {
    const std::string name = "a", data = "hello";
    std::string out = le<std::uint32_t>(0x04034b50) + std::string(22, '\0') + le<std::uint16_t>(1) +
                      le<std::uint16_t>(0) + name + data;
    const auto directory_at = out.size();
    const std::string extra = le<std::uint16_t>(1) + le<std::uint16_t>(24) + le<std::uint64_t>(5) +
                              le<std::uint64_t>(5) + le<std::uint64_t>(0);
    const std::string directory = le<std::uint32_t>(0x02014b50) + std::string(16, '\0') +
                                  le<std::uint32_t>(0xffffffffU) + le<std::uint32_t>(0xffffffffU) +
                                  le<std::uint16_t>(1) + le(static_cast<std::uint16_t>(extra.size())) +
                                  std::string(10, '\0') + le<std::uint32_t>(0xffffffffU) + name + extra;
    out += directory;
    const auto record_at = out.size();
    out += le<std::uint32_t>(0x06064b50) + le<std::uint64_t>(44) + std::string(12, '\0') + le(count) +
           le(count) + le<std::uint64_t>(directory.size()) + le<std::uint64_t>(directory_at);
    out += le<std::uint32_t>(0x07064b50) + le<std::uint32_t>(0) + le<std::uint64_t>(record_at) +
           le<std::uint32_t>(1);
    return out + le<std::uint32_t>(0x06054b50) + le<std::uint32_t>(0) + std::string(12, '\xff') +
           le<std::uint16_t>(0);
  };
  const auto zip = open(archive(1));
  EXPECT_EQ(zip.entries.at("a").bytes.size(), 5u);
  EXPECT_ERROR(open(archive(2)), HasSubstr("truncated"));
  EXPECT_ERROR(open(archive(std::uint64_t{1} << 40)), HasSubstr("1099511627776 entries, expected at most"));
}

}  // namespace
}  // namespace morphvlm::zip_test
