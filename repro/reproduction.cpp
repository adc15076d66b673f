#include "repro/reproduction.hpp"

#include <algorithm>
#include <utility>

#include "morphvlm/core/format.hpp"
#include "morphvlm/report/wrap_markdown.hpp"

namespace morphvlm::repro {

namespace {

constexpr const char* kTitle = "Does the paper reproduce?";

std::int64_t count(const Row& row, Outcome outcome) {
  return std::ranges::count(row.checks, outcome, &Check::outcome);
}

std::string checks_text(const Row& row) {
  std::string out;
  for (const auto outcome : {Outcome::passed, Outcome::failed, Outcome::skipped}) {
    if (count(row, outcome) == 0) continue;
    out += (out.empty() ? "" : ", ") + std::to_string(count(row, outcome)) + ' ' +
           std::string(to_string(outcome));
  }
  return out;
}

std::string teraflops(const Report& report) {
  const auto it = std::ranges::find(report.metrics, "flops", &Metric::name);
  return it == report.metrics.end() ? "–" : fixed(it->value / 1e12, 1);
}

std::string time_text(const Report& report) {
  return report.stages.empty() ? "–" : format_duration(report.stages.back().seconds);
}

std::int64_t rows_with(std::span<const RowResult> rows, Verdict verdict) {
  return std::ranges::count_if(rows, [&](const RowResult& r) { return r.row.verdict == verdict; });
}

std::string lead(std::span<const RowResult> rows, const SuiteInfo& info) {
  const auto n = [&](Verdict v) { return std::to_string(rows_with(rows, v)); };
  return "Of " + std::to_string(rows.size()) + " rows at " + info.scale + " scale " + n(Verdict::reproduced) +
         " reproduce, " + n(Verdict::contradicted) + " are contradicted, " + n(Verdict::not_reproduced) +
         " do not reproduce and " + n(Verdict::not_decidable) + " cannot be decided here (" + info.size +
         " suite).";
}

std::string how(const SuiteInfo& info) {
  return "Written by " + info.command +
         "; not edited. A verdict is about the paper's claim; a check is about our own numbers: counts, "
         "repeatability, and agreement with what was recorded. A row with fewer than three seeds decides "
         "nothing that needs seeds.";
}

// What the scale is, and what it leaves to others.
std::string scale_text(const SuiteInfo& info) {
  if (info.scale == "device")
    return "Device scale: the paper's architectures in their full size with random weights, on a card, for "
           "what they cost in memory and time. Nothing is learned, so no claim about losses or accuracies is "
           "decided.";
  if (info.scale == "paper")
    return "Paper scale: real weights and data sets, asked and trained by the programs evaluate and train. "
           "Rows whose files are missing are skipped with their names.";
  return "Mini scale: small models of the paper's types, trained here on real text and pictures, on a CPU. "
         "Device scale (the full architecture on CUDA) and paper scale (real checkpoints and data) are not "
         "part of this report; checks that need them are skipped with their reason.";
}

// Parameters and finer checks are in the row's own report.
bool belongs_in_the_joint_page(const Section& section) {
  return section.heading != "How" && section.heading != "Measured";
}

}  // namespace

Table summary_table(std::span<const RowResult> rows) {
  Table table{.title = "Verdicts",
              .columns = {"row", "verdict here", "claim of the paper", "our checks", "TFLOP", "time"},
              .align = {Align::left, Align::left, Align::left, Align::left, Align::right, Align::right}};
  for (const auto& r : rows)
    table.rows.push_back({r.row.id, std::string(to_string(r.row.verdict)), r.row.claim, checks_text(r.row),
                          teraflops(r.report), time_text(r.report)});
  table.notes = {"TFLOP: floating-point operations of the row's fine-tunings, where they are counted",
                 "time: on the machine below; what rows share (pre-training, runs) is in the first of them"};
  return table;
}

std::string to_markdown(std::span<const RowResult> rows, const SuiteInfo& info) {
  std::string out = "# " + std::string(kTitle) + "\n\n" + lead(rows, info) + "\n\n" + how(info) + "\n\n" +
                    scale_text(info) + "\n\n" + to_markdown(summary_table(rows)) + '\n';
  for (const auto& r : rows) {
    out += "\n## " + r.row.id + "\n\nClaim: " + r.row.claim + ".\n\nVerdict: **" +
           std::string(to_string(r.row.verdict)) + "**. " + r.row.evidence + "\n\n" + to_markdown(r.table) +
           '\n' + to_markdown(checks_table(r.row));
  }
  return out + "\n## Measured on\n\n" + to_markdown(origin_table(rows.front().report));
}

Page reproduction_page(std::span<const RowResult> rows, const SuiteInfo& info) {
  const auto tile = [&](Verdict v, const char* detail) {
    return Tile{std::to_string(rows_with(rows, v)), std::string(to_string(v)), detail};
  };
  Page page{.title = kTitle, .lead = lead(rows, info)};
  page.sections.push_back(
      {"Summary",
       {Tiles{{tile(Verdict::reproduced, "the claim holds here"),
               tile(Verdict::contradicted, "the opposite holds here"),
               tile(Verdict::not_reproduced, "the claim does not hold here"),
               tile(Verdict::not_decidable, "evidence either way is missing")}},
        summary_table(rows), Paragraph{how(info), true}, Paragraph{scale_text(info), true}}});
  for (const auto& r : rows) {
    // A row's own page says once more which row it is.
    Section section{r.row.id + ": " + r.page.title.substr(0, r.page.title.find(" Row")), {}};
    for (const auto& part : r.page.sections)
      if (belongs_in_the_joint_page(part))
        section.blocks.insert(section.blocks.end(), part.blocks.begin(), part.blocks.end());
    page.sections.push_back(std::move(section));
  }
  page.sections.push_back({"Measured on", {origin_table(rows.front().report)}});
  page.footer =
      "Each row's own page and its numbers as JSON lie in the folder of the run, under the row's name.";
  return page;
}

void save_reproduction(std::span<const RowResult> rows, const SuiteInfo& info,
                       const std::filesystem::path& folder) {
  expect(!rows.empty(), "reproduction: no row was run");
  std::filesystem::create_directories(folder);
  write_file(folder / "reproduction.md", wrap_markdown(to_markdown(rows, info)));
  save_page(reproduction_page(rows, info), folder / "reproduction.html");
}

}  // namespace morphvlm::repro
