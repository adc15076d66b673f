// Models as transformers' folders, adapters folded in.
#include "morphvlm/io/export.hpp"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/peft.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::export_test {
namespace {

using testing::ScratchFolder;

template <class M>
Tensor logits_of(const M& model, const Tensor& ids) {
  at::NoGradGuard no_grad;
  const auto context = model.context(ids, {}, nullptr);
  return model.logits(model.layers(model.embed(ids, context), context, nullptr, NoHook{}, 0, 2));
}

template <class M>
void wake(M& model) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(5);
  visit(model, [&](const std::string& name, Tensor& t) {
    if (matches(name, "*.adapter.lora_B")) t.normal_(0, 0.3, generator);
  });
}

// Written with live adapters and read back without any: the same function.
template <class L>
void expect_round_trip(const typename L::Config& config, const HfExport& options = {}) {
  using Adapted = typename L::template Module<LoRA<SelfAttn, Mlp>>;
  using Plain = typename L::template Module<NoAdapter>;
  const ScratchFolder scratch;
  auto model = Adapted::init(config, {at::kFloat, make_generator(1)}, {.rank = 3, .alpha = 4});
  wake(model);
  const Tensor ids = at::arange(3, 12).view({1, 9}), before = logits_of(model, ids);
  export_language_model(model, scratch / "hf", options);
  EXPECT_EQ(merged_count(model), 0);
  EXPECT_TRUE(logits_of(model, ids).equal(before));

  const auto read =
      language_config_from_hf<typename L::Config>(read_hf_config(scratch / "hf"), "config.json");
  auto plain = Plain::init(read, {at::kFloat, make_generator(2)});
  load_state_dict(plain, language_weights(plain, load_hf_weights(scratch / "hf")), "hf");
  EXPECT_CLOSE(logits_of(plain, ids), before, 1e-5);
}

TEST(Export, EveryLanguageModelComesBack) {
  expect_round_trip<OpenLLaMA>({.vocab_size = 20,
                                .hidden_size = 24,
                                .intermediate_size = 36,
                                .num_hidden_layers = 2,
                                .num_attention_heads = 4,
                                .num_key_value_heads = 2,
                                .rms_norm_eps = 1e-5,
                                .rope_theta = 500,
                                .tie_word_embeddings = true});
  for (const bool normed : {false, true}) {
    expect_round_trip<MPT>(
        {.vocab_size = 20, .d_model = 24, .n_layers = 2, .n_heads = 4, .mlp_ratio = 2, .attn_qk_ln = normed});
  }
  expect_round_trip<GPTNeoX>({.vocab_size = 20,
                              .hidden_size = 24,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 3,
                              .intermediate_size = 36,
                              .rotary_pct = 0.5,
                              .use_parallel_residual = true});
  expect_round_trip<BioGPT>({.vocab_size = 20,
                             .hidden_size = 24,
                             .num_hidden_layers = 2,
                             .num_attention_heads = 4,
                             .intermediate_size = 36,
                             .max_position_embeddings = 30});
}

TEST(Export, InShards) {
  expect_round_trip<OpenLLaMA>({.vocab_size = 20,
                                .hidden_size = 24,
                                .intermediate_size = 36,
                                .num_hidden_layers = 2,
                                .num_attention_heads = 4},
                               {.shard_bytes = 10000});
}

TEST(Export, TheLanguageModelOfAVlmWithPeftsAdapters) {
  using Model = testing::SmallFlamingo<LoRA<Attn, CrossMlp>>;
  const ScratchFolder scratch;
  auto model = testing::small_flamingo<Model>(testing::open_golden("peft"), {.rank = 3, .alpha = 4});
  load_peft(model, testing::golden_path("peft_flamingo"));
  export_language_model(model.lang_encoder, scratch / "a",
                        {.members = {{"bos_token_id", 7}, {"vocab_size", 1}}});
  merge_adapters(model);
  export_language_model(model.lang_encoder, scratch / "b", {.dtype = at::kBFloat16});
  const auto live = load_hf_weights(scratch / "a"), merged = load_hf_weights(scratch / "b");
  ASSERT_EQ(live.size(), merged.size());
  for (std::size_t i = 0; i < live.size(); ++i) {
    EXPECT_EQ(live[i].first, merged[i].first);
    EXPECT_EQ(live[i].first.find("lora"), std::string::npos);
    EXPECT_TRUE(live[i].second.to(at::kBFloat16).equal(merged[i].second)) << live[i].first;
  }
  const Json a = read_hf_config(scratch / "a"), b = read_hf_config(scratch / "b");
  EXPECT_EQ(a.at("bos_token_id"), 7);
  EXPECT_EQ(a.at("vocab_size"), 61);
  EXPECT_EQ(a.at("torch_dtype"), "float32");
  EXPECT_EQ(b.at("torch_dtype"), "bfloat16");
}

}  // namespace
}  // namespace morphvlm::export_test
