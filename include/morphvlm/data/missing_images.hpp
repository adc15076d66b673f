// Which pictures of a data set are not on disk, and the data set without them.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/dataset.hpp"

namespace morphvlm {

namespace detail {

// A name that the system cannot even look up, as one of a thousand letters, is of no file.
inline bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace detail

/// Pictures that are no files, each once, in the order of the rows. Rows need a field `image` (path).
template <class Row>
std::vector<std::filesystem::path> missing_images(const std::vector<Row>& rows) {
  std::vector<std::filesystem::path> missing;
  std::set<std::filesystem::path> seen;
  for (const Row& row : rows)
    if (seen.insert(row.image).second && !detail::is_file(row.image)) missing.push_back(row.image);
  return missing;
}

/// Takes out the rows whose picture is missing; returns those pictures, to be reported.
template <class Row>
std::vector<std::filesystem::path> drop_missing_images(std::vector<Row>& rows) {
  auto missing = missing_images(rows);
  const std::set<std::filesystem::path> gone(missing.begin(), missing.end());
  std::erase_if(rows, [&](const Row& row) { return gone.contains(row.image); });
  return missing;
}

/// Error where a picture is missing: how many, and the first few by name. `where` leads it.
template <class Row>
void expect_images(const std::vector<Row>& rows, std::string_view where) {
  const auto missing = missing_images(rows);
  std::string list;
  for (std::size_t i = 0; i < missing.size() && i < 3; ++i) list += (i ? ", " : "") + missing[i].string();
  expect(missing.empty(), where, ": ", missing.size(), " images are missing: ", list,
         missing.size() > 3 ? ", ..." : "");
}

}  // namespace morphvlm
