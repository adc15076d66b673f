// Ranks of one group as processes, for tests that start this program again.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/programs/launch.hpp"
#include "tests/train/child.hpp"

namespace morphvlm::testing {

using Variables = std::map<std::string, std::string>;

/// Variables of the child in processes_test.cpp: the run's folder, and how long it rests before a batch.
inline constexpr const char* kProcessesFolder = "MORPHVLM_TEST_PROCESSES_FOLDER";
inline constexpr const char* kPauseMilliseconds = "MORPHVLM_TEST_PAUSE_MILLISECONDS";

/// Where rank 0 is to be found, and by which network card.
struct Meeting {
  std::string address = "127.0.0.1", interface = "lo", port = experiments::free_port();
  std::int64_t timeout = 20;  ///< seconds
};

/// What rank `rank` of `size` finds in its environment.
inline Variables rank_variables(std::int64_t rank, std::int64_t size, const Meeting& meeting) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)},
          {"MASTER_ADDR", meeting.address},
          {"MASTER_PORT", meeting.port},
          {"GLOO_SOCKET_IFNAME", meeting.interface},
          {"MORPHVLM_TIMEOUT_SECONDS", std::to_string(meeting.timeout)},
          {"OMP_NUM_THREADS", "1"}};
}

/// Exit statuses, in order.
inline std::vector<int> wait_for_all(const std::vector<pid_t>& children) {
  std::vector<int> statuses;
  for (const auto child : children) statuses.push_back(wait_for(child));
  return statuses;
}

}  // namespace morphvlm::testing
