#include "morphvlm/core/file_keys.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/message.hpp"

namespace morphvlm::file_keys_test {
namespace {

constexpr FileKey kKeys[] = {{"width"},
                             {"bias", KeyUse::refused, "false"},
                             {"act", KeyUse::refused, "\"gelu\"\n\"gelu_new\""},
                             {"alibi", KeyUse::refused, "true", "false"},
                             {"experts", KeyUse::refused},
                             {"comment", KeyUse::ignored}};

std::string refused(const std::string& text) {
  return testing::message_of([&] { refuse_keys(parse_json(text, "a test"), kKeys, "config.json"); });
}

TEST(FileKeys, WhatIsAcceptedPasses) {
  EXPECT_NO_THROW(refuse_keys(
      parse_json(R"({"alibi": true, "bias": false, "act": "gelu_new", "width": 3, "comment": {}, "more": 1})",
                 "a test"),
      kKeys, "config.json"));
  EXPECT_NO_THROW(
      refuse_keys(parse_json(R"({"alibi": true, "bias": null, "experts": null})", "a test"), kKeys, "c"));
}

TEST(FileKeys, WhatIsRefusedIsNamedWithBothValues) {
  EXPECT_EQ(refused(R"({"alibi": true, "bias": true})"), "config.json: bias: expected false, found true");
  EXPECT_EQ(refused(R"({"alibi": true, "act": "relu"})"),
            "config.json: act: expected \"gelu\" or \"gelu_new\", found \"relu\"");
  EXPECT_EQ(refused(R"({"alibi": true, "experts": 8})"),
            "config.json: experts: expected no such key, found 8");
}

TEST(FileKeys, AKeyThatIsLeftOutMeansWhatItsWriterMeans) {
  EXPECT_EQ(refused("{}"), "config.json: alibi: expected true, found false");
  EXPECT_EQ(refused(R"({"alibi": null})"), "config.json: alibi: expected true, found false");
}

TEST(FileKeys, AnUnknownKeyIsNamed) {
  EXPECT_NO_THROW(
      refuse_unknown_keys(parse_json(R"({"width": 1, "comment": 2, "bias": 3})", "a test"), kKeys, "c"));
  EXPECT_EQ(testing::message_of([] {
              refuse_unknown_keys(parse_json(R"({"factor": 4.0})", "a test"), kKeys, "config.json: rope");
            }),
            "config.json: rope: unknown key \"factor\", found 4.0");
}

}  // namespace
}  // namespace morphvlm::file_keys_test
