// DoRA and PiSSA adapters that PEFT wrote, and folders as PEFT writes them (tests/golden/dora.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <type_traits>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/io/adapter_file.hpp"
#include "morphvlm/io/export.hpp"
#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/io/model_directory.hpp"
#include "morphvlm/io/peft.hpp"
#include "morphvlm/io/weight_sources.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::peft_dora_test {
namespace {

using testing::Golden;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::ScratchFolder;
using Model = testing::SmallFlamingo<DoRA<Attn, CrossMlp>>;
template <AdapterPolicy P>
using Language = Llama<P>;

const LoRAConfig kLlamaConfig{.rank = 2, .alpha = 5, .rank_stabilized = true};
const LoRAConfig kFlamingoConfig{.rank = 3, .alpha = 4};
const LoRAConfig kPissaConfig{.rank = 2, .alpha = 3, .init = LoRAInit::pissa};

const Golden& golden() {
  static const Golden file = testing::open_golden("dora");
  return file;
}

template <AdapterPolicy P>
Language<P> language(const LoRAConfig& config) {
  auto model =
      Language<P>::init(testing::small_llama_config(golden().meta), {at::kFloat, make_generator(1)}, config);
  load_base(model, testing::formula_state(golden().meta.at("llama_parameters")), "formula");
  return model;
}

template <class M>
Tensor language_logits(const M& model) {
  const Tensor ids = golden()["llama/ids"];
  const auto context = model.context(ids, {}, nullptr);
  return model.logits(model.layers(model.embed(ids, context), context, nullptr, NoHook{}, 0,
                                   static_cast<std::int64_t>(model.model.layers.size())));
}

Model flamingo() {
  auto model = testing::small_flamingo<Model>(golden(), kFlamingoConfig);
  load_peft(model, golden_path("peft_dora_flamingo"));
  return model;
}

template <class M>
Tensor flamingo_logits(const M& model) {
  const Tensor mask = golden()["attention_mask"];
  return testing::where_valid(
      model(testing::small_pixels(), {.ids = golden()["input_ids"], .attention_mask = mask}), mask);
}

// The gradients that the fixture holds under `kind`, by our names.
template <class F>
std::map<std::string, Tensor> expected_gradients(const std::string& kind, F&& our_name) {
  std::map<std::string, Tensor> found;
  const std::string prefix = kind + "/grad/";
  for (const auto& [key, t] : golden().tensors)
    if (key.starts_with(prefix)) found.emplace(our_name(key.substr(prefix.size())), t);
  return found;
}

// Backward of logits times the reference's cotangent, and the gradients compared: how many.
template <class M>
void expect_gradients(M& model, const std::string& kind, const Tensor& logits,
                      const std::map<std::string, Tensor>& expected) {
  backward(logits.mul(testing::formula_input(kind + "/cotangent", logits.sizes())).sum());
  std::size_t compared = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    const auto it = expected.find(name);
    if (it == expected.end()) return;
    ++compared;
    ASSERT_TRUE(t.grad().defined()) << name;
    EXPECT_LE(testing::relative_error(t.grad(), it->second), 1e-4) << name;
  });
  EXPECT_EQ(compared, 9u);
  EXPECT_EQ(expected.size(), 9u);
}

// "….q_proj.lora_A" of a module's key in the reference's tree, as ours.
std::string with_adapter(const std::string& key) {
  const auto dot = key.rfind('.');
  return key.substr(0, dot) + ".adapter" + key.substr(dot);
}

TEST(PeftDora, ALanguageModelsLogitsAndGradients) {
  auto model = language<DoRA<SelfAttn, Mlp>>(kLlamaConfig);
  load_peft(model, golden_path("peft_dora_llama"));
  freeze(model);
  unfreeze(model, "*.adapter.*");
  const Tensor logits = language_logits(model);
  EXPECT_CLOSE(logits, golden()["llama/logits"], 1e-5);
  expect_gradients(model, "llama", logits, expected_gradients("llama", with_adapter));
}

TEST(PeftDora, AFlamingosLogitsAndGradients) {
  auto model = flamingo();
  set_trainable_parts(model, {});
  const Tensor logits = flamingo_logits(model);
  EXPECT_CLOSE(logits, golden()["flamingo/logits"], 1e-5);
  std::map<std::string, std::string> ours;
  visit(model, [&](const std::string& name, const Tensor&) {
    if (matches(name, kAdapterParameters))
      ours.emplace(openflamingo_key(name, Model::Language::layers_path, model.config.cross_attention.every),
                   name);
  });
  expect_gradients(model, "flamingo", logits,
                   expected_gradients("flamingo", [&](const std::string& key) { return ours.at(key); }));
}

// Weights were loaded after the model was made, and its adapters change nothing.
TEST(PeftDora, StartsAsTheModelThatItAdapts) {
  const auto plain = testing::small_flamingo<testing::SmallFlamingo<NoAdapter>>(golden());
  const auto fresh = testing::small_flamingo<Model>(golden(), kFlamingoConfig);
  EXPECT_CLOSE(flamingo_logits(fresh), flamingo_logits(plain), 1e-6);
  const auto pissa =
      testing::small_flamingo<Model>(golden(), {.rank = 3, .alpha = 4, .init = LoRAInit::pissa});
  EXPECT_CLOSE(flamingo_logits(pissa), flamingo_logits(plain), 1e-5);
}

// Adapters without memory start when they are initialised, others as soon as the weights are there.
TEST(PeftDora, AModelFolderStartsAsItIs) {
  const auto folder = open_model_directory(golden_path("model_dir"));
  // Two rows of the head are in no file.
  const auto logits = [](const auto& model) { return flamingo_logits(model).slice(2, 0, 59); };
  const auto load = [&]<class M>(std::type_identity<M>, const std::optional<Init>& init) {
    auto config = model_directory_config<M>(folder);
    if constexpr (!std::is_same_v<typename M::Policy, NoAdapter>) config.adapter = kFlamingoConfig;
    WeightSources sources;
    return init ? load_model_directory<M>(folder, config, sources, *init)
                : load_model_directory<M>(folder, config, sources);
  };
  const Tensor expected = logits(load(std::type_identity<testing::SmallFlamingo<NoAdapter>>{}, {}));
  auto model = load(std::type_identity<Model>{}, {});
  EXPECT_TRUE(model.gated_cross_attn[0].attn.to_q.adapter.lora_magnitude_vector.is_meta());
  init_adapters(model, at::kFloat, make_generator(1));
  EXPECT_CLOSE(logits(model), expected, 1e-6);
  EXPECT_CLOSE(logits(load(std::type_identity<Model>{}, Init{at::kFloat, make_generator(1)})), expected,
               1e-6);
}

TEST(PeftDora, MergesAndUnmerges) {
  auto model = flamingo();
  const Tensor before = flamingo_logits(model);
  const auto count = merge_adapters(model);
  EXPECT_EQ(count, 2 * 4 + 3 + 2);
  EXPECT_CLOSE(flamingo_logits(model), before, 1e-5);
  EXPECT_ERROR(load_peft(model, golden_path("peft_dora_flamingo")), HasSubstr("unmerge"));
  EXPECT_EQ(unmerge_adapters(model), count);
  EXPECT_CLOSE(flamingo_logits(model), before, 1e-5);
}

TEST(PeftDora, APlainLanguageModelWithTheMergedWeightsDoesTheSame) {
  auto model = language<DoRA<SelfAttn, Mlp>>(kLlamaConfig);
  load_peft(model, golden_path("peft_dora_llama"));
  auto plain = Language<NoAdapter>::init(testing::small_llama_config(golden().meta), {at::kFloat});
  load_state_dict(plain, hf_weights(model), "merged");
  EXPECT_CLOSE(language_logits(plain), golden()["llama/logits"], 1e-5);
}

// What PEFT wrote, loaded here and written again, is what PEFT wrote.
template <class M>
void expect_same_folder(const M& model, const std::filesystem::path& theirs, const PeftExport& options = {}) {
  const ScratchFolder scratch;
  save_peft(model, scratch / "adapter", options);
  const auto ours = read_peft(scratch / "adapter"), expected = read_peft(theirs);
  EXPECT_EQ(to_json(ours.lora), to_json(expected.lora));
  EXPECT_EQ(ours.dora, expected.dora);
  ASSERT_FALSE(expected.tensors.empty());
  EXPECT_EQ(ours.tensors.size(), expected.tensors.size());
  for (const auto& [key, t] : ours.tensors) {
    const auto it = std::ranges::find(expected.tensors, key, &StateDict::value_type::first);
    ASSERT_NE(it, expected.tensors.end()) << key;
    EXPECT_TRUE(t.equal(it->second)) << key;
  }
  for (const char* key : {"use_dora", "init_lora_weights", "r", "lora_alpha", "use_rslora"})
    EXPECT_EQ(ours.config.at(key), expected.config.at(key)) << key;
}

TEST(PeftDora, WhatIsWrittenIsWhatPeftWrites) {
  auto model = language<DoRA<SelfAttn, Mlp>>(kLlamaConfig);
  load_peft(model, golden_path("peft_dora_llama"));
  expect_same_folder(model, golden_path("peft_dora_llama"), {.lora = kLlamaConfig});
  expect_same_folder(flamingo(), golden_path("peft_dora_flamingo"));
}

TEST(PeftDora, OurOwnFolderKeepsMagnitudes) {
  const ScratchFolder scratch;
  auto model = flamingo();
  set_trainable_parts(model, {});
  save_adapter(model, scratch / "adapter");
  auto other = testing::small_flamingo<Model>(golden(), kFlamingoConfig);
  load_adapter(other, scratch / "adapter");
  EXPECT_TRUE(flamingo_logits(other).equal(flamingo_logits(model)));
  auto lora =
      testing::small_flamingo<testing::SmallFlamingo<LoRA<Attn, CrossMlp>>>(golden(), kFlamingoConfig);
  EXPECT_ERROR(load_adapter(lora, scratch / "adapter"), HasSubstr("unexpected (13)"),
               HasSubstr("gated_cross_attn.0.ff.fc_in.adapter.lora_magnitude_vector"));
  set_trainable_parts(lora, {});
  save_adapter(lora, scratch / "lora");
  EXPECT_ERROR(load_adapter(other, scratch / "lora"), HasSubstr("missing (13)"),
               HasSubstr("lora_magnitude_vector"));
}

TEST(PeftDora, AFolderOfBeforeThereWasAChoiceMeansThePlainStart) {
  const ScratchFolder scratch;
  auto model = flamingo();
  set_trainable_parts(model, {});
  save_adapter(model, scratch / "adapter");
  Json about = read_json(scratch / "adapter" / kAdapterConfig);
  ASSERT_EQ(about["model"]["adapter"].erase("init"), 1u);
  testing::put(scratch / "adapter" / kAdapterConfig, about.dump());
  load_adapter(model, scratch / "adapter");
  about["model"]["adapter"]["init"] = "pissa";
  testing::put(scratch / "adapter" / kAdapterConfig, about.dump());
  EXPECT_ERROR(load_adapter(model, scratch / "adapter"), HasSubstr("expected adapters of config"),
               HasSubstr("kaiming"), HasSubstr("pissa"));
}

TEST(PeftDora, TheOtherKindOfAdapterIsNamed) {
  auto lora = language<LoRA<SelfAttn, Mlp>>(kLlamaConfig);
  EXPECT_ERROR(load_peft(lora, golden_path("peft_dora_llama")), HasSubstr("use_dora: found true"),
               HasSubstr("has LoRA's adapter. Build a model whose policy is DoRA<...>"));
  auto dora = language<DoRA<SelfAttn, Mlp>>(kLlamaConfig);
  EXPECT_ERROR(load_peft(dora, golden_path("peft_llama")), HasSubstr("use_dora: found false"),
               HasSubstr("has DoRA's adapter. Build a model whose policy is LoRA<...>"));
  // A folder whose config and tensors do not say the same.
  auto adapter = read_peft(golden_path("peft_dora_llama"));
  adapter.dora = false;
  EXPECT_ERROR(load_peft(lora, adapter), HasSubstr("unexpected (14)"),
               HasSubstr("layers.0.self_attn.q_proj.lora_magnitude_vector"));
  adapter = read_peft(golden_path("peft_llama"));
  adapter.dora = true;
  EXPECT_ERROR(load_peft(dora, adapter), HasSubstr("missing (14)"),
               HasSubstr("layers.0.self_attn.q_proj.adapter.lora_magnitude_vector"));
}

TEST(PeftDora, StateDictsSpellMagnitudesWithTheAdaptersName) {
  for (const char* key :
       {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight"}) {
    EXPECT_EQ(parse_peft_key(key, "").module, "model.layers.0.self_attn.q_proj") << key;
    EXPECT_EQ(parse_peft_key(key, "").factor, 'M') << key;
  }
}

TEST(PeftDora, SitesThatTheFolderDoesNotHaveStayAsTheyWere) {
  using All = testing::SmallFlamingo<DoRA<Attn, FeedForward>>;
  auto all = testing::small_flamingo<All>(golden(), kFlamingoConfig);
  all.lang_encoder.model.layers[0].mlp.up_proj.adapter.lora_magnitude_vector.mul_(2);
  load_peft(all, golden_path("peft_dora_flamingo"), {.sites_may_be_missing = true});
  EXPECT_CLOSE(flamingo_logits(all), golden()["flamingo/logits"], 1e-5);
}

// As PEFT does it: factors are taken out of the base by the same decomposition, then the folder's are put in.
TEST(PeftPissa, AFolderIsReadAsPeftReadsIt) {
  auto model = language<LoRA<SelfAttn>>(kPissaConfig);
  load_peft(model, golden_path("peft_pissa_llama"));
  EXPECT_CLOSE(language_logits(model), golden()["pissa/logits"], 1e-5);
  expect_same_folder(model, golden_path("peft_pissa_llama"), {.lora = kPissaConfig});
}

// Weights first and adapters without memory, as model folders are loaded.
TEST(PeftPissa, TheBaseIsMadeResidualWhereItIsNot) {
  auto model = Language<LoRA<SelfAttn>>::init(testing::small_llama_config(golden().meta),
                                              {TensorOptions(at::kMeta)}, kPissaConfig);
  WeightSources sources;
  take_weights(model, testing::formula_state(golden().meta.at("llama_parameters")), "formula", sources);
  EXPECT_FALSE(model.model.layers[0].self_attn.q_proj.adapter.base_is_residual);
  EXPECT_ERROR(save_peft(model, "nowhere", {.lora = kPissaConfig}), HasSubstr("were not taken out"));
  load_peft(model, golden_path("peft_pissa_llama"));
  EXPECT_CLOSE(language_logits(model), golden()["pissa/logits"], 1e-5);
}

TEST(PeftPissa, AModelOfAnotherStartIsRefused) {
  auto model = language<LoRA<SelfAttn>>({.rank = 2, .alpha = 3});
  EXPECT_ERROR(load_peft(model, golden_path("peft_pissa_llama")), HasSubstr("init_lora_weights: found pissa"),
               HasSubstr("was built with kaiming"));
}

TEST(PeftPissa, OurOwnFolderGoesWithTheResidual) {
  using Small = testing::SmallFlamingo<LoRA<Attn>>;
  const ScratchFolder scratch;
  const LoRAConfig config{.rank = 3, .alpha = 4, .init = LoRAInit::pissa};
  auto model = testing::small_flamingo<Small>(golden(), config);
  set_trainable_parts(model, {});
  visit(model, [](const std::string& name, Tensor& t) {
    if (matches(name, kAdapterParameters)) t = t.detach().mul(1.5).set_requires_grad(true);
  });
  save_adapter(model, scratch / "adapter");
  auto other = testing::small_flamingo<Small>(golden(), config);
  load_adapter(other, scratch / "adapter");
  EXPECT_CLOSE(flamingo_logits(other), flamingo_logits(model), 1e-5);
  // What is left of the gated blocks' weights is not taken for the whole.
  EXPECT_ERROR(openflamingo_state(model), HasSubstr("gated_cross_attn.0.attn.to_q"), HasSubstr("PiSSA"));
  merge_adapters(model);
  EXPECT_FALSE(openflamingo_state(model).empty());
}

}  // namespace
}  // namespace morphvlm::peft_dora_test
