// What the suite runs and what it shows of each row.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "repro/claims.hpp"

namespace morphvlm::repro {

/// One row of the paper and everything that is shown of it.
struct RowResult {
  Row row = {};
  Report report = {};
  Table table = {};
  Page page = {};
};

/// A row that can be run: its id in the paper, the folder of its results, and how.
struct RowRunner {
  std::string id = {};
  std::filesystem::path folder = {};
  std::function<RowResult()> run = {};
};

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
