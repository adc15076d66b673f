// The rows of the suite in the order in which they are shown.
#pragma once

#include <filesystem>
#include <vector>

#include "repro/settings.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// All rows that the scale has. `source` is the project's folder; `settings` have to outlive the rows.
std::vector<RowRunner> rows_of(const Settings& settings, const std::filesystem::path& source);

}  // namespace morphvlm::repro
