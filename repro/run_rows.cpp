#include "repro/run_rows.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <utility>

#include "morphvlm/core/format.hpp"
#include "repro/baseline.hpp"
#include "repro/paper_claims.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// How long the row took when it was not kept: the longest of its runs with this recipe since a fresh one.
double longest_time(const std::filesystem::path& folder, const Json& recipe, double seconds, bool fresh) {
  const auto path = folder / "time.json";
  double longest = seconds;
  if (!fresh && std::filesystem::exists(path)) {
    const Json stored = read_json(path);
    if (stored.contains("recipe") && stored.at("recipe") == recipe)
      longest = std::max(longest, json_get<double>(stored, "seconds", path.string()));
  }
  std::filesystem::create_directories(folder);
  write_file(path, Json{{"recipe", recipe}, {"seconds", longest}}.dump(1) + "\n");
  return longest;
}

void print(const Row& row) {
  std::cout << '\n' << row.id << ": " << row.claim << '\n';
  for (const auto& check : row.checks) {
    std::cout << "  " << to_string(check.outcome) << ": " << check.what << " (" << check.detail << ")\n";
  }
  std::cout << "  verdict on the claim: " << to_string(row.verdict) << ". " << row.evidence << '\n';
}

// The checks of the page were taken before the recording was read.
void complete_page(RowResult& result) {
  for (auto& section : result.page.sections)
    if (section.heading == "Checks") section.blocks = {checks_table(result.row)};
  result.page.sections.push_back({"Measured", {origin_table(result.report)}});
}

void say(const RowResult& result, const std::filesystem::path& folder) {
  std::cout << to_text(result.table);
  print(result.row);
  std::cout << "\nreport: " << (folder / "report.html").string() << "\n\n" << std::flush;
}

// A row that cannot run here, or failed to, has no numbers, so no report.json. `check` says why.
RowResult without_numbers(const RowRunner& runner, const Settings& s, const std::string& commit,
                          Check check) {
  const std::string scale(morphvlm::detail::enum_name(s.scale)), why = check.detail;
  RowResult result{.row = paper_row(runner.id)};
  result.row.checks = {std::move(check)};
  result.row.evidence = "Nothing was measured: " + why + ".";
  result.report = {
      .name = runner.id, .scale = scale, .machine = this_machine(), .commit = commit, .date = utc_now()};
  result.table = {
      .title = runner.id + ": not run", .columns = {"why"}, .rows = {{why}}, .align = {Align::left}};
  result.page = scale_page(result, "Not run.", "", {});
  save_page(result.page, s.out / runner.id / "report.html");
  say(result, s.out / runner.id);
  return result;
}

RowResult run_one(const RowRunner& runner, const Settings& s, const std::filesystem::path& source,
                  const std::string& commit) {
  const auto folder = s.out / runner.id, baselines = source / "repro/baselines";
  const auto start = Clock::now();
  RowResult result = runner.run();
  const double seconds = seconds_since(start);
  Report& report = result.report;
  const double longest = longest_time(folder, report.parameters, seconds, s.fresh);
  report.stages.push_back({.name = "the whole row", .seconds = longest, .kept = seconds < longest});
  report.machine = this_machine();
  report.commit = commit;
  report.date = utc_now();
  for (auto& check : check_recording(baselines, result)) result.row.checks.push_back(std::move(check));
  if (s.smoke) skip_learning(result.row);
  if (s.record) record(baselines, result);
  complete_page(result);
  save_report(report, folder / "report.json");
  save_page(result.page, folder / "report.html");
  say(result, folder);
  return result;
}

// A row that fails is a failure, and the others are run all the same.
RowResult run_or_say_why_not(const RowRunner& runner, const Settings& s, const std::filesystem::path& source,
                             const std::string& commit) {
  const std::string everything =
      "everything at " + std::string(morphvlm::detail::enum_name(s.scale)) + " scale";
  if (!runner.missing.empty()) return without_numbers(runner, s, commit, skipped(everything, runner.missing));
  try {
    return run_one(runner, s, source, commit);
  } catch (const std::exception& e) {
    return without_numbers(runner, s, commit, {everything, Outcome::failed, e.what()});
  }
}

// What is left, at the speed of what was measured: `seconds` for rows of `minutes`.
std::string eta_text(double left, double minutes, double seconds) {
  const double per_minute = minutes > 0 ? seconds / minutes : 60;
  return ", all of it in about " + format_duration(left * per_minute);
}

}  // namespace

void skip_learning(Row& row) {
  for (auto& check : row.checks)
    if (check.learned && check.outcome == Outcome::failed)
      check = skipped(check.what, "a few steps teach nothing (" + check.detail + ")");
}

std::vector<RowResult> run_rows(const std::vector<RowRunner>& rows, const Settings& s,
                                const std::filesystem::path& source) {
  std::vector<const RowRunner*> chosen;
  std::string known;
  double left = 0;
  for (const auto& row : rows) {
    known += (known.empty() ? "" : ", ") + row.id;
    if (!is_chosen(row.id, s.only)) continue;
    chosen.push_back(&row);
    left += row.minutes;
  }
  expect(!chosen.empty(), "--only=", s.only, ": no such row; there are ", known);
  if (s.fresh) {
    for (const auto* row : chosen)
      for (const auto& folder : row->results) std::filesystem::remove_all(folder);
    if (s.only.empty()) std::filesystem::remove_all(s.out / "small");
  }
  // That of the program, whatever happens to the tree while it runs.
  const std::string commit = git_commit(source);
  double measured_minutes = 0, measured_seconds = 0;
  std::vector<RowResult> out;
  for (const auto* row : chosen) {
    std::cerr << "row " << out.size() + 1 << " of " << chosen.size() << ": " << row->id
              << eta_text(left, measured_minutes, measured_seconds) << '\n';
    const auto start = Clock::now();
    out.push_back(run_or_say_why_not(*row, s, source, commit));
    left -= row->minutes;
    // A row that was kept says nothing of the machine's speed.
    constexpr double kKept = 6;  // seconds for each minute that it should take
    if (const double took = seconds_since(start); took > kKept * row->minutes) {
      measured_minutes += row->minutes;
      measured_seconds += took;
    }
  }
  return out;
}

}  // namespace morphvlm::repro
