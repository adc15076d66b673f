// What the suite runs and what it shows of each row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "repro/claims.hpp"

namespace morphvlm::repro {

/// The numbers of one seed, as they are kept in repro/baselines.
struct SeedValues {
  std::int64_t seed = 0;
  std::map<std::string, double> values = {};
};

/// One row of the paper and everything that is shown of it.
struct RowResult {
  Row row = {};
  Report report = {};
  Table table = {};
  Page page = {};
  std::vector<SeedValues> seeds = {};  ///< in the order of their first value

  /// Notes one number of one seed.
  void add_seed(std::int64_t seed, const std::string& name, double value) {
    auto it = std::ranges::find(seeds, seed, &SeedValues::seed);
    if (it == seeds.end()) it = seeds.insert(it, SeedValues{seed, {}});
    it->values[name] = value;
  }
};

/// A row that can be run.
struct RowRunner {
  std::string id = {};                              ///< in the paper
  std::vector<std::filesystem::path> results = {};  ///< folders of its finished work
  double minutes = 0;                               ///< that it takes, for estimates
  std::function<RowResult()> run = {};
  std::string missing = {};  ///< why it cannot run here, and is skipped; empty: it can
};

/// Whether a row's texts speak of the small models of mini scale.
inline bool is_mini(const std::string& scale) { return scale == "mini"; }

/// The checks of a row as a table.
inline Table checks_table(const Row& row) {
  Table checks{.title = "Checks of our own numbers",
               .columns = {"check", "outcome", "detail"},
               .align = {Align::left, Align::left, Align::left}};
  for (const auto& c : row.checks)
    checks.rows.push_back({c.what, std::string(to_string(c.outcome)), c.detail});
  return checks;
}

/// What the paper claims, and whether that holds here.
inline Paragraph verdict_paragraph(const Row& row) {
  return {"Claim of the paper: " + row.claim + ". Verdict: " + std::string(to_string(row.verdict)) + ". " +
          row.evidence};
}

}  // namespace morphvlm::repro
