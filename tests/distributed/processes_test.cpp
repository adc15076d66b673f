// Several processes that train one model: the losses of one process, whatever their number, and what happens
// when one of them is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "morphvlm/distributed/gloo.hpp"
#include "morphvlm/io/adapter_file.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/train/ranks.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::processes_test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::open_model;
using Model = testing::TinyAdapted;
using testing::Variables;

// Four batches a step, shared among the processes.
const TrainConfig kConfig{.steps = 6, .accumulate = 4, .lr = 1e-2, .schedule = Cosine{.warmup = 1}};

TrainLog log_in(const fs::path& folder) { return {.file = folder / "log.jsonl", .title = ""}; }

// Trains in `folder`; `before(index)` is called before each batch.
template <class Before>
void train_in(const fs::path& folder, Communicator* processes, Before&& before) {
  auto model = open_model();
  // Processes may begin with different weights: rank 0's count.
  if (processes != nullptr && processes->rank() > 0) testing::wake_adapters(model, 99);
  train(
      model, kConfig,
      [&](const Model& m, std::int64_t index) {
        before(index);
        return testing::loss_of_rows(m, index % 3, 2);
      },
      log_in(folder), {.folder = folder / "checkpoints", .every = 2, .resume = true}, processes);
  if (detail::is_first(processes)) save_adapter(model, folder / "adapter");
}

std::int64_t number_from(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? -1 : std::atoll(text);
}

// Not a test of its own: one of the processes. It may be told to end without a word, to be asked to stop, or
// to hang before a batch, or take its time for each.
TEST(ProcessesChild, Trains) {
  const char* const folder = std::getenv(testing::kProcessesFolder);
  if (folder == nullptr) GTEST_SKIP() << "only run as a child of Processes";
  const auto dies_at = number_from("MORPHVLM_TEST_DIES_AT"), stops_at = number_from("MORPHVLM_TEST_STOPS_AT"),
             hangs_at = number_from("MORPHVLM_TEST_HANGS_AT");
  const std::chrono::milliseconds pause(std::max<std::int64_t>(0, number_from(testing::kPauseMilliseconds)));
  try {
    const auto processes = communicator_from_environment();
    train_in(folder, processes.get(), [&](std::int64_t index) {
      std::this_thread::sleep_for(pause);
      if (index == dies_at) std::raise(SIGKILL);
      if (index == stops_at) std::raise(SIGTERM);
      if (index == hangs_at) std::raise(SIGSTOP);
    });
  } catch (const Interrupted& e) {
    std::exit(e.exit_code());
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::exit(3);
  }
}

struct Processes : ::testing::Test {
  testing::ScratchFolder scratch;

  void SetUp() override {
#ifndef USE_C10D_GLOO
    GTEST_SKIP() << "compiled without Gloo's headers";
#endif
  }

  fs::path said(std::int64_t rank) const { return scratch / ("said" + std::to_string(rank)); }

  /// The processes by rank. `more` are variables of the last rank alone.
  std::vector<pid_t> start(const fs::path& folder, std::int64_t size, const Variables& more,
                           const testing::Meeting& meeting = {}) const {
    std::vector<pid_t> children;
    for (std::int64_t rank = 0; rank < size; ++rank) {
      auto variables = testing::rank_variables(rank, size, meeting);
      variables.emplace(testing::kProcessesFolder, folder.string());
      if (rank + 1 == size) variables.insert(more.begin(), more.end());
      children.push_back(testing::start_child("ProcessesChild.*", variables, said(rank)));
    }
    return children;
  }

  /// Exit statuses by rank.
  std::vector<int> run(const fs::path& folder, std::int64_t size, const Variables& more = {}) const {
    return testing::wait_for_all(start(folder, size, more));
  }

  std::string all_said(std::int64_t size) const {
    std::string text;
    for (std::int64_t rank = 0; rank < size; ++rank) text += testing::contents(said(rank));
    return text;
  }

  static std::vector<double> losses(const fs::path& folder) {
    std::vector<double> found;
    std::istringstream log(testing::contents(folder / "log.jsonl"));
    for (std::string line; std::getline(log, line);) found.push_back(parse_json(line, "log").at("loss"));
    return found;
  }

  // The runs in two folders are the same but for rounding.
  static void expect_close(const fs::path& a, const fs::path& b) {
    const auto ours = losses(a), theirs = losses(b);
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1e-5 * theirs[i]) << i;
    const auto weights = load_safetensors(a / "adapter" / kAdapterWeights),
               others = load_safetensors(b / "adapter" / kAdapterWeights);
    ASSERT_EQ(weights.size(), others.size());
    for (std::size_t i = 0; i < weights.size(); ++i)
      EXPECT_CLOSE(weights[i].second, others[i].second, 1e-3) << weights[i].first;
  }
};

TEST_F(Processes, TrainAsOneDoes) {
  train_in(scratch / "alone", nullptr, [](std::int64_t) {});
  ASSERT_EQ(losses(scratch / "alone").size(), 6u);
  for (const std::int64_t size : {2, 4}) {
    const fs::path folder = scratch / std::to_string(size);
    fs::create_directories(folder);
    ASSERT_EQ(run(folder, size), std::vector<int>(static_cast<std::size_t>(size), 0)) << all_said(size);
    expect_close(folder, scratch / "alone");
  }
}

TEST_F(Processes, ALostOneIsNamedAndTheRunGoesOnWithFewer) {
  train_in(scratch / "alone", nullptr, [](std::int64_t) {});
  const fs::path folder = scratch / "run";
  fs::create_directories(folder);
  // Rank 2 ends in the fourth step; two steps are in a checkpoint.
  const auto statuses = run(folder, 3, {{"MORPHVLM_TEST_DIES_AT", "14"}});
  EXPECT_EQ(statuses, (std::vector<int>{3, 3, 128 + SIGKILL}));
  for (const std::int64_t rank : {0, 1}) EXPECT_THAT(testing::contents(said(rank)), HasSubstr("lost rank 2"));
  ASSERT_EQ(run(folder, 2), (std::vector<int>{0, 0})) << all_said(2);
  expect_close(folder, scratch / "alone");
}

TEST_F(Processes, OneThatHangsIsNamed) {
  const fs::path folder = scratch / "run";
  fs::create_directories(folder);
  const auto children = start(folder, 2, {{"MORPHVLM_TEST_HANGS_AT", "9"}}, {.timeout = 4});
  EXPECT_EQ(testing::wait_for(children[0]), 3);
  EXPECT_THAT(testing::contents(said(0)), HasSubstr("lost rank 1"));
  EXPECT_EQ(losses(folder).size(), 2u);
  ::kill(children[1], SIGKILL);
  EXPECT_EQ(testing::wait_for(children[1]), 128 + SIGKILL);
}

TEST_F(Processes, LeaveTogetherWhenOneIsAskedTo) {
  train_in(scratch / "alone", nullptr, [](std::int64_t) {});
  const fs::path folder = scratch / "run";
  fs::create_directories(folder);
  EXPECT_EQ(run(folder, 2, {{"MORPHVLM_TEST_STOPS_AT", "9"}}), (std::vector<int>{143, 143})) << all_said(2);
  EXPECT_EQ(losses(folder).size(), 3u);
  ASSERT_EQ(run(folder, 2), (std::vector<int>{0, 0})) << all_said(2);
  expect_close(folder, scratch / "alone");
}

TEST_F(Processes, MoreThanBatchesAreRefused) {
  const fs::path folder = scratch / "run";
  fs::create_directories(folder);
  EXPECT_EQ(run(folder, 5), std::vector<int>(5, 3));
  EXPECT_THAT(all_said(1), HasSubstr("5 processes share the batches of a step, of which there are 4"));
}

// Variables of the environment that are gone when the test is.
struct Environment {
  ~Environment() {
    for (const auto& name : names) ::unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    names.push_back(name);
  }
  std::vector<std::string> names = {};
};

TEST(ProcessPlace, ComesFromTheEnvironment) {
  Environment environment;
  EXPECT_EQ(process_place().size, 1);
  EXPECT_EQ(communicator_from_environment(), nullptr);
  environment.set("WORLD_SIZE", "4");
  EXPECT_THAT(message_of([] { process_place(); }), HasSubstr("RANK is not set"));
  environment.set("RANK", "4");
  EXPECT_THAT(message_of([] { process_place(); }), AllOf(HasSubstr("RANK"), HasSubstr("from 0 to 3")));
  environment.set("RANK", "3");
  environment.set("MASTER_ADDR", "10.0.0.1");
  environment.set("MASTER_PORT", "12x");
  EXPECT_THAT(message_of([] { process_place(); }), HasSubstr("\"12x\""));
  environment.set("MASTER_PORT", "1234");
  const auto place = process_place();
  EXPECT_EQ(place.rank, 3);
  EXPECT_EQ(place.address, "10.0.0.1");
  EXPECT_EQ(place.port, 1234);
}

TEST(ProcessPlace, MpirunAndSrunHaveVariablesOfTheirOwn) {
  for (const auto& [size, rank] : {std::pair{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                   std::pair{"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}}) {
    Environment environment;
    environment.set(size, "3");
    EXPECT_THAT(message_of([] { process_place(); }), HasSubstr(rank));
    environment.set(rank, "2");
    EXPECT_EQ(process_place().size, 3);
    EXPECT_EQ(process_place().rank, 2);
    // torchrun inside of them counts.
    environment.set("WORLD_SIZE", "8");
    environment.set("RANK", "5");
    EXPECT_EQ(process_place().rank, 5);
  }
  Environment shell;
  shell.set("SLURM_NTASKS", "4");
  shell.set("SLURM_PROCID", "0");
  EXPECT_EQ(process_place().size, 1);
}

}  // namespace
}  // namespace morphvlm::processes_test
