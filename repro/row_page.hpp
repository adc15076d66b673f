// The page that most rows have.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "repro/suite.hpp"

namespace morphvlm::repro {

/// A page of three sections: the verdict with `shown` below it, the checks, and the parameters.
inline Page row_page(const RowResult& result, std::string title, std::string lead, std::vector<Block> shown) {
  shown.insert(shown.begin(), verdict_paragraph(result.row));
  return {.title = std::move(title),
          .lead = std::move(lead),
          .sections = {{"Result", std::move(shown)},
                       {"Checks", {checks_table(result.row)}},
                       {"How", {Verbatim{result.report.parameters.dump(2)}}}}};
}

/// The same, whose title is the question, and then the row and its scale.
inline Page scale_page(const RowResult& result, const std::string& question, std::string lead,
                       std::vector<Block> shown) {
  return row_page(result, question + " Row " + result.row.id + " at " + result.report.scale + " scale",
                  std::move(lead), std::move(shown));
}

}  // namespace morphvlm::repro
