// The joint report of all rows: docs/reproduction.md and one page.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "repro/suite.hpp"

namespace morphvlm::repro {

/// What is said above the rows.
struct SuiteInfo {
  std::string size = {};  ///< "reduced", "full" or "smoke"
  std::string command = {};
  std::string scale = "mini";
};

/// Verdicts, checks and costs, a line for each row.
Table summary_table(std::span<const RowResult> rows);

/// The report as Markdown. Every row has its verdict with evidence, its table and its checks.
std::string to_markdown(std::span<const RowResult> rows, const SuiteInfo& info);

/// The report as a page: the same, and every figure.
Page reproduction_page(std::span<const RowResult> rows, const SuiteInfo& info);

/// Writes `folder`/reproduction.md and `folder`/reproduction.html. Errors: no rows.
void save_reproduction(std::span<const RowResult> rows, const SuiteInfo& info,
                       const std::filesystem::path& folder);

}  // namespace morphvlm::repro
