// Progress of long work on stderr: a line redrawn in place on a terminal, a plain line now and then in a log.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/core/format.hpp"

namespace morphvlm {

/// Where progress is written and what time it is; tests bring their own.
struct ProgressOutput {
  bool terminal = false;                        ///< redraw one line instead of adding lines
  std::size_t width = 80;                       ///< of the terminal, in characters
  std::function<void(std::string_view)> write;  ///< takes text and line ends as they are
  std::function<double()> seconds;              ///< a clock that only goes forward
};

/// stderr as it is now, and the steady clock.
inline ProgressOutput standard_error() {
  ProgressOutput out;
  out.terminal = ::isatty(STDERR_FILENO) != 0;
  winsize size{};
  if (out.terminal && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    out.width = size.ws_col;
  out.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  out.seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  return out;
}

namespace detail {

inline constexpr double kTerminalInterval = 0.1;
inline constexpr double kLogInterval = 15;

// At most `width` characters of UTF-8, none of them cut.
inline std::string_view cut_to_width(std::string_view text, std::size_t width) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (starts && seen++ == width) return text.substr(0, i);
  }
  return text;
}

inline std::string progress_bar(double fraction) {
  constexpr int kCells = 24;
  const int full = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kCells);
  std::string bar(static_cast<std::size_t>(full), '=');
  if (full < kCells) bar += '>';
  bar.resize(kCells, ' ');
  return '[' + bar + "] ";
}

inline std::string format_rate(double per_second) {
  if (per_second >= 100) return fixed(per_second, 0) + "/s";
  if (per_second >= 1) return fixed(per_second, 1) + "/s";
  return fixed(1 / per_second, 1) + " s each";
}

}  // namespace detail

/// Counts work done and shows it: `Progress p("training", 600); p.advance(1, "loss 0.53"); ... p.finish();`.
/// Drawing is throttled, so advance() may be called as often as there is work. An empty title shows nothing.
class Progress {
 public:
  /// `total` is the number of units of work; 0 where it is not known.
  explicit Progress(std::string title, std::int64_t total = 0, ProgressOutput output = standard_error())
      : title_(std::move(title)), total_(total), output_(std::move(output)) {
    start_ = last_ = output_.seconds();
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Work that ended early (an exception passes) leaves its last state on a line of its own.
  ~Progress() {
    try {
      finish();
    } catch (...) {  // NOLINT(bugprone-empty-catch): a line less must not end the program
    }
  }

  /// Notes `n` more units as done; `text` says how it goes and stays until the next one.
  void advance(std::int64_t n = 1, std::string_view text = {}) {
    done_ += n;
    if (!text.empty()) text_ = text;
    const double now = output_.seconds();
    if (title_.empty() || finished_ || now - last_ < interval()) return;
    last_ = now;
    draw(now, false);
  }

  /// Work that goes on: `n` units were done before, and do not count for the rate.
  void begin_at(std::int64_t n) { done_ = before_ = n; }

  /// A line of its own about something that is worth one.
  void note(std::string_view text) const {
    output_.write((output_.terminal ? "\r\x1b[K" : "") + std::string(text) + '\n');
  }

  /// Shows the final state; later calls do nothing.
  void finish() {
    if (!std::exchange(finished_, true) && !title_.empty()) draw(output_.seconds(), true);
  }

  /// Units done so far.
  std::int64_t done() const { return done_; }

 private:
  double interval() const { return output_.terminal ? detail::kTerminalInterval : detail::kLogInterval; }

  std::string line(double now, bool last) const {
    const double elapsed = now - start_;
    const auto done = static_cast<double>(done_), total = static_cast<double>(total_);
    const auto fresh = static_cast<double>(done_ - before_);
    std::string out = title_ + ' ';
    if (total_ > 0 && output_.terminal) out += detail::progress_bar(done / total);
    out += std::to_string(done_);
    if (total_ > 0) out += '/' + std::to_string(total_) + " (" + fixed(100 * done / total, 0) + " %)";
    if (fresh > 0 && elapsed > 0) out += ", " + detail::format_rate(fresh / elapsed);
    if (last) {
      out += ", " + format_duration(elapsed);
    } else if (total_ > done_ && fresh > 0) {
      out += ", ETA " + format_duration(elapsed * (total - done) / fresh);
    }
    return text_.empty() ? out : out + ", " + text_;
  }

  void draw(double now, bool last) const {
    const std::string text = line(now, last);
    if (!output_.terminal) return output_.write(text + '\n');
    // Carriage return and "erase to the end of the line"; a line as wide as the terminal would wrap.
    const std::size_t room = output_.width > 1 ? output_.width - 1 : 1;
    output_.write('\r' + std::string(detail::cut_to_width(text, room)) + "\x1b[K" + (last ? "\n" : ""));
  }

  std::string title_;
  std::int64_t total_ = 0;
  ProgressOutput output_;
  std::string text_;
  std::int64_t done_ = 0, before_ = 0;
  double start_ = 0, last_ = 0;
  bool finished_ = false;
};

}  // namespace morphvlm
