// Rows of a data set that cannot be used: a picture that cannot be read, a text that is too long.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"

namespace morphvlm::experiments {

/// What becomes of a bad row: it ends the run by name or, where that was asked for, is left out and counted.
class BadRows {
 public:
  /// `skip`: leave them out (--skip_bad_rows).
  explicit BadRows(bool skip) : skip_(skip) {}

  /// Notes that the row called `id` of `where` is bad, and why; an Error that says so unless bad rows are
  /// left out.
  void add(std::string_view where, std::string_view id, std::string_view why) {
    std::string line = std::string(where) + ": question \"" + std::string(id) + "\": " + std::string(why);
    if (!skip_) fail(line, "; --skip_bad_rows leaves such rows out");
    lines_.push_back(std::move(line));
  }

  /// Calls `work`; an Error of it makes the row a bad one. Whether it is a good one.
  template <class Work>
  bool guard(std::string_view where, std::string_view id, Work&& work) {
    std::string why;
    try {
      work();
      return true;
    } catch (const Error& e) {
      why = e.what();
    }
    add(where, id, why);
    return false;
  }

  /// Whether they are left out.
  bool skips() const { return skip_; }
  /// How many were left out so far.
  std::size_t count() const { return lines_.size(); }
  /// A line each.
  const std::vector<std::string>& lines() const { return lines_; }

  /// "3 rows are left out: ..., ..." with the first few; empty where there are none.
  std::string summary() const {
    if (lines_.empty()) return {};
    constexpr std::size_t kShown = 5;
    std::string text =
        std::to_string(lines_.size()) + (lines_.size() == 1 ? " row is" : " rows are") + " left out:";
    for (std::size_t i = 0; i < lines_.size() && i < kShown; ++i) text += "\n  " + lines_[i];
    return text + (lines_.size() > kShown ? "\n  ...\n" : "\n");
  }

 private:
  bool skip_ = false;
  std::vector<std::string> lines_ = {};
};

}  // namespace morphvlm::experiments
