// The published figures as numbers: repro/published/*.csv, read from the figures' pixels.
#pragma once

#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/report/curve.hpp"

namespace morphvlm::repro {

namespace detail {

inline double csv_number(std::string_view cell, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  expect(error == std::errc{} && end == cell.data() + cell.size(), where, ": expected a number, found \"",
         cell, '"');
  return value;
}

}  // namespace detail

/// The curves of a file with header `series,x,y`, by name. Errors name file and line.
inline std::map<std::string, Series> read_published(const std::filesystem::path& path) {
  std::ifstream in(path);
  expect(in.good(), path.string(), ": cannot be opened for reading");
  std::string line;
  std::getline(in, line);
  expect(line == "series,x,y", path.string(), ": expected the header series,x,y, found \"", line, '"');
  std::map<std::string, Series> out;
  for (std::int64_t number = 2; std::getline(in, line); ++number) {
    const std::string where = path.string() + ':' + std::to_string(number);
    const auto y = line.rfind(','), x = y == 0 ? y : line.rfind(',', y - 1);
    expect(y != std::string::npos && x != std::string::npos && x < y, where,
           ": expected series,x,y, found \"", line, '"');
    Series& series = out[line.substr(0, x)];
    series.label = line.substr(0, x);
    series.x.push_back(detail::csv_number(std::string_view(line).substr(x + 1, y - x - 1), where));
    series.y.push_back(detail::csv_number(std::string_view(line).substr(y + 1), where));
  }
  expect(!out.empty(), path.string(), ": no curve in the file");
  return out;
}

/// One curve of read_published; an Error that lists the others if it is not there.
inline const Series& published_curve(const std::map<std::string, Series>& curves, const std::string& name) {
  const auto it = curves.find(name);
  std::string known;
  for (const auto& [label, series] : curves) known += (known.empty() ? "" : ", ") + label;
  expect(it != curves.end(), "published curve \"", name, "\" is missing; there are ", known);
  return it->second;
}

}  // namespace morphvlm::repro
