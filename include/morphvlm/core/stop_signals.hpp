// SIGTERM and SIGINT as a request to leave tidily: whoever works asks now and then whether one has come.
#pragma once

#include <atomic>
#include <csignal>
#include <string>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Work was asked by a signal to stop and has put its state away. Programs exit with `exit_code`.
struct Interrupted : Error {
  int signal = 0;  ///< SIGTERM or SIGINT

  /// Stopped by signal `s`; `message` says what was put away where.
  Interrupted(int s, const std::string& message) : Error(message), signal(s) {}

  /// 128 + the signal's number, as shells have it: 143 after SIGTERM, 130 after SIGINT.
  int exit_code() const { return 128 + signal; }
};

namespace detail {

static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");
inline std::atomic<int> pending_signal = 0;

// The second signal means at once: it gets what the system does of its own accord.
extern "C" inline void note_stop_signal(int signal) {
  pending_signal = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace detail

/// While it lives, the first SIGTERM or SIGINT is noted instead of ending the process; a second one ends it.
/// One at a time in a process.
struct StopSignals {
  /// Takes over both signals and forgets an earlier one; the destructor gives them back.
  StopSignals() {
    detail::pending_signal = 0;
    terminate_ = std::signal(SIGTERM, &detail::note_stop_signal);
    interrupt_ = std::signal(SIGINT, &detail::note_stop_signal);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals() {
    std::signal(SIGTERM, terminate_);
    std::signal(SIGINT, interrupt_);
  }

  /// The signal that has come, or 0.
  int pending() const { return detail::pending_signal; }

 private:
  using Handler = void (*)(int);
  Handler terminate_ = SIG_DFL, interrupt_ = SIG_DFL;
};

}  // namespace morphvlm
