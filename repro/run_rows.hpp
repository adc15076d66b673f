// Running rows one after the other, and what is kept of each.
#pragma once

#include <filesystem>
#include <vector>

#include "repro/settings.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Runs the rows that `settings.only` chooses. Each one's report.json and report.html are written to
/// out/<id> as soon as it is done; what is finished is kept, so that an interrupted run goes on where it was.
/// Numbers are compared with those in `source`/repro/baselines, or recorded there. A row that cannot run here
/// is skipped with its reason, one that fails is a failure with its message; the others run all the same.
/// Errors: no row is chosen.
std::vector<RowResult> run_rows(const std::vector<RowRunner>& rows, const Settings& settings,
                                const std::filesystem::path& source);

/// A check that depends on what was learned says nothing after a few steps: it is skipped.
void skip_learning(Row& row);

}  // namespace morphvlm::repro
