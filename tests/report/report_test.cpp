#include "morphvlm/report/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/formats/files.hpp"

namespace morphvlm::report_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Report example() {
  Report r{.name = "t1.lora", .scale = "mini"};
  r.parameters = {{"train", {{"lr", 1e-3}, {"steps", 446}}}, {"sites", {"self", "cross"}}};
  r.metrics = {share_metric("accuracy", 8706, 9673),
               {"parameters", 1343488},
               {"gain", 0.1 + 0.2, 9673, -0.5, 0.75, ""}};
  r.stages = {{"vision tower", 120.25, 1602}, {"pre-training", 520, 1750, true}};
  r.notes = {"one seed"};
  r.seed = std::numeric_limits<std::uint64_t>::max();
  r.machine = this_machine();
  r.commit = "0123456789abcdef0123456789abcdef01234567 (modified)";
  r.date = "2026-01-31T12:00:00Z";
  return r;
}

std::string problem(const Report& r) {
  return testing::error_text([&] { check_report(r, "r.json"); });
}

TEST(ReportTest, ComesBackFromItsFileAsItWas) {
  const testing::ScratchFolder folder;
  save_report(example(), folder / "a/r.json");
  const Report back = load_report(folder / "a/r.json", {"accuracy", "gain"});
  EXPECT_EQ(to_json(back).dump(), to_json(example()).dump());
  EXPECT_EQ(metric(back, "gain").value, 0.1 + 0.2);  // to the last bit
  EXPECT_EQ(back.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(back.machine, this_machine());
  EXPECT_EQ(back.parameters.at("train").at("steps"), 446);
  EXPECT_TRUE(back.stages.at(1).kept);
  EXPECT_FALSE(metric(back, "parameters").low.has_value());
}

TEST(ReportTest, AMissingMetricIsNamed) {
  const testing::ScratchFolder folder;
  save_report(example(), folder / "r.json");
  EXPECT_ERROR(load_report(folder / "r.json", {"accuracy", "accuracy.blind"}),
               AllOf(HasSubstr("r.json"), HasSubstr("\"accuracy.blind\" is missing")));
  EXPECT_ERROR(metric(example(), "accuracy.blind"),
               AllOf(HasSubstr("\"accuracy.blind\" is missing"), HasSubstr("accuracy, parameters, gain")));
}

TEST(ReportTest, NumbersThatAreNoneAreRefusedAndNothingIsWritten) {
  const testing::ScratchFolder folder;
  for (const double wrong : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Report r = example();
    r.metrics[1].value = wrong;
    EXPECT_ERROR(save_report(r, folder / "r.json"),
                 AllOf(HasSubstr("r.json"), HasSubstr("\"parameters\""), HasSubstr("finite")));
  }
  EXPECT_TRUE(folder.names().empty());
  Report unset = example();
  unset.metrics.push_back({.name = "loss"});
  EXPECT_THAT(problem(unset), HasSubstr("metric \"loss\": expected a finite number, found nan"));
}

TEST(ReportTest, WhatIsNotConsistentIsRefused) {
  EXPECT_EQ(problem(example()), "");
  const auto with = [](auto change) {
    Report r = example();
    change(r);
    return problem(r);
  };
  EXPECT_THAT(with([](Report& r) { r.metrics.clear(); }), HasSubstr("nothing was measured"));
  EXPECT_THAT(with([](Report& r) { r.name.clear(); }), HasSubstr("expected a name"));
  EXPECT_THAT(with([](Report& r) { r.scale.clear(); }), HasSubstr("expected a scale"));
  EXPECT_THAT(with([](Report& r) { r.metrics[1].name = "gain"; }), HasSubstr("\"gain\": stands there twice"));
  EXPECT_THAT(with([](Report& r) { r.metrics[2].high.reset(); }), HasSubstr("both ends"));
  EXPECT_THAT(with([](Report& r) { r.metrics[2].low = std::nan(""); }), HasSubstr("expected an interval"));
  EXPECT_THAT(with([](Report& r) { r.metrics[2].low = 0.5; }),
              HasSubstr("outside its interval, 0.5 to 0.75"));
  EXPECT_THAT(with([](Report& r) { r.metrics[2].n = -1; }), HasSubstr("n >= 0"));
  EXPECT_THAT(with([](Report& r) { r.stages[0].seconds = std::nan(""); }), HasSubstr("\"vision tower\""));
}

TEST(ReportTest, DamagedFilesAreRefused) {
  const testing::ScratchFolder folder;
  const auto file = folder / "r.json";
  const auto load_changed = [&](auto change) {
    Json json = to_json(example());
    change(json);
    testing::put(file, json.dump());
    return testing::error_text([&] { load_report(file); });
  };
  EXPECT_EQ(load_changed([](Json&) {}), "");
  EXPECT_THAT(load_changed([](Json& j) { j["version"] = 2; }), HasSubstr("version: expected 1, found 2"));
  EXPECT_THAT(load_changed([](Json& j) { j.erase("seed"); }), HasSubstr("key \"seed\" is missing"));
  EXPECT_THAT(load_changed([](Json& j) { j["sed"] = 1; }), HasSubstr("sed: unknown key"));
  EXPECT_THAT(load_changed([](Json& j) { j["metrics"][0].erase("value"); }),
              HasSubstr("\"accuracy\": expected a finite number"));
  EXPECT_THAT(load_changed([](Json& j) { j["metrics"][0]["value"] = nullptr; }),
              HasSubstr("metrics.0.value: expected a number, found null"));
  EXPECT_THAT(load_changed([](Json& j) { j = 1; }), HasSubstr("expected a report"));
  testing::put(file, to_json(example()).dump().substr(0, 200));
  EXPECT_ERROR(load_report(file), AllOf(HasSubstr("r.json"), HasSubstr("not valid JSON")));
}

TEST(ReportTest, TablesForPeople) {
  Report r = example();
  r.metrics.push_back({.name = "memory", .value = 1.5 * 1024 * 1024, .unit = "B"});
  r.metrics.push_back({.name = "time", .value = 1234.5, .unit = "s"});
  const std::string metrics = to_text(metrics_table(r));
  EXPECT_THAT(metrics, HasSubstr("accuracy       90.0 %     89.4 – 90.6 %  9,673\n"));
  EXPECT_THAT(metrics, HasSubstr("gain           0.3000  -0.5000 – 0.7500  9,673\n"));
  EXPECT_THAT(metrics, HasSubstr("parameters  1,343,488\n"));
  EXPECT_THAT(metrics, HasSubstr("1.5 MiB\n"));
  EXPECT_THAT(metrics, HasSubstr("20:35\n"));
  EXPECT_THAT(to_text(stages_table(r)), HasSubstr("pre-training (kept from an earlier run)  8:40  1,750\n"));
  EXPECT_THAT(to_text(origin_table(r)), HasSubstr("0123456789ab (modified)\n"));
}

}  // namespace
}  // namespace morphvlm::report_test
