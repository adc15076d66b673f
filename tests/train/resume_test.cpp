// Runs that are interrupted and go on, compared to the last bit with runs that are not.
#include <ATen/ops/rand.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>

#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"
#include "tests/train/child.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::resume_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::kQuiet;
using testing::loss_of_rows;
using testing::message_of;
using testing::open_model;
using testing::ScratchFolder;
using Model = testing::TinyAdapted;

constexpr std::int64_t kAccumulate = 2;
const TrainConfig kConfig{
    .steps = 9, .accumulate = kAccumulate, .lr = 1e-2, .weight_decay = 0.01, .schedule = Cosine{.warmup = 2}};

// What a run leaves.
struct Outcome {
  std::vector<TrainStep> history = {};
  Model model = {};
};

// Trains with batches that depend on a generator's state as well as on their number. `before(index)` is
// called before each batch.
template <class Before>
Outcome run(at::ScalarType dtype, TrainCheckpoints checkpoints, Before&& before, TrainLog log = kQuiet,
            const TrainConfig& config = kConfig) {
  Outcome out{.model = open_model<Model>({.perceiver = true}, testing::tiny_config<Model>(), dtype)};
  auto generator = make_generator(3);
  checkpoints.generators = {generator};
  const auto loss_of = [&](const Model& m, std::int64_t index) {
    before(index);
    const double weight = at::rand({}, generator, at::kDouble).item<double>();
    return loss_of_rows(m, index % 3, 2).mul(0.5 + weight);
  };
  out.history = train(out.model, config, loss_of, log, checkpoints);
  return out;
}

constexpr auto kNothing = [](std::int64_t) {};

void expect_same(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.history.size(), b.history.size());
  for (std::size_t i = 0; i < a.history.size(); ++i) {
    EXPECT_EQ(a.history[i].step, b.history[i].step);
    EXPECT_EQ(a.history[i].loss, b.history[i].loss) << i;
    EXPECT_EQ(a.history[i].lr, b.history[i].lr);
    EXPECT_EQ(a.history[i].grad_norm, b.history[i].grad_norm) << i;
  }
  EXPECT_TRUE(testing::changed(a.model, state_dict(b.model)).empty());
}

// A run that a signal ends before batch `at`, and that then goes on in a fresh model.
void interrupt_before(at::ScalarType dtype, std::int64_t at, const Outcome& whole) {
  const ScratchFolder folder;
  const auto stop = [&](std::int64_t index) {
    if (index == at) std::raise(SIGTERM);
  };
  std::optional<Interrupted> left;
  try {
    run(dtype, {.folder = folder / "run", .every = 4}, stop, {.file = folder / "log.jsonl", .title = ""});
  } catch (const Interrupted& e) {
    left = e;
  }
  ASSERT_TRUE(left);
  EXPECT_EQ(left->exit_code(), 143);
  EXPECT_THAT(left->what(), HasSubstr("after step " + std::to_string((at + 1) / kAccumulate)));
  const auto resumed = run(dtype, {.folder = folder / "run", .every = 4, .resume = true}, kNothing,
                           {.file = folder / "log.jsonl", .title = ""});
  expect_same(resumed, whole);
  std::ifstream log(folder / "log.jsonl");
  std::size_t lines = 0;
  for (std::string line; std::getline(log, line); ++lines)
    EXPECT_EQ(parse_json(line, "log").at("loss"), whole.history.at(lines).loss);
  EXPECT_EQ(lines, whole.history.size());
}

struct Resume : ::testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, Resume, ::testing::Values(at::kFloat, at::kBFloat16));

TEST_P(Resume, IsTheSameRunWhereverItWasInterrupted) {
  const Outcome whole = run(GetParam(), {}, kNothing);
  // Mid-window and between windows, before the first step and in the last one.
  for (const std::int64_t at : {0, 1, 6, 7, 16}) interrupt_before(GetParam(), at, whole);
}

TEST(ResumeRun, ABatchThatCannotBeMadeCostsNoStepBeforeIt) {
  const Outcome whole = run(at::kFloat, {}, kNothing);
  const ScratchFolder folder;
  const auto unreadable = [](std::int64_t index) {
    if (index == 6 * kAccumulate + 1) fail("picture 13 cannot be read");
  };
  EXPECT_EQ(message_of([&] { run(at::kFloat, {.folder = folder.path, .every = 4}, unreadable); }),
            "picture 13 cannot be read");
  std::int64_t first = -1;
  const auto again = run(at::kFloat, {.folder = folder.path, .every = 4, .resume = true},
                         [&](std::int64_t index) { first = first < 0 ? index : first; });
  EXPECT_EQ(first, 6 * kAccumulate);
  expect_same(again, whole);
}

TEST(ResumeRun, AFinishedRunIsNotRunAgain) {
  const ScratchFolder folder;
  const auto first = run(at::kFloat, {.folder = folder.path}, kNothing);
  const auto again = run(at::kFloat, {.folder = folder.path, .resume = true},
                         [](std::int64_t) { FAIL() << "a batch was asked for"; });
  expect_same(again, first);
}

TEST(ResumeRun, BeginsWhereThereIsNoCheckpoint) {
  const ScratchFolder folder;
  expect_same(run(at::kFloat, {.folder = folder.path, .resume = true}, kNothing),
              run(at::kFloat, {}, kNothing));
}

TEST(ResumeRun, GoesOnFromTheNewestWholeCheckpoint) {
  const ScratchFolder folder;
  const auto whole = run(at::kFloat, {.folder = folder.path, .every = 3}, kNothing);
  testing::put(folder / "step-00000009/tensors.safetensors", "cut");
  std::int64_t first = -1;
  const auto again = run(at::kFloat, {.folder = folder.path, .every = 3, .resume = true},
                         [&](std::int64_t index) { first = first < 0 ? index : first; });
  EXPECT_EQ(first, 6 * kAccumulate);
  expect_same(again, whole);
  EXPECT_TRUE(fs::exists(folder / "step-00000009.damaged"));
}

TEST(ResumeRun, OtherRunsAreRefused) {
  const ScratchFolder folder;
  run(at::kFloat, {.folder = folder.path}, kNothing);
  EXPECT_THAT(message_of([&] { run(at::kFloat, {.folder = folder.path}, kNothing); }),
              HasSubstr("holds checkpoints of a run, the newest after step 9"));
  TrainConfig other = kConfig;
  other.lr = 2e-2;
  EXPECT_THAT(
      message_of([&] { run(at::kFloat, {.folder = folder.path, .resume = true}, kNothing, kQuiet, other); }),
      HasSubstr("another config"));
  auto model = open_model();
  EXPECT_THAT(message_of([&] {
                train(model, kConfig, testing::kWholeBatch, kQuiet, {.folder = folder.path, .resume = true});
              }),
              HasSubstr("which this run does not train"));
}

TEST(ResumeRun, TheBestIsKeptByTheScoreThatIsGiven) {
  const ScratchFolder folder;
  std::vector<double> scores{5, 1, 4, 3, 2};
  std::size_t next = 0;
  run(at::kFloat,
      {.folder = folder.path, .every = 2, .keep = {.last = 1}, .score = [&] { return scores.at(next++); }},
      kNothing);
  EXPECT_THAT(folder.names(), ::testing::IsSupersetOf({"step-00000004", "step-00000009"}));
  EXPECT_EQ(folder.names().size(), 3u);  // and the lock
}

TEST(ResumeRun, ADiskThatIsFullLeavesTheLastCheckpoint) {
  const ScratchFolder folder;
  struct Restore {
    ~Restore() { detail::file_calls() = {}; }
  } const restore;
  const auto fill_disk = [](std::int64_t index) {
    if (index < 5 * kAccumulate) return;
    detail::file_calls().write = [](int, const void*, std::size_t) -> ::ssize_t {
      errno = ENOSPC;
      return -1;
    };
  };
  EXPECT_THAT(message_of([&] { run(at::kFloat, {.folder = folder.path, .every = 4}, fill_disk); }),
              HasSubstr("No space left on device"));
  detail::file_calls() = {};
  expect_same(run(at::kFloat, {.folder = folder.path, .every = 4, .resume = true}, kNothing),
              run(at::kFloat, {}, kNothing));
}

// --- killed without warning: this program again, as a process of its own ---------------------------------

constexpr const char* kChildFolder = "MORPHVLM_TEST_RUN_FOLDER";

TrainCheckpoints child_checkpoints(const fs::path& folder) {
  return {.folder = folder, .every = 1, .resume = true};
}

// Not a test of its own: what the process to be killed does.
TEST(ResumeChild, Trains) {
  const char* const folder = std::getenv(kChildFolder);
  if (folder == nullptr) GTEST_SKIP() << "only run as a child of ResumeKilled";
  const auto out = run(at::kFloat, child_checkpoints(folder), kNothing);
  EXPECT_EQ(out.history.size(), static_cast<std::size_t>(kConfig.steps));
}

// Waits until the child has checkpoints behind step `step`, or ends; then kills it `delay` later.
bool kill_after(pid_t child, const fs::path& folder, std::int64_t step, std::chrono::microseconds delay) {
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    const auto steps = detail::checkpoint_steps(folder);
    if (!steps.empty() && steps.front() >= step) {
      std::this_thread::sleep_for(delay);
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return true;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return false;
}

// MORPHVLM_TEST_KILLS asks for more kills than the few that always run.
std::int64_t kills() {
  const char* const text = std::getenv("MORPHVLM_TEST_KILLS");
  return text == nullptr ? 5 : std::atoi(text);
}

TEST(ResumeKilled, IsTheSameRunHoweverOftenItWasKilled) {
  const auto whole = run(at::kFloat, {}, kNothing);
  CounterRng rng{11};
  std::int64_t killed = 0;
  while (killed < kills()) {
    const ScratchFolder folder;
    const fs::path place = folder / "run";
    fs::create_directories(place);
    for (std::int64_t step = 1; step < kConfig.steps && killed < kills(); ++step)
      killed += kill_after(testing::start_child("ResumeChild.*", {{kChildFolder, place.string()}}), place,
                           step, std::chrono::microseconds(rng.below(4000)));
    expect_same(run(at::kFloat, child_checkpoints(place), kNothing), whole);
  }
}

}  // namespace
}  // namespace morphvlm::resume_test
