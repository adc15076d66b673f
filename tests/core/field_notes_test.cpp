#include "morphvlm/core/field_notes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "morphvlm/core/config.hpp"
#include "tests/support/message.hpp"

namespace morphvlm {

namespace field_notes_test {

struct Rise {
  static constexpr std::string_view name = "rise";
  std::int64_t warmup = 0;
};
struct Rule {
  std::string pattern = "";
  std::optional<double> decay = {};
};
struct Inner {
  double share = 0.5;
  std::uint64_t seed = 1;
};
struct Config {
  std::int64_t steps = 1;
  bool fast = false;
  Inner inner = {};
  std::vector<Rule> rules = {};
  std::variant<Rise> schedule = {};
  double free = 0;
};

}  // namespace field_notes_test

template <>
inline constexpr auto field_notes<field_notes_test::Rise> = std::to_array<FieldNote>({{"warmup", "steps",
                                                                                       at_least(0)}});
template <>
inline constexpr auto field_notes<field_notes_test::Rule> =
    std::to_array<FieldNote>({{"pattern", "names"}, {"decay", "theirs", from_to(0, 1)}});
template <>
inline constexpr auto field_notes<field_notes_test::Inner> = std::to_array<FieldNote>(
    {{"share", "of all", from_below(0, 1)}, {"seed", "of the draw", from_to(0, 4294967295.0)}});
template <>
inline constexpr auto field_notes<field_notes_test::Config> =
    std::to_array<FieldNote>({{"steps", "of the run", at_least(1)},
                              {"fast", "or slow"},
                              {"inner", "the rest"},
                              {"rules", "exceptions"},
                              {"schedule", "of the rate"},
                              {"free", "whatever it is"}});

namespace field_notes_test {
namespace {

using testing::message_of;

TEST(Range, SaysWhatItHolds) {
  EXPECT_EQ(to_string(at_least(1)), "1 or more");
  EXPECT_EQ(to_string(from_to(0, 4294967295.0)), "0 to 4294967295");
  EXPECT_EQ(to_string(from_below(0, 1)), "0 or more and less than 1");
  EXPECT_EQ(to_string(above(0, 1e6)), "more than 0 and at most 1000000");
  EXPECT_EQ(to_string(from_to(1e-30, 0.5)), "1e-30 to 0.5");
}

TEST(Range, HoldsItsEndsUnlessTheyAreOpen) {
  EXPECT_TRUE(from_to(0, 1).holds(0) && from_to(0, 1).holds(1));
  EXPECT_FALSE(from_to(0, 1).holds(-1e-9) || from_to(0, 1).holds(1.0000001));
  EXPECT_TRUE(from_below(0, 1).holds(0) && above(0, 1).holds(1));
  EXPECT_FALSE(from_below(0, 1).holds(1) || above(0, 1).holds(0));
  EXPECT_FALSE(at_least(0).holds(std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(FieldNote{}.range.limits());
}

TEST(FieldNotes, AConfigReadFromJsonIsHeldToThem) {
  const std::map<std::string, std::string> wrong{
      {R"({"steps": 0})", "run.steps: expected 1 or more, found 0"},
      {R"({"inner": {"share": 1}})", "run.inner.share: expected 0 or more and less than 1, found 1"},
      {R"({"inner": {"seed": 4294967296}})", "run.inner.seed: expected 0 to 4294967295, found 4294967296"},
      {R"({"rules": [{}, {"decay": -0.5}]})", "run.rules.1.decay: expected 0 to 1, found -0.5"},
      {R"({"schedule": {"rise": {"warmup": -1}}})",
       "run.schedule.rise.warmup: expected 0 or more, found -1"}};
  for (const auto& [text, message] : wrong)
    EXPECT_EQ(message_of([&] { from_json<Config>(parse_json(text, "text"), "run"); }), message);
  const Config read = from_json<Config>(
      parse_json(R"({"steps": 9, "rules": [{"decay": 1}, {"decay": null}], "free": -1e300})", "text"), "");
  EXPECT_EQ(read.steps, 9);
  EXPECT_EQ(read.free, -1e300);
}

TEST(FieldNotes, AFlagIsNamedAsItWasTyped) {
  Config config;
  const char* const flags[] = {"--inner.share=-0.1"};
  EXPECT_EQ(message_of([&] { apply_flags(config, flags); }),
            "--inner.share: expected 0 or more and less than 1, found -0.1");
  const char* const unknown[] = {"--nope=1"};
  EXPECT_EQ(message_of([&] { apply_flags(config, unknown); }).substr(0, 20), "--nope: unknown key;");
}

TEST(FieldNotes, AConfigThatNoFileWasReadIntoIsHeldToThemAsWell) {
  EXPECT_EQ(message_of([] { expect_ranges(Config{}, "run"); }), "(nothing was thrown)");
  EXPECT_EQ(message_of([] { expect_ranges(Config{.steps = -3}, "run"); }),
            "run.steps: expected 1 or more, found -3");
  EXPECT_EQ(message_of([] { expect_ranges(Config{.inner = {.share = std::nan("")}}, "run"); }),
            "run.inner.share: expected 0 or more and less than 1, found nan");
  EXPECT_EQ(message_of([] {
              expect_ranges(Config{.rules = {{}, {.decay = 2}}}, "run");
            }),
            "run.rules.1.decay: expected 0 to 1, found 2");
  EXPECT_EQ(message_of([] { expect_ranges(Config{.schedule = Rise{.warmup = -1}}, "run"); }),
            "run.schedule.rise.warmup: expected 0 or more, found -1");
}

}  // namespace
}  // namespace field_notes_test
}  // namespace morphvlm
