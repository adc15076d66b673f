// One command line as several processes on this machine.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/stop_signals.hpp"
#include "morphvlm/distributed/process_place.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm::experiments {

/// A TCP port of the loopback address that nobody listens on now.
inline std::string free_port() {
  const morphvlm::detail::Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const where = reinterpret_cast<sockaddr*>(&address);
  expect(socket.fd >= 0 && ::bind(socket.fd, where, size) == 0 && ::getsockname(socket.fd, where, &size) == 0,
         "--processes: no free port");
  return std::to_string(ntohs(address.sin_port));
}

namespace detail {

inline pid_t start_rank(std::int64_t rank, std::int64_t count, const std::string& port, char** argv) {
  const pid_t child = ::fork();
  expect(child >= 0, "--processes: cannot start process ", rank);
  if (child != 0) return child;
  const auto cores = std::max<std::int64_t>(1, std::thread::hardware_concurrency() / count);
  ::setenv("OMP_NUM_THREADS", std::to_string(cores).c_str(), 0);
  ::setenv("RANK", std::to_string(rank).c_str(), 1);
  ::setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
  ::setenv("WORLD_SIZE", std::to_string(count).c_str(), 1);
  ::setenv("MASTER_ADDR", "127.0.0.1", 1);
  ::setenv("MASTER_PORT", port.c_str(), 1);
  ::setenv("GLOO_SOCKET_IFNAME", "lo", 0);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

}  // namespace detail

/// Runs this program's command line `count` times, as the ranks of one group, with the variables that
/// torchrun sets; signals are passed on. Returns 0, or the status of the first process that failed; nothing
/// where this process has to do the work itself, alone or as one of those that a launcher started.
inline std::optional<int> launch(std::int64_t count, char** argv) {
  if (count <= 1 || is_launched()) return {};
  const StopSignals signals;
  const std::string port = free_port();
  std::vector<pid_t> running;
  for (std::int64_t rank = 0; rank < count; ++rank)
    running.push_back(detail::start_rank(rank, count, port, argv));
  int result = 0;
  bool passed_on = false;
  while (!running.empty()) {
    if (signals.pending() != 0 && !passed_on) {
      for (const pid_t child : running) ::kill(child, signals.pending());
      passed_on = true;
    }
    std::erase_if(running, [&](pid_t child) {
      int status = 0;
      if (::waitpid(child, &status, WNOHANG) != child) return false;
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      if (result == 0) result = code;
      return true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return result;
}

}  // namespace morphvlm::experiments
