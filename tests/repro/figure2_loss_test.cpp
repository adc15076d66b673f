#include "repro/figure2_loss.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "repro/published.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::LrSchedules;
using experiments::LrSchedulesResult;
using experiments::ScheduleSetting;
using morphvlm::testing::message_of;

const std::filesystem::path kLossFigures = std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/published";

/// How a made-up setting behaves: how fast it falls, and to where.
struct Behaviour {
  double rate = 0.2, end = 1;
};

/// Curves that fall exponentially, with a little noise that depends on the seed and the setting.
template <class F>
LrSchedulesResult made_up_schedules(std::int64_t seeds, F&& behaviour) {
  LrSchedulesResult r;
  std::int64_t number = 0;
  for (const auto& setting : schedule_settings(LrSchedules{})) {
    ++number;
    for (std::int64_t seed = 0; seed < seeds; ++seed) {
      experiments::ScheduleRun run{.setting = setting, .seed = seed};
      const Behaviour b = behaviour(setting);
      const double noise = 0.002 * static_cast<double>((seed * 7 + number * 3) % 5);
      for (std::int64_t step = 0; step < 60; ++step) {
        run.run.history.push_back(
            {.step = step,
             .loss = b.end + noise + 3 * std::exp(-(b.rate + noise) * static_cast<double>(step))});
        run.run.flops.push_back(1e9 * static_cast<double>(step + 1));
      }
      r.runs.push_back(std::move(run));
    }
  }
  r.repeated = r.runs.front().run;
  return r;
}

// As the paper says it: warm-up with a cosine is fastest, an exponential ends lower, warm-up helps.
Behaviour as_claimed(const ScheduleSetting& s) {
  Behaviour b;
  if (s.schedule == "cosine" && s.warmup == 20) b.rate = 0.5;
  if (s.schedule == "exponential") b.end = 0.8;
  if (s.warmup == 0) b.end += 0.1;
  return b;
}

RowResult judged_schedules(const LrSchedulesResult& r) {
  return schedule_loss_row(LrSchedules{}, r, kLossFigures);
}

TEST(ScheduleRow, ReproducesWhatIsAsClaimed) {
  const auto row = judged_schedules(made_up_schedules(5, as_claimed));
  for (const auto& check : row.row.checks) EXPECT_EQ(check.outcome, Outcome::passed) << check.what;
  EXPECT_EQ(row.row.verdict, Verdict::reproduced) << row.row.evidence;
  EXPECT_EQ(exit_code({row.row}), 0);
}

TEST(ScheduleRow, OneStatementTheOtherWayContradicts) {
  const auto slower = [](const ScheduleSetting& s) {
    Behaviour b = as_claimed(s);
    if (s.schedule == "cosine" && s.warmup == 20) b.rate = 0.1;
    return b;
  };
  const auto higher = [](const ScheduleSetting& s) {
    Behaviour b = as_claimed(s);
    if (s.schedule == "exponential") b.end += 0.5;
    return b;
  };
  const auto no_help = [](const ScheduleSetting& s) {
    Behaviour b = as_claimed(s);
    if (s.schedule == "constant" && s.warmup == 0) b.end = 0.5;
    return b;
  };
  EXPECT_EQ(judged_schedules(made_up_schedules(5, slower)).row.verdict, Verdict::contradicted);
  EXPECT_EQ(judged_schedules(made_up_schedules(5, higher)).row.verdict, Verdict::contradicted);
  EXPECT_EQ(judged_schedules(made_up_schedules(5, no_help)).row.verdict, Verdict::contradicted);
}

TEST(ScheduleRow, TooFewSeedsDecideNothing) {
  EXPECT_EQ(judged_schedules(made_up_schedules(1, as_claimed)).row.verdict, Verdict::not_decidable);
  EXPECT_EQ(judged_schedules(made_up_schedules(2, as_claimed)).row.verdict, Verdict::not_decidable);
}

TEST(ScheduleRow, EqualSchedulesDecideNothing) {
  const auto equal = [](const ScheduleSetting&) { return Behaviour{}; };
  EXPECT_NE(judged_schedules(made_up_schedules(5, equal)).row.verdict, Verdict::reproduced);
}

TEST(ScheduleRow, CatchesARunThatDoesNotRepeat) {
  auto r = made_up_schedules(3, as_claimed);
  r.repeated.history[17].loss = std::nextafter(r.repeated.history[17].loss, 9);
  EXPECT_EQ(judged_schedules(r).row.checks.at(0).outcome, Outcome::failed);
  r = made_up_schedules(3, as_claimed);
  r.repeated.history.pop_back();
  EXPECT_EQ(judged_schedules(r).row.checks.at(0).outcome, Outcome::failed);
}

TEST(ScheduleRow, ANaNAMissingSettingAndAMissingFileAreErrors) {
  auto r = made_up_schedules(3, as_claimed);
  r.runs[4].run.history[3].loss = std::nan("");
  EXPECT_NE(message_of([&] { judged_schedules(r); }).find("finite"), std::string::npos);
  r = made_up_schedules(3, as_claimed);
  std::erase_if(r.runs, [](const auto& run) { return run.setting == ScheduleSetting{"linear", 5, 1}; });
  EXPECT_NE(message_of([&] { judged_schedules(r); }).find("no run of linear, warm-up 5"), std::string::npos);
  EXPECT_NE(message_of([&] {
              schedule_loss_row({}, made_up_schedules(1, as_claimed), "/nonexistent");
            }).find("fig2_loss.csv"),
            std::string::npos);
}

TEST(ScheduleRow, KeepsEachSeedsNumbers) {
  const auto row = judged_schedules(made_up_schedules(2, as_claimed));
  ASSERT_EQ(row.seeds.size(), 2U);
  EXPECT_EQ(row.seeds[1].values.size(), schedule_settings(LrSchedules{}).size());
}

TEST(TimeToFallBelow, FollowsTheDrawnLine) {
  const Series curve{.x = {2, 3, 5}, .y = {9, 7, 3}};
  EXPECT_DOUBLE_EQ(time_to_fall_below(curve, 5), 2);
  EXPECT_DOUBLE_EQ(time_to_fall_below(curve, 10), 0);
  EXPECT_TRUE(std::isnan(time_to_fall_below(curve, 1)));
}

TEST(Schedules, AreWhatTheirNamesSay) {
  EXPECT_EQ(std::get<Cosine>(experiments::schedule_of({"cosine", 5})).warmup, 5);
  EXPECT_EQ(std::get<Exponential>(experiments::schedule_of({"exponential", 20})).warmup, 20);
  EXPECT_NE(message_of([] {
              experiments::schedule_of({"step", 0});
            }).find("found \"step\""),
            std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
