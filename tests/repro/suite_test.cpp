// The runner: which rows are run, with which settings, and what is written of them.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "morphvlm/core/device.hpp"
#include "repro/reproduction.hpp"
#include "repro/rows.hpp"
#include "repro/run_rows.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using morphvlm::testing::contents;
using morphvlm::testing::message_of;
using morphvlm::testing::ScratchFolder;

Settings read(std::vector<const char*> flags, std::string_view only = "") {
  return read_settings(flags, only);
}

TEST(Settings, SizesDifferInSeedsAndFlagsComeOnTop) {
  EXPECT_EQ(read({}).schedules.seeds, 1);
  EXPECT_EQ(read({"--full"}).schedules.seeds, 5);
  EXPECT_EQ(read({"--full"}).aokvqa.tuning_seeds, 5);
  EXPECT_EQ(read({"--full", "--seeds=3"}).placement.seeds, 3);
  EXPECT_EQ(read({"--seeds=3", "--schedules.seeds=7"}).schedules.seeds, 7);
  EXPECT_EQ(read({"--smoke"}).schedules.train.steps, 6);
  EXPECT_EQ(read({"--full"}).schedules.train.steps, read({}).schedules.train.steps);
}

TEST(Settings, AllSmallWorldsAreOneFolder) {
  const Settings s = read({"--out=/x"});
  EXPECT_EQ(s.schedules.world.out, "/x/small");
  EXPECT_EQ(world_key(s.baseline.world), world_key(s.bias.world));
}

TEST(Settings, WhatIsWrongIsNamed) {
  EXPECT_NE(message_of([] { read({"--full", "--smoke"}); }).find("exclude each other"), std::string::npos);
  EXPECT_NE(message_of([] { read({"F3"}); }).find("unexpected argument F3"), std::string::npos);
  EXPECT_NE(message_of([] { read({"--nonsense=1"}); }).find("nonsense"), std::string::npos);
  EXPECT_NE(message_of([] { read({"--seeds=-1"}); }).find("--seeds"), std::string::npos);
}

TEST(Settings, ChooseRowsByTheirBeginnings) {
  EXPECT_TRUE(is_chosen("F3.loss", ""));
  EXPECT_TRUE(is_chosen("F3.loss", "F3"));
  EXPECT_TRUE(is_chosen("F4.time", "T1.bio,F4"));
  EXPECT_FALSE(is_chosen("F3.loss", "F2,"));
  EXPECT_EQ(read({}, "F2").only, "F2");
  EXPECT_EQ(read({"--only=F3"}, "F2").only, "F3");
}

TEST(Settings, OnlyWholeRunsWriteTheProjectsReport) {
  EXPECT_EQ(report_folder(read({}), "/src"), "/src/docs");
  EXPECT_EQ(report_folder(read({"--only=F3", "--out=/x"}), "/src"), "/x");
  EXPECT_EQ(report_folder(read({"--smoke", "--out=/x"}), "/src"), "/x");
  EXPECT_EQ(report_folder(read({"--docs=/y"}), "/src"), "/y");
}

TEST(Rows, HaveIdsOfTheirOwn) {
  const Settings s = read({});
  std::set<std::string> ids;
  for (const auto& row : rows_of(s, MORPHVLM_SOURCE_DIR)) EXPECT_TRUE(ids.insert(row.id).second) << row.id;
  EXPECT_EQ(ids.size(), 12U);
}

TEST(Rows, AtDeviceScaleAreThePapersAndSaySoWithoutADevice) {
  const Settings mini = read({}), device = read({"--scale=device"});
  std::set<std::string> ids;
  for (const auto& row : rows_of(mini, MORPHVLM_SOURCE_DIR)) ids.insert(row.id);
  const auto rows = rows_of(device, MORPHVLM_SOURCE_DIR);
  EXPECT_GE(rows.size(), 7U);
  for (const auto& row : rows) {
    EXPECT_TRUE(ids.contains(row.id)) << row.id;
    EXPECT_EQ(row.missing, has_cuda() ? "" : "no CUDA device");
  }
  EXPECT_EQ(device.out, "runs/device");
  EXPECT_EQ(report_folder(device, "/src"), "runs/device");
  EXPECT_NE(message_of([] { read({"--scale=vast"}); }).find("vast"), std::string::npos);
}

RowRunner made_up_runner(const std::string& id, int& runs, const std::filesystem::path& results) {
  return {id, {results}, 1, [id, &runs] {
            ++runs;
            RowResult r{
                .row = {.id = id, .claim = "claim of " + id, .checks = {exactly("count", 1, 1)}},
                .report = {.name = id, .scale = "mini", .metrics = {{.name = "flops", .value = 2e12}}},
                .table = {.title = "Table of " + id, .columns = {"a", "b"}, .rows = {{"x", "1"}}}};
            r.row.verdict = Verdict::contradicted;
            r.row.evidence = "Evidence of " + id + ".";
            r.page = {.title = "Page of " + id,
                      .sections = {{"Result", {verdict_paragraph(r.row), r.table}},
                                   {"Checks", {checks_table(r.row)}},
                                   {"How", {Verbatim{"hidden in the joint page"}}}}};
            r.add_seed(0, "loss", 1.5);
            return r;
          }};
}

TEST(RunRows, RunsTheChosenAndKeepsTheirReports) {
  const ScratchFolder folder;
  int first = 0, second = 0;
  const std::vector<RowRunner> rows{made_up_runner("A.1", first, folder.path / "a"),
                                    made_up_runner("B.1", second, folder.path / "b")};
  Settings s = read({"--only=B"});
  s.out = folder.path;
  const auto results = run_rows(rows, s, folder.path);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
  const Report report = load_report(folder.path / "B.1/report.json");
  EXPECT_EQ(report.stages.back().name, "the whole row");
  EXPECT_NE(contents(folder.path / "B.1/report.html").find("none are recorded"), std::string::npos);
  s.only = "Z";
  EXPECT_NE(message_of([&] { run_rows(rows, s, folder.path); }).find("there are A.1, B.1"),
            std::string::npos);
}

TEST(RunRows, WhatIsMissingSkipsARow) {
  const ScratchFolder folder;
  int runs = 0;
  std::vector<RowRunner> rows{made_up_runner("C.1", runs, folder.path / "a")};
  rows[0].missing = "no such device";
  Settings s = read({});
  s.out = folder.path;
  const auto results = run_rows(rows, s, folder.path);
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(results.at(0).row.checks.at(0).outcome, Outcome::skipped);
  EXPECT_EQ(exit_code({results[0].row}), kNothingChecked);
  EXPECT_FALSE(std::filesystem::exists(folder.path / "C.1/report.json"));
  save_reproduction(results, {"reduced", "./morph repro", "device"}, folder.path);
  const auto text = contents(folder.path / "reproduction.md");
  for (const char* part : {"no such device", "does not fit on a card", "at device scale"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(RunRows, ARowThatFailsLeavesTheOthers) {
  const ScratchFolder folder;
  int runs = 0;
  std::vector<RowRunner> rows{made_up_runner("C.1", runs, folder.path / "a"),
                              made_up_runner("B.1", runs, folder.path / "b")};
  rows[0].run = []() -> RowResult { fail("a file is gone"); };
  Settings s = read({});
  s.out = folder.path;
  const auto results = run_rows(rows, s, folder.path);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(results[0].row.checks.at(0).outcome, Outcome::failed);
  EXPECT_EQ(results[0].row.checks.at(0).detail, "a file is gone");
  EXPECT_EQ(exit_code({results[0].row, results[1].row}), 1);
}

TEST(RunRows, FreshForgetsTheChosenRowsWork) {
  const ScratchFolder folder;
  int runs = 0;
  const std::vector<RowRunner> rows{made_up_runner("A.1", runs, folder.path / "a"),
                                    made_up_runner("B.1", runs, folder.path / "b")};
  for (const char* kept : {"a", "b", "small"}) std::filesystem::create_directories(folder.path / kept);
  Settings s = read({"--only=A", "--fresh"});
  s.out = folder.path;
  run_rows(rows, s, folder.path);
  EXPECT_FALSE(std::filesystem::exists(folder.path / "a"));
  EXPECT_TRUE(std::filesystem::exists(folder.path / "b"));
  EXPECT_TRUE(std::filesystem::exists(folder.path / "small"));
}

TEST(Reproduction, HasEveryRowInBothForms) {
  const ScratchFolder folder;
  int runs = 0;
  const std::vector<RowResult> rows{made_up_runner("A.1", runs, "a").run(),
                                    made_up_runner("B.1", runs, "b").run()};
  save_reproduction(rows, {"reduced", "./morph repro"}, folder.path);
  for (const char* file : {"reproduction.md", "reproduction.html"}) {
    const auto text = contents(folder.path / file);
    for (const char* part : {"claim of A.1", "Evidence of B.1.", "Table of A.1", "contradicted", "2.0",
                             "1 passed", "reduced suite", "./morph repro"})
      EXPECT_NE(text.find(part), std::string::npos) << file << ": " << part;
    EXPECT_EQ(text.find("hidden in the joint page"), std::string::npos) << file;
  }
  EXPECT_NE(message_of([&] { save_reproduction({}, {}, folder.path); }).find("no row was run"),
            std::string::npos);
}

TEST(Reproduction, ThePageFetchesNothing) {
  int runs = 0;
  const std::vector<RowResult> rows{made_up_runner("A.1", runs, "a").run()};
  const auto html = to_html(reproduction_page(rows, {"full", "./morph repro --full"}));
  for (const char* outside : {"src=\"http", "href=\"http", "<script", "@import", "url("})
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
}

}  // namespace
}  // namespace morphvlm::repro
