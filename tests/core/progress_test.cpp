#include "morphvlm/core/progress.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "morphvlm/core/format.hpp"

namespace morphvlm::progress_test {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A clock and a page of the test's own.
struct Fake {
  double now = 1000;
  std::string text;

  ProgressOutput output(bool terminal, std::size_t width = 200) {
    return {terminal, width, [this](std::string_view t) { text += t; }, [this] { return now; }};
  }
  std::int64_t lines() const { return std::count(text.begin(), text.end(), '\n'); }
  std::int64_t redraws() const { return std::count(text.begin(), text.end(), '\r'); }
};

TEST(ProgressTest, ATerminalIsRedrawnAtMostTenTimesASecond) {
  Fake fake;
  Progress progress("training", 1000, fake.output(true));
  for (int i = 0; i < 1000; ++i) {
    fake.now += 0.01;  // ten seconds in all
    progress.advance(1, "loss 0.53");
  }
  EXPECT_THAT(fake.redraws(), AllOf(::testing::Ge(90), ::testing::Le(100)));
  EXPECT_EQ(fake.lines(), 0);
  progress.finish();
  EXPECT_EQ(fake.lines(), 1);
  EXPECT_THAT(
      fake.text,
      EndsWith("\rtraining [========================] 1000/1000 (100 %), 100/s, 10 s, loss 0.53\x1b[K\n"));
}

TEST(ProgressTest, ItShowsBarRateAndTimeLeft) {
  Fake fake;
  Progress progress("training", 400, fake.output(true));
  fake.now += 50;
  progress.advance(100);
  EXPECT_EQ(fake.text, "\rtraining [======>                 ] 100/400 (25 %), 2.0/s, ETA 2:30\x1b[K");
}

TEST(ProgressTest, SlowWorkIsGivenInSecondsEach) {
  Fake fake;
  Progress progress("stage", 4, fake.output(false));
  fake.now += 40;
  progress.advance();
  EXPECT_EQ(fake.text, "stage 1/4 (25 %), 40.0 s each, ETA 2:00\n");
}

TEST(ProgressTest, ALogGetsALineEveryFifteenSecondsAndOneAtTheEnd) {
  Fake fake;
  Progress progress("scoring", 600, fake.output(false));
  for (int i = 0; i < 600; ++i) {
    fake.now += 0.1;  // a minute
    progress.advance();
  }
  EXPECT_THAT(fake.lines(), AllOf(::testing::Ge(3), ::testing::Le(4)));
  progress.finish();
  progress.finish();
  EXPECT_THAT(fake.lines(), ::testing::Le(5));
  EXPECT_THAT(fake.text, EndsWith("\nscoring 600/600 (100 %), 10.0/s, 1:00\n"));
  EXPECT_THAT(fake.text, Not(HasSubstr("\x1b")));
}

TEST(ProgressTest, ALineNeverWraps) {
  Fake fake;
  Progress progress("überlang", 10, fake.output(true, 9));
  fake.now += 1;
  progress.advance(1);
  EXPECT_EQ(fake.text, "\rüberlang\x1b[K");  // eight characters, and the cursor
}

TEST(ProgressTest, AnUnknownTotalHasNoBarAndNoEnd) {
  Fake fake;
  {
    Progress progress("reading", 0, fake.output(true));
    fake.now += 2;
    progress.advance(5);
    EXPECT_EQ(fake.text, "\rreading 5, 2.5/s\x1b[K");
    EXPECT_EQ(progress.done(), 5);
  }
  EXPECT_THAT(fake.text, EndsWith("reading 5, 2.5/s, 2.0 s\x1b[K\n"));
}

TEST(ProgressTest, AnExceptionLeavesTheLastState) {
  Fake fake;
  try {
    Progress progress("training", 10, fake.output(false));
    progress.advance(3);
    throw std::runtime_error("out of memory");
  } catch (const std::runtime_error&) {
  }
  EXPECT_THAT(fake.text, StartsWith("training 3/10 (30 %)"));
}

TEST(ProgressTest, NoTitleShowsNothing) {
  Fake fake;
  Progress progress("", 10, fake.output(false));
  fake.now += 100;
  progress.advance(3);
  progress.finish();
  EXPECT_EQ(fake.text, "");
}

TEST(ProgressTest, StandardOutputStaysClean) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Progress("work", 1).finish();
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), StartsWith("work 0/1 (0 %)"));
}

TEST(FormatTest, Durations) {
  EXPECT_EQ(format_duration(0), "0.0 s");
  EXPECT_EQ(format_duration(9.94), "9.9 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3599.7), "1:00:00");
  EXPECT_EQ(format_duration(3 * 3600 + 62), "3:01:02");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(FormatTest, Numbers) {
  EXPECT_EQ(fixed(2.675, 1), "2.7");
  EXPECT_EQ(fixed(-0.5, 3), "-0.500");
  EXPECT_EQ(fixed(1e300, 0).size(), 301u);
  EXPECT_EQ(percent(0.8912), "89.1");
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(9673), "9,673");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(-123), "-123");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::int64_t{78} << 30), "78.0 GiB");
}

}  // namespace
}  // namespace morphvlm::progress_test
