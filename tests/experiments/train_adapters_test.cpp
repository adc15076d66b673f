// Adapters that start from the weights, trained and asked by the programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/json.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "tests/experiments/train_program.hpp"

namespace morphvlm::train_adapters_test {
namespace {

using ::testing::HasSubstr;

struct TrainAdapters : testing::TrainProgram {};

TEST_F(TrainAdapters, DoraIsTrainedAndAsked) {
  ASSERT_EQ(train("run", {"--adapter", "DoRA<Attn>", "--train.lora_plus_ratio", "4"}), 0)
      << testing::contents(said);
  EXPECT_EQ(read_json(scratch / "run/train.json").at("adapter"), "DoRA<Attn>");
  EXPECT_EQ(read_json(scratch / "run/train.json").at("train").at("lora_plus_ratio"), 4.0);
  const auto all = losses("run");
  EXPECT_LT(all.back(), all.front());
  std::size_t magnitudes = 0;
  for (const auto& item : load_safetensors(scratch / "run/adapter/adapter.safetensors"))
    magnitudes += item.first.ends_with("lora_magnitude_vector") ? 1 : 0;
  EXPECT_GT(magnitudes, 0u);
  expect_answers_are_shared(scratch / "run/adapter");
}

// The first loss is that of the whole weights, whatever part of them the factors begin as.
TEST_F(TrainAdapters, AdaptersBeginWhereTheModelIs) {
  ASSERT_EQ(train("lora"), 0) << testing::contents(said);
  ASSERT_EQ(train("pissa", {"--lora.init", "pissa"}), 0) << testing::contents(said);
  ASSERT_EQ(train("dora", {"--adapter", "DoRA<Attn>"}), 0) << testing::contents(said);
  const auto lora = losses("lora"), pissa = losses("pissa"), dora = losses("dora");
  EXPECT_NEAR(pissa.front(), lora.front(), 1e-4 * lora.front());
  EXPECT_NEAR(dora.front(), lora.front(), 1e-4 * lora.front());
  EXPECT_NE(pissa.back(), lora.back());
  expect_answers_are_shared(scratch / "pissa/adapter");
  EXPECT_EQ(train("run", {"--lora.init", "pissa", "--parts.gated_cross_attention"}), 1);
  EXPECT_THAT(testing::contents(said),
              HasSubstr("--lora.init pissa: expected no --parts.gated_cross_attention"));
  EXPECT_EQ(train("run", {"--lora.init", "svd"}), 1);
  EXPECT_THAT(testing::contents(said), HasSubstr("lora.init: expected one of kaiming, pissa"));
}

}  // namespace
}  // namespace morphvlm::train_adapters_test
