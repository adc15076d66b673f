// A frozen base that processes hold together: the same losses, and each holds its part alone.
#include "morphvlm/offload/shards.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "morphvlm/core/memory_meter.hpp"
#include "morphvlm/distributed/gloo.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"
#include "tests/train/ranks.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::shards_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Plain = testing::TinyAdapted;
using Held = testing::TinyVlm<Sharded<LoRA<Attn>>>;

constexpr const char* kFolder = "MORPHVLM_TEST_SHARDS_FOLDER";
constexpr std::int64_t kAhead = 2;
const TrainConfig kConfig{.steps = 4, .accumulate = 4, .lr = 1e-2};

// A model whose base is large against its activations.
template <class Model>
typename Model::Config heavy_config() {
  auto c = testing::tiny_config<Model>();
  c.language.num_hidden_layers = 12;
  c.language.hidden_size = 128;
  c.language.intermediate_size = 333;  // no multiple of a number of processes
  return c;
}

// Trains in `folder`; returns what was measured.
template <class Model>
Json train_in(const fs::path& folder, Communicator* processes, std::int64_t recompute) {
  const MemoryMeter memory(c10::kCPU);
  auto model = testing::open_model<Model>({}, heavy_config<Model>());
  model.recompute.every = recompute;
  std::int64_t base = 0, largest = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (!is_packed_part(name)) return;
    base += static_cast<std::int64_t>(t.nbytes());
    largest = std::max(largest, static_cast<std::int64_t>(t.nbytes()));
  });
  const auto size = processes == nullptr ? 1 : processes->size();
  const auto history = train(
      model, kConfig,
      [](const Model& m, std::int64_t index) { return testing::loss_of_rows(m, index % 3, 2); },
      {.file = detail::is_first(processes) ? folder / "log.jsonl" : fs::path(), .title = ""}, {}, processes);
  std::vector<double> losses;
  for (const auto& step : history) losses.push_back(step.loss);
  return {{"losses", losses},
          {"base", base},
          {"largest", largest * size},
          {"trained", trainable_count(model) * 4},
          {"peak", memory.use().peak}};
}

// Not a test of its own: one of the processes.
TEST(ShardsChild, Trains) {
  const char* const folder = std::getenv(kFolder);
  if (folder == nullptr) GTEST_SKIP() << "only run as a child of ShardedBase";
  try {
    const auto processes = communicator_from_environment();
    ShardGroup group(*processes, kAhead);
    const auto found = train_in<Held>(folder, processes.get(), std::atoll(std::getenv("RECOMPUTE")));
    testing::put(fs::path(folder) / ("rank" + std::to_string(processes->rank())), found.dump());
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::exit(3);
  }
}

struct ShardedBase : ::testing::TestWithParam<std::int64_t> {
  testing::ScratchFolder scratch;

  void SetUp() override {
#ifndef USE_C10D_GLOO
    GTEST_SKIP() << "compiled without Gloo's headers";
#endif
  }

  std::vector<int> run(std::int64_t size) const {
    const testing::Meeting meeting;
    std::vector<pid_t> children;
    for (std::int64_t rank = 0; rank < size; ++rank) {
      auto variables = testing::rank_variables(rank, size, meeting);
      variables.emplace(kFolder, fs::path(scratch / "").string());
      variables.emplace("RECOMPUTE", std::to_string(GetParam()));
      children.push_back(
          testing::start_child("ShardsChild.*", variables, scratch / ("said" + std::to_string(rank))));
    }
    return testing::wait_for_all(children);
  }

  std::string said(std::int64_t rank) const {
    return testing::contents(scratch / ("said" + std::to_string(rank)));
  }
};

TEST_P(ShardedBase, TrainsAsAWholeOneAndTakesItsPartOfTheMemory) {
  const Json whole = train_in<Plain>(scratch / "", nullptr, GetParam()),
             alone = train_in<Held>(scratch / "", nullptr, GetParam());
  EXPECT_EQ(alone.at("losses"), whole.at("losses"));
  const auto base = alone.at("base").get<double>(), peak = alone.at("peak").get<double>();
  // Weights on their way, those foreseen wrongly too, in use, and not yet let go of by Gloo's threads; and
  // gradients on their way.
  const double in_flight =
      (2 * kAhead + 3) * alone.at("largest").get<double>() + 2 * alone.at("trained").get<double>();
  for (const std::int64_t size : {2, 4}) {
    ASSERT_EQ(run(size), std::vector<int>(static_cast<std::size_t>(size), 0)) << said(0) << said(1);
    for (std::int64_t rank = 0; rank < size; ++rank) {
      const Json found =
          parse_json(testing::contents(scratch / ("rank" + std::to_string(rank))), "what was found");
      const auto n = static_cast<double>(size);
      EXPECT_NEAR(found.at("base").get<double>(), base / n, 0.001 * base);
      EXPECT_LE(found.at("peak").get<double>(), peak - base * (1 - 1 / n) + in_flight) << rank;
      const auto losses = found.at("losses").get<std::vector<double>>();
      ASSERT_EQ(losses.size(), 4u);
      for (std::size_t i = 0; i < losses.size(); ++i) {
        const double expected = whole.at("losses").at(i);
        EXPECT_NEAR(losses[i], expected, 1e-5 * expected) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Recomputed, ShardedBase, ::testing::Values(0, 1));

struct ShardedBaseErrors : ShardedBase {};

TEST_P(ShardedBaseErrors, UnevenBatchesAreRefused) {
  EXPECT_EQ(run(3), std::vector<int>(3, 3));
  EXPECT_THAT(said(0), HasSubstr("3 processes hold the frozen base together"));
}

INSTANTIATE_TEST_SUITE_P(Plain, ShardedBaseErrors, ::testing::Values(0));

TEST(Shards, APartOfAnotherGroupIsRefused) {
  auto packed = Shards::pack(at::ones({4, 6}));
  packed.shard = packed.shard.slice(0, 0, 12);
  EXPECT_THAT(testing::message_of([&] { Shards::unpack(packed, at::kFloat); }),
              HasSubstr("a weight [4, 6] has a part of 12 numbers here; expected 24 for 1 processes"));
}

}  // namespace
}  // namespace morphvlm::shards_test
