// A log that programs read: one JSON object a line, flushed line by line so that a killed run keeps its past.
#pragma once

#include <filesystem>
#include <fstream>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Writes aggregates as JSON lines; with an empty path writes nothing.
struct JsonLines {
  /// Starts the file anew.
  explicit JsonLines(const std::filesystem::path& path) : path_(path) {
    if (path.empty()) return;
    out_.open(path, std::ios::trunc);
    expect(out_.good(), path.string(), ": cannot be opened for writing");
  }

  /// Appends one record; an error names the file.
  template <class T>
  void write(const T& record) {
    if (path_.empty()) return;
    out_ << to_json(record).dump() << '\n' << std::flush;
    expect(out_.good(), path_.string(), ": cannot be written (disk full?)");
  }

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace morphvlm
