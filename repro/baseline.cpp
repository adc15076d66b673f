#include "repro/baseline.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <set>
#include <span>
#include <sstream>
#include <tuple>
#include <utility>

#include "morphvlm/core/config.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "repro/equivalence.hpp"

namespace morphvlm::repro {

namespace {

constexpr double kAlpha = 0.05, kNearShare = 0.05;

std::filesystem::path file_of(const std::filesystem::path& folder, const std::string& row) {
  return folder / (row + ".json");
}

Json recording_json(const Recording& r) {
  Json seeds = Json::array();
  for (const auto& s : r.seeds) seeds.push_back({{"seed", s.seed}, {"values", s.values}});
  return {{"recipe", r.recipe},
          {"seeds", seeds},
          {"machine", to_json(r.machine)},
          {"commit", r.commit},
          {"date", r.date}};
}

Recording recording_of(const Json& json, const std::string& where) {
  Recording out{.recipe = json_get<Json>(json, "recipe", where),
                .commit = json_get<std::string>(json, "commit", where),
                .date = json_get<std::string>(json, "date", where)};
  update_from_json(out.machine, json_get<Json>(json, "machine", where), where + ": machine");
  const Json seeds = json_get<Json>(json, "seeds", where);
  expect(seeds.is_array() && !seeds.empty(), where, ": seeds: expected a list that is not empty");
  for (const auto& s : seeds) {
    SeedValues values{json_get<std::int64_t>(s, "seed", where), {}};
    const Json numbers = json_get<Json>(s, "values", where);
    expect(numbers.is_object() && !numbers.empty(), where, ": values: expected numbers by name");
    for (const auto& [name, value] : numbers.items()) {
      expect(value.is_number(), where, ": values: ", name, ": expected a number, found ", value.dump());
      values.values[name] = value.get<double>();
    }
    out.seeds.push_back(std::move(values));
  }
  return out;
}

std::vector<double> values_of(const std::vector<SeedValues>& seeds, const std::string& name) {
  std::vector<double> out;
  for (const auto& s : seeds)
    if (const auto it = s.values.find(name); it != s.values.end()) out.push_back(it->second);
  return out;
}

std::set<std::string> names_of(const std::vector<SeedValues>& seeds) {
  std::set<std::string> out;
  for (const auto& s : seeds)
    for (const auto& [name, value] : s.values) out.insert(name);
  return out;
}

std::string short_number(double value) {
  std::ostringstream out;
  out.precision(5);
  out << value;
  return out.str();
}

// Sums are taken in another order with other instructions or more threads, and training magnifies that.
bool computes_alike(const Machine& a, const Machine& b) {
  return std::tie(a.cpu, a.cores, a.avx2, a.avx512, a.avx512_bf16, a.torch) ==
         std::tie(b.cpu, b.cores, b.avx2, b.avx512, b.avx512_bf16, b.torch);
}

bool applies(const Recording& r, const Json& recipe, const Machine& machine) {
  const auto device = recipe.find("device");
  const bool on_card = device != recipe.end() && *device != "cpu";
  return r.recipe == recipe && computes_alike(r.machine, machine) &&
         (!on_card || r.machine.gpu == machine.gpu);
}

Check compare(const std::string& name, const std::vector<double>& ours, const std::vector<double>& theirs,
              double alpha) {
  const std::string what = "recorded: " + name;
  if (ours.empty() || theirs.empty())
    return {what, Outcome::failed,
            ours.empty() ? "recorded, but not measured" : "measured, but not recorded"};
  const double mean = over_seeds(ours).mean, expected = over_seeds(theirs).mean;
  std::string detail = "expected " + short_number(expected) + ", measured " + short_number(mean);
  bool passed = false;
  // What does not vary over seeds (the model that all of them start from) has no spread to be judged by.
  const bool varies = over_seeds(ours).deviation > 0 && over_seeds(theirs).deviation > 0;
  if (varies && std::min(ours.size(), theirs.size()) >= static_cast<std::size_t>(kSeedsToDecide)) {
    const double p = welch_p(ours, theirs);
    passed = p >= alpha;
    detail += ", p = " + fixed(p, 4) + " over " + std::to_string(ours.size()) + " and " +
              std::to_string(theirs.size()) + " seeds";
  } else {
    passed = std::abs(mean - expected) <= kNearShare * std::abs(expected);
    detail += ", within " + fixed(100 * kNearShare, 0) + " % (too few seeds, or none that vary, for a test)";
  }
  return {what, passed ? Outcome::passed : Outcome::failed, detail, true};
}

}  // namespace

double welch_p(std::span<const double> a, std::span<const double> b) {
  const auto x = over_seeds(a), y = over_seeds(b);
  for (const double mean : {x.mean, y.mean})
    if (!std::isfinite(mean)) return 0;
  const double vx = x.standard_error * x.standard_error, vy = y.standard_error * y.standard_error;
  // Equal numbers may have means that differ by rounding.
  const double difference = std::abs(x.mean - y.mean);
  if (difference <= 1e-12 * std::max(std::abs(x.mean), std::abs(y.mean))) return 1;
  if (vx + vy == 0) return 0;
  const auto share = [](double v, std::int64_t n) { return n > 1 ? v * v / static_cast<double>(n - 1) : 0; };
  const double freedom = (vx + vy) * (vx + vy) / (share(vx, x.n) + share(vy, y.n));
  const boost::math::students_t distribution(freedom);
  return 2 * boost::math::cdf(boost::math::complement(distribution, difference / std::sqrt(vx + vy)));
}

Json recipe_of(const Json& parameters) {
  if (!parameters.is_object()) return parameters;
  Json out = Json::object();
  for (const auto& [key, value] : parameters.items()) {
    if (key == "out" || key == "data" || key == "materials" || key == "seeds" || key == "tuning_seeds")
      continue;
    out[key] = recipe_of(value);
  }
  return out;
}

std::vector<Recording> read_recordings(const std::filesystem::path& folder, const std::string& row) {
  const auto path = file_of(folder, row);
  if (!std::filesystem::exists(path)) return {};
  const Json json = read_json(path);
  const std::string where = path.string();
  const auto name = json_get<std::string>(json, "row", where);
  expect(name == row, where, ": row: expected ", row, ", found ", name);
  const Json recordings = json_get<Json>(json, "recordings", where);
  expect(recordings.is_array() && !recordings.empty(), where,
         ": recordings: expected a list that is not empty");
  std::vector<Recording> out;
  for (const auto& r : recordings) out.push_back(recording_of(r, where));
  return out;
}

void record(const std::filesystem::path& folder, const RowResult& result) {
  if (result.seeds.empty()) return;
  auto recordings = read_recordings(folder, result.row.id);
  const Json recipe = recipe_of(result.report.parameters);
  std::erase_if(recordings, [&](const Recording& r) { return applies(r, recipe, result.report.machine); });
  recordings.push_back({.recipe = recipe,
                        .seeds = result.seeds,
                        .machine = result.report.machine,
                        .commit = result.report.commit,
                        .date = result.report.date});
  Json list = Json::array();
  for (const auto& r : recordings) list.push_back(recording_json(r));
  std::filesystem::create_directories(folder);
  write_file(
      file_of(folder, result.row.id),
      Json{{"row", result.row.id}, {"scale", result.report.scale}, {"recordings", list}}.dump(1) + "\n");
}

std::vector<Check> check_recording(const std::filesystem::path& folder, const RowResult& result) {
  if (result.seeds.empty()) return {};
  const auto recordings = read_recordings(folder, result.row.id);
  const Json recipe = recipe_of(result.report.parameters);
  const bool elsewhere = std::ranges::count(recordings, recipe, &Recording::recipe) > 0;
  const auto it = std::ranges::find_if(
      recordings, [&](const Recording& r) { return applies(r, recipe, result.report.machine); });
  if (it == recordings.end())
    return {skipped("recorded numbers of each seed",
                    elsewhere ? "recorded on another kind of machine, where training takes another course"
                              : "none are recorded with these settings")};
  std::vector<SeedValues> recorded = it->seeds;
  // Too few for a test are compared seed by seed.
  if (std::ssize(result.seeds) < kSeedsToDecide)
    std::erase_if(recorded, [&](const SeedValues& s) {
      return std::ranges::find(result.seeds, s.seed, &SeedValues::seed) == result.seeds.end();
    });
  auto names = names_of(result.seeds);
  names.merge(names_of(recorded));
  const double alpha = kAlpha / static_cast<double>(names.size());
  std::vector<Check> out;
  for (const auto& name : names)
    out.push_back(compare(name, values_of(result.seeds, name), values_of(recorded, name), alpha));
  return out;
}

}  // namespace morphvlm::repro
