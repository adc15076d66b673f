// What an experiment returns: every number with what it needs to be checked and repeated.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/format.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/report/machine.hpp"
#include "morphvlm/report/statistics.hpp"
#include "morphvlm/report/table.hpp"

namespace morphvlm {

/// One measured number. Shares are in [0, 1], not in per cent.
struct Metric {
  std::string name = {};                                    ///< by which it is found
  double value = std::numeric_limits<double>::quiet_NaN();  ///< refused until it is set
  std::int64_t n = 0;               ///< how many questions (samples, steps) it is a mean of; 0: no mean
  std::optional<double> low = {};   ///< confidence interval, 95 % unless a note says otherwise
  std::optional<double> high = {};  ///< its upper end
  std::string unit = {};            ///< "s", "B", ...; empty for shares and counts
};

/// The share of `right` among `n` with Wilson's interval.
inline Metric share_metric(std::string name, std::int64_t right, std::int64_t n) {
  const Interval interval = wilson(right, n);
  return {std::move(name),
          static_cast<double>(right) / static_cast<double>(n),
          n,
          interval.low,
          interval.high,
          ""};
}

/// One stage of an experiment.
struct Stage {
  std::string name = {};   ///< what was done
  double seconds = 0;      ///< that it took
  std::int64_t steps = 0;  ///< optimizer steps; 0 where there are none
  bool kept = false;       ///< finished by an earlier run, whose time this is
};

/// The layout of report files; other versions are refused.
inline constexpr std::int64_t kReportVersion = 1;

/// An experiment's result.
struct Report {
  std::int64_t version = kReportVersion;  ///< of the layout
  std::string name = {};                  ///< of the experiment
  std::string scale = {};                 ///< "mini", "device" or "paper"
  Json parameters = Json::object();       ///< the experiment's config, as to_json gives it
  std::vector<Metric> metrics = {};       ///< in the order in which they are to be read
  std::vector<Stage> stages = {};         ///< in order
  std::vector<std::string> notes = {};    ///< what else is to be known
  std::uint64_t seed = 0;                 ///< that all randomness comes from
  Machine machine = {};                   ///< on which it ran
  std::string commit = "unknown";         ///< as git_commit gives it
  std::string date = {};                  ///< as utc_now gives it
};

/// The metric called `name`; an Error that lists what there is if there is none.
inline const Metric& metric(const Report& report, std::string_view name) {
  std::string known;
  for (const Metric& m : report.metrics) {
    if (m.name == name) return m;
    known += (known.empty() ? "" : ", ") + m.name;
  }
  fail("report \"", report.name, "\": metric \"", name, "\" is missing; it has ",
       known.empty() ? "none" : known);
}

/// Refuses a report without name, scale or metrics, with two metrics of a name, with numbers that are not
/// finite or outside their interval, or without one of the `required` metrics. `where` (a file) leads the
/// message.
inline void check_report(const Report& report, const std::string& where,
                         std::initializer_list<std::string_view> required = {}) {
  const std::string head = where + ": report \"" + report.name + "\": ";
  expect(!report.name.empty(), head, "expected a name, found none");
  expect(!report.scale.empty(), head, "expected a scale, found none");
  expect(!report.metrics.empty(), head, "expected metrics, found none: nothing was measured");
  std::set<std::string_view> seen;
  for (const Metric& m : report.metrics) {
    const std::string whose = head + "metric \"" + m.name + "\": ";
    expect(!m.name.empty(), whose, "expected a name, found none");
    expect(seen.insert(m.name).second, whose, "stands there twice");
    expect(std::isfinite(m.value), whose, "expected a finite number, found ", m.value);
    expect(m.n >= 0, whose, "expected n >= 0, found ", m.n);
    expect(m.low.has_value() == m.high.has_value(), whose, "expected both ends of the interval or none");
    // A bound is computed on its own way and may differ from the value by rounding.
    const double slack = 1e-9 * std::max(1.0, std::abs(m.value));
    expect(!m.low || (std::isfinite(*m.low) && std::isfinite(*m.high) && *m.low <= *m.high), whose,
           "expected an interval, found ", m.low.value_or(0), " to ", m.high.value_or(0));
    expect(!m.low || (*m.low <= m.value + slack && m.value <= *m.high + slack), whose, "the value ", m.value,
           " is outside its interval, ", m.low.value_or(0), " to ", m.high.value_or(0));
  }
  for (const Stage& s : report.stages) {
    expect(std::isfinite(s.seconds) && s.seconds >= 0, head, "stage \"", s.name,
           "\": expected seconds >= 0, found ", s.seconds);
  }
  for (const std::string_view name : required) {
    expect(seen.contains(name), head, "metric \"", name, "\" is missing");
  }
}

/// Writes the checked report to `path` as JSON, atomically.
inline void save_report(const Report& report, const std::filesystem::path& path) {
  check_report(report, path.string());
  write_file(path, json_text(to_json(report), 2) + '\n');
}

/// Reads and checks a report. A missing or unknown key, another version or a metric without a value is an
/// Error naming the file and the key.
inline Report load_report(const std::filesystem::path& path,
                          std::initializer_list<std::string_view> required = {}) {
  Json json = read_json(path);
  const std::string where = path.string();
  expect(json.is_object(), where, ": expected a report (an object), found ", json.type_name());
  const auto version = json_get<Json>(json, "version", where);
  expect(version == kReportVersion, where, ": version: expected ", kReportVersion, ", found ",
         version.dump());
  Report report;
  for_each_field(report, [&](std::string_view name, auto&) {
    expect(json.contains(std::string(name)), where, ": key \"", name, "\" is missing");
  });
  // Any JSON is allowed there, which the reading by field names does not know.
  Json parameters = std::move(json["parameters"]);
  json.erase("parameters");
  update_from_json(report, json, where);
  report.parameters = std::move(parameters);
  check_report(report, where, required);
  return report;
}

/// A metric's value for people: shares (no unit and an interval in [0, 1]) as per cent, whole numbers as they
/// are.
inline std::string format_metric(const Metric& m, double value) {
  if (m.unit.empty() && m.low && *m.low >= 0 && *m.high <= 1) return percent(value) + " %";
  if (m.unit == "B") return format_bytes(static_cast<std::int64_t>(value));
  if (m.unit == "s") return format_duration(value);
  const bool whole = std::floor(value) == value && std::abs(value) < 1e15;
  return (whole ? with_commas(static_cast<std::int64_t>(value)) : fixed(value, 4)) +
         (m.unit.empty() ? "" : ' ' + m.unit);
}

/// All metrics as a table: value, interval, n.
inline Table metrics_table(const Report& report) {
  Table table{.title = "Metrics", .columns = {"metric", "value", "95 % interval", "n"}};
  for (const Metric& m : report.metrics) {
    std::string interval = m.low ? format_metric(m, *m.low) : "";
    if (interval.ends_with(" %")) interval.resize(interval.size() - 2);  // the upper end has the sign
    if (m.high) interval += " – " + format_metric(m, *m.high);
    table.rows.push_back({m.name, format_metric(m, m.value), interval, m.n > 0 ? with_commas(m.n) : ""});
  }
  return table;
}

/// All stages as a table: time and steps.
inline Table stages_table(const Report& report) {
  Table table{.title = "Stages", .columns = {"stage", "time", "steps"}};
  for (const Stage& s : report.stages) {
    table.rows.push_back({s.name + (s.kept ? " (kept from an earlier run)" : ""), format_duration(s.seconds),
                          s.steps > 0 ? with_commas(s.steps) : ""});
  }
  return table;
}

/// Where, when and from what the numbers come.
inline Table origin_table(const Report& report) {
  const Machine& m = report.machine;
  // As much of a hash as people compare; the file has all of it.
  const auto hash = std::min(report.commit.find(' '), report.commit.size());
  const std::string commit =
      report.commit.substr(0, std::min<std::size_t>(hash, 12)) + report.commit.substr(hash);
  const std::string vectors = m.avx512_bf16 ? "AVX-512 with BF16"
                              : m.avx512    ? "AVX-512"
                              : m.avx2      ? "AVX2"
                                            : "none";
  return {.title = "Measured on",
          .columns = {"what", "value"},
          .rows = {{"date", report.date},
                   {"commit", commit},
                   {"seed", std::to_string(report.seed)},
                   {"processor", m.cpu},
                   {"cores", std::to_string(m.cores) + " of " + std::to_string(m.cores_present)},
                   {"vector instructions", vectors},
                   {"memory", format_bytes(m.memory_bytes)},
                   {"GPU", m.gpu},
                   {"system", m.os},
                   {"compiler", m.compiler + " (" + m.build + ')'},
                   {"LibTorch", m.torch}},
          .align = {Align::left, Align::left}};
}

}  // namespace morphvlm
