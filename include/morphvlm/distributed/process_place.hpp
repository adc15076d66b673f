// Where a process stands among others, by what its launcher says.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Where a process stands among others, and where they meet.
struct ProcessPlace {
  std::int64_t rank = 0,                                         ///< from 0
      size = 1,                                                  ///< processes in all
      local_rank = 0;                                            ///< from 0 on each machine
  std::string address = "127.0.0.1";                             ///< of rank 0
  std::int64_t port = 29500;                                     ///< where rank 0 listens
  std::chrono::milliseconds timeout = std::chrono::minutes(30);  ///< for the slowest process
};

namespace detail {

// The variables by which a launcher tells a process how many there are and which it is.
struct LauncherVariables {
  const char* size;
  const char* rank;
  const char* local_rank;
};

// The launcher that started this process, or none. Slurm sets the number of tasks also in a shell that is one
// process; that of a step only for what srun starts.
inline const LauncherVariables* launcher() {
  static constexpr std::array<LauncherVariables, 3> kLaunchers{
      {{"WORLD_SIZE", "RANK", "LOCAL_RANK"},
       {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"},
       {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"}}};
  for (const auto& l : kLaunchers)
    if (std::getenv(l.size) != nullptr) return &l;
  return nullptr;
}

inline std::int64_t environment_number(const char* name, std::int64_t least, std::int64_t most) {
  const char* const text = std::getenv(name);
  expect(text != nullptr, "environment: ", name, " is not set, but this is one of several processes");
  std::int64_t value = 0;
  const std::string_view view(text);
  const auto [at, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  expect(error == std::errc{} && at == view.data() + view.size() && value >= least && value <= most,
         "environment: ", name, ": expected a number from ", least, " to ", most, ", found \"", text, '"');
  return value;
}

}  // namespace detail

/// Whether a launcher started this process, be it as one of several or alone.
inline bool is_launched() { return detail::launcher() != nullptr; }

/// The place that a launcher tells: torchrun and its like by RANK, LOCAL_RANK and WORLD_SIZE, Open MPI's
/// mpirun and Slurm's srun by variables of their own; alone where there is none. MASTER_ADDR and MASTER_PORT
/// say where rank 0 is (127.0.0.1, 29500), MORPHVLM_TIMEOUT_SECONDS sets the timeout.
inline ProcessPlace process_place() {
  ProcessPlace place;
  const auto* const launcher = detail::launcher();
  if (launcher == nullptr) return place;
  constexpr std::int64_t kMostProcesses = 1 << 16, kMostSeconds = 1 << 20;
  place.size = detail::environment_number(launcher->size, 1, kMostProcesses);
  place.rank = detail::environment_number(launcher->rank, 0, place.size - 1);
  if (std::getenv(launcher->local_rank) != nullptr)
    place.local_rank = detail::environment_number(launcher->local_rank, 0, place.size - 1);
  if (const char* const address = std::getenv("MASTER_ADDR")) place.address = address;
  if (std::getenv("MASTER_PORT") != nullptr) place.port = detail::environment_number("MASTER_PORT", 1, 65535);
  if (std::getenv("MORPHVLM_TIMEOUT_SECONDS") != nullptr)
    place.timeout =
        std::chrono::seconds(detail::environment_number("MORPHVLM_TIMEOUT_SECONDS", 1, kMostSeconds));
  return place;
}

}  // namespace morphvlm
