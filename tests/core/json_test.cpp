#include "morphvlm/core/json.hpp"
#include "tests/support/message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace morphvlm::json_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using ::testing::StartsWith;

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(Json, KeepsTheOrderOfMembers) {
  EXPECT_EQ(parse_json(R"({"z": 1, "a": [true, null], "m": {"y": "é", "b": 2.5}})", "text").dump(),
            R"({"z":1,"a":[true,null],"m":{"y":"é","b":2.5}})");
}

TEST(Json, KeepsIntegersOfAllSixtyFourBits) {
  const Json j = parse_json("[9223372036854775807, -9223372036854775808, 18446744073709551615]", "text");
  EXPECT_EQ(j[0].get<std::int64_t>(), INT64_MAX);
  EXPECT_EQ(j[1].get<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(j[2].get<std::uint64_t>(), UINT64_MAX);
}

TEST(Json, ErrorsLeadWithWhereTheTextCameFrom) {
  for (const std::string bad :
       {"", "{", "{\"a\": 1,}", "[1] 2", "nul", "{\"a\" 1}", "\"\\ud800\"", "\xff", "[1e999]"}) {
    EXPECT_THAT(message_of([&] { parse_json(bad, "config.json"); }),
                StartsWith("config.json: not valid JSON: "))
        << bad;
  }
}

TEST(Json, NestingIsLimitedSoThatTheStackCannotOverflow) {
  EXPECT_NO_THROW(parse_json(nested(kMaxJsonDepth), "text"));
  EXPECT_THAT(message_of([] { parse_json(nested(kMaxJsonDepth + 1), "deep.json"); }),
              AllOf(StartsWith("deep.json: "), HasSubstr("deeper than 64")));
  EXPECT_THAT(message_of([] { parse_json(std::string(10'000'000, '['), "deep.json"); }),
              StartsWith("deep.json: "));
}

// In strings brackets are text, and an escaped quote does not end one.
TEST(Json, NestingInsideStringsIsNone) {
  const std::string brackets = R"(["\"[[", "\\\\", ")" + std::string(1000, '{') + R"("])";
  EXPECT_EQ(parse_json(brackets, "text").at(2).get<std::string>().size(), 1000u);
}

// VQAv2's annotations are such a list of 440,000; anything quadratic would take minutes.
TEST(Json, ReadsLongListsOfObjects) {
  std::string text = "[";
  for (int i = 0; i < 300'000; ++i) text += R"({"question_id": 1, "answers": [{"answer": "yes"}]},)";
  text.back() = ']';
  EXPECT_EQ(parse_json(text, "text").size(), 300'000u);
}

// A vocabulary is such an object.
TEST(Json, ReadsObjectsOfManyMembers) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"token " + std::to_string(i) + "\": " + std::to_string(i) + ',';
  text.back() = '}';
  const Json vocabulary = parse_json(text, "text");
  ASSERT_EQ(vocabulary.size(), 200'000u);
  EXPECT_EQ(vocabulary.back(), 199'999);
  EXPECT_EQ(std::prev(vocabulary.end()).key(), "token 199999");
}

// Beside few members and beside many, which are looked up differently; in other objects it may come again.
TEST(Json, AKeyAppearsOnce) {
  EXPECT_EQ(message_of([] { parse_json(R"({"a": 1, "b": {"a": 2}, "a": 3})", "config.json"); }),
            "config.json: key \"a\" appears twice in one object");
  for (const int count : {1, 15, 16, 17, 100}) {
    std::string text = "{";
    for (int i = 0; i < count; ++i) text += "\"k" + std::to_string(i) + "\": [{\"k0\": {}}], ";
    for (const int again : {0, count - 1}) {
      const std::string key = "k" + std::to_string(again);
      EXPECT_EQ(message_of([&] { parse_json(text + '"' + key + "\": 1}", "vocab"); }),
                "vocab: key \"" + key + "\" appears twice in one object");
    }
    EXPECT_EQ(parse_json(text + "\"other\": 1}", "vocab").size(), static_cast<std::size_t>(count) + 1);
  }
}

TEST(Json, BuildsWhatTheLibraryBuilds) {
  for (const std::string text :
       {"null", "true", "-3", "18446744073709551615", "2.5e-3", "\"\\u00e9\\n\"", "[]", "{}",
        "[[], {}, [1, [2]], null]",
        R"({"a": {"b": [1, {"c": "d"}], "e": {}}, "f": [[0.1], false], "": {"": ""}})"})
    EXPECT_EQ(parse_json(text, "text").dump(), Json::parse(text).dump());
}

TEST(Json, ReadsAFileAndNamesItInErrors) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / "morphvlm_json_test.json";
  std::ofstream(path) << R"({"hidden_size": 576})";
  EXPECT_EQ(read_json(path).at("hidden_size").get<int>(), 576);
  std::ofstream(path) << R"({"hidden_size": )";
  EXPECT_THAT(message_of([&] { read_json(path); }), StartsWith(path.string() + ": not valid JSON: "));
  std::filesystem::remove(path);
  EXPECT_EQ(message_of([&] { read_json(path); }), path.string() + ": cannot be opened for reading");
}

TEST(Json, AFolderIsNotReadAsAFile) {
  EXPECT_THAT(message_of([] { read_json(::testing::TempDir()); }), StartsWith(::testing::TempDir()));
}

TEST(JsonGet, ConvertsToTheTypeAskedFor) {
  const Json j = parse_json(R"({"n": 3, "x": 0.5, "name": "llama", "on": true, "sizes": [1, 2]})", "text");
  EXPECT_EQ(json_get<std::int64_t>(j, "n", "text"), 3);
  EXPECT_EQ(json_get<double>(j, "x", "text"), 0.5);
  EXPECT_EQ(json_get<std::string>(j, "name", "text"), "llama");
  EXPECT_TRUE(json_get<bool>(j, "on", "text"));
  EXPECT_EQ(json_get<std::vector<int>>(j, "sizes", "text"), (std::vector<int>{1, 2}));
}

// The library itself would cast.
TEST(JsonGet, AnIntegerIsNoOtherNumberAndFits) {
  const Json j = parse_json(
      R"({"half": 1.5, "huge": 1e300, "wide": 4294967296, "high": 18446744073709551615, "below": -1,
          "on": true, "list": [1, 1e300]})",
      "text");
  for (const char* key : {"half", "huge", "high", "on"})
    EXPECT_THAT(message_of([&] { json_get<std::int64_t>(j, key, "f"); }),
                StartsWith("f: key \"" + std::string(key) + "\": expected an integer of 64 bits, found "));
  for (const char* key : {"wide", "below"})
    EXPECT_THAT(message_of([&] { json_get<std::uint32_t>(j, key, "f"); }), HasSubstr("of 32 bits, found"));
  EXPECT_EQ(json_get<std::int64_t>(j, "wide", "f"), 4294967296);
  EXPECT_EQ(json_get<std::uint64_t>(j, "high", "f"), 18446744073709551615u);
  EXPECT_THAT(message_of([&] { json_get<std::vector<std::int64_t>>(j, "list", "f"); }),
              HasSubstr("expected an integer of 64 bits, found 1e+300"));
}

TEST(JsonGet, NamesFileAndKeyOfWhatIsMissingOrOfAnotherType) {
  const Json j = parse_json(R"({"n": "three", "none": null})", "text");
  EXPECT_EQ(message_of([&] { json_get<int>(j, "heads", "config.json"); }),
            "config.json: key \"heads\" is missing");
  for (const char* key : {"n", "none"}) {
    EXPECT_THAT(
        message_of([&] { json_get<int>(j, key, "config.json"); }),
        AllOf(StartsWith("config.json: key \"" + std::string(key) + "\": "), HasSubstr("must be number")));
  }
  EXPECT_EQ(message_of([] { json_get<int>(Json::array({1}), "heads", "config.json"); }),
            "config.json: key \"heads\" is missing");
}

}  // namespace
}  // namespace morphvlm::json_test
