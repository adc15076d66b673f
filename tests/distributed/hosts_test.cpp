// Two hosts with a network between them: each a network namespace of Linux, joined by a virtual cable.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/formats/files.hpp"
#include "tests/train/ranks.hpp"

namespace morphvlm::hosts_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

bool succeeds(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
}

struct Hosts : ::testing::Test {
  testing::ScratchFolder scratch;
  std::string name = "mv" + std::to_string(::getpid());

  std::string host(std::int64_t rank) const { return name + "-" + std::to_string(rank); }
  std::string card(std::int64_t rank) const { return "v" + std::to_string(rank); }

  void SetUp() override {
#ifndef USE_C10D_GLOO
    GTEST_SKIP() << "compiled without Gloo's headers";
#endif
    bool made = succeeds("ip netns add " + host(0)) && succeeds("ip netns add " + host(1)) &&
                succeeds("ip link add " + card(0) + " netns " + host(0) + " type veth peer name " + card(1) +
                         " netns " + host(1));
    for (const std::int64_t rank : {0, 1}) {
      const std::string inside = "ip -n " + host(rank);
      made = made &&
             succeeds(inside + " addr add 10.231.0." + std::to_string(rank + 1) + "/24 dev " + card(rank)) &&
             succeeds(inside + " link set " + card(rank) + " up") && succeeds(inside + " link set lo up");
    }
    if (!made) GTEST_SKIP() << "no network namespaces can be made here (they need root and iproute2)";
  }
  void TearDown() override {
    for (const std::int64_t rank : {0, 1}) succeeds("ip netns del " + host(rank));
  }

  pid_t start(std::int64_t rank, const testing::Variables& more = {}) const {
    testing::Meeting meeting{.address = "10.231.0.1", .interface = card(rank), .port = "29500", .timeout = 8};
    auto variables = testing::rank_variables(rank, 2, meeting);
    variables.emplace(testing::kProcessesFolder, folder().string());
    variables.insert(more.begin(), more.end());
    return testing::start_child("ProcessesChild.*", variables, said(rank), [&] {
      const int file = ::open(("/var/run/netns/" + host(rank)).c_str(), O_RDONLY);
      if (file < 0 || ::setns(file, CLONE_NEWNET) != 0) ::_exit(126);
    });
  }

  fs::path folder() const { return scratch / "run"; }
  fs::path said(std::int64_t rank) const { return scratch / ("said" + std::to_string(rank)); }

  std::int64_t steps() const {
    std::ifstream log(folder() / "log.jsonl");
    std::int64_t lines = 0;
    for (std::string line; std::getline(log, line);) ++lines;
    return lines;
  }
};

TEST_F(Hosts, TrainTogether) {
  fs::create_directories(folder());
  EXPECT_EQ(testing::wait_for_all({start(0), start(1)}), (std::vector<int>{0, 0}))
      << testing::contents(said(0)) << testing::contents(said(1));
  EXPECT_EQ(steps(), 6);
}

TEST_F(Hosts, ACableThatIsPulledEndsBothAndTheRunGoesOn) {
  fs::create_directories(folder());
  const testing::Variables slow{{testing::kPauseMilliseconds, "100"}};
  const std::vector<pid_t> children{start(0, slow), start(1, slow)};
  while (steps() < 3 && ::kill(children[0], 0) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(succeeds("ip -n " + host(1) + " link set " + card(1) + " down"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(testing::wait_for_all(children), (std::vector<int>{3, 3}));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  EXPECT_THAT(testing::contents(said(0)), HasSubstr("lost rank 1"));
  EXPECT_THAT(testing::contents(said(1)), HasSubstr("lost rank 0"));
  ASSERT_TRUE(succeeds("ip -n " + host(1) + " link set " + card(1) + " up"));
  EXPECT_EQ(testing::wait_for_all({start(0), start(1)}), (std::vector<int>{0, 0}))
      << testing::contents(said(0)) << testing::contents(said(1));
  EXPECT_EQ(steps(), 6);
}

}  // namespace
}  // namespace morphvlm::hosts_test
