// A log that programs read: one JSON object a line, flushed line by line so that a killed run keeps its past.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Writes aggregates as JSON lines; with an empty path writes nothing.
struct JsonLines {
  /// Goes on behind the first `keep` lines of the file; what is behind them is dropped.
  explicit JsonLines(const std::filesystem::path& path, std::int64_t keep = 0) : path_(path) {
    if (path.empty()) return;
    if (std::filesystem::is_regular_file(path)) std::filesystem::resize_file(path, size_of_lines(keep));
    out_.open(path, std::ios::app);
    expect(out_.good(), path.string(), ": cannot be opened for writing");
  }

  /// Appends one record; an error names the file.
  template <class T>
  void write(const T& record) {
    if (path_.empty()) return;
    out_ << json_text(to_json(record)) << '\n' << std::flush;
    expect(out_.good(), path_.string(), ": cannot be written (disk full?)");
  }

 private:
  std::uintmax_t size_of_lines(std::int64_t count) const {
    std::ifstream in(path_);
    std::uintmax_t size = 0;
    for (std::string line; count > 0 && std::getline(in, line) && !in.eof(); --count) size += line.size() + 1;
    return size;
  }

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace morphvlm
