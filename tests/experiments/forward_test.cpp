// The program `forward` on a model folder (tests/golden/model_dir), as a user would run it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "morphvlm/io/adapter_file.hpp"
#include "morphvlm/io/model_directory.hpp"
#include "morphvlm/io/peft.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::forward_test {
namespace {

struct Forward : ::testing::Test {
  testing::Golden golden = testing::open_golden("checkpoint");
  testing::ScratchFolder scratch;
  std::filesystem::path in = scratch / "in.safetensors", out = scratch / "out.safetensors",
                        said = scratch / "said";

  void SetUp() override {
    save_safetensors(in, {{"pixels", testing::small_pixels()},
                          {"input_ids", golden["input_ids"]},
                          {"attention_mask", golden["attention_mask"]}});
  }

  // The exit status; what was said on the error stream is in `said`.
  int run(const std::string& more) const {
    const std::string command = MORPHVLM_FORWARD " --model " + testing::golden_path("model_dir").string() +
                                " --inputs " + in.string() + " --out=" + out.string() + more + " 2>" +
                                said.string();
    return std::system(command.c_str());
  }

  void expect_outputs(const char* logits) const {
    const StateDict found = load_safetensors(out);
    ASSERT_EQ(found.size(), 2u);
    for (const auto& [name, t] : found) {
      if (name == "media_latents") {
        EXPECT_CLOSE(t, golden["media_latents"], 1e-5);
      } else {
        EXPECT_EQ(name, "logits");
        EXPECT_CLOSE(testing::where_valid(t.slice(-1, 0, 59), golden["attention_mask"]),
                     testing::where_valid(golden[logits], golden["attention_mask"]), 1e-5);
      }
    }
  }
};

TEST_F(Forward, WritesTheReferencesLogitsAndSaysWhatCameFromWhere) {
  ASSERT_EQ(run(""), 0) << testing::contents(said);
  expect_outputs("logits");
  EXPECT_THAT(testing::contents(said), ::testing::HasSubstr("parameters from "));
}

TEST_F(Forward, WithAnAdapterOfPeft) {
  ASSERT_EQ(run(" --adapter " + testing::golden_path("peft_flamingo").string()), 0)
      << testing::contents(said);
  expect_outputs("peft/logits");
}

TEST_F(Forward, WithAnAdapterFolderOfOurOwn) {
  using Adapted = testing::SmallFlamingo<LoRA<Attn, CrossMlp>>;
  const auto folder = open_model_directory(testing::golden_path("model_dir"));
  const auto peft = read_peft(testing::golden_path("peft_flamingo"));
  auto config = model_directory_config<Adapted>(folder);
  config.adapter = peft.lora;
  WeightSources sources;
  auto model = load_model_directory<Adapted>(folder, config, sources);
  load_peft(model, peft);
  set_trainable(model, kAdapterParameters, true);
  save_adapter(model, scratch / "adapter");
  ASSERT_EQ(run(" --adapter " + (scratch / "adapter").string()), 0) << testing::contents(said);
  expect_outputs("peft/logits");
}

TEST_F(Forward, MistakesEndInOneMessage) {
  EXPECT_NE(run(" --adapter /nonexistent"), 0);
  EXPECT_THAT(testing::contents(said), ::testing::StartsWith("forward: /nonexistent/adapter_config.json"));
  save_safetensors(in, {{"pixels", testing::small_pixels()}});
  EXPECT_NE(run(""), 0);
  EXPECT_THAT(testing::contents(said), ::testing::HasSubstr("expected tensors pixels and input_ids"));
  const Tensor ids = golden["input_ids"];
  save_safetensors(in, {{"pixels", testing::small_pixels().to(at::kByte)}, {"input_ids", ids}});
  EXPECT_NE(run(""), 0);
  EXPECT_THAT(testing::contents(said),
              ::testing::HasSubstr("in.safetensors: pixels: expected a floating-point type"));
  save_safetensors(in, {{"pixels", testing::small_pixels()}, {"input_ids", ids.to(at::kFloat)}});
  EXPECT_NE(run(""), 0);
  EXPECT_THAT(testing::contents(said), ::testing::HasSubstr("input_ids: expected integers, found Float"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace morphvlm::forward_test
