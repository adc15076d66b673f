// Adapters that PEFT wrote, and folders as PEFT writes them (tests/golden/peft_folders.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <set>

#include "morphvlm/io/peft.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::peft_test {
namespace {

using ::testing::AllOf;
using testing::Golden;
using testing::golden_path;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ScratchFolder;
template <AdapterPolicy P>
using Flamingo = testing::SmallFlamingo<P>;
using Model = Flamingo<LoRA<Attn, CrossMlp>>;
using Plain = Llama<LoRA<SelfAttn, Mlp>>;

const LoRAConfig kLlamaLora{.rank = 2, .alpha = 5, .rank_stabilized = true};
const LoRAConfig kFlamingoLora{.rank = 3, .alpha = 4};

Plain plain(const Golden& golden, const LoRAConfig& lora = kLlamaLora) {
  auto model = Plain::init(testing::small_llama_config(golden.meta), {at::kFloat, make_generator(1)}, lora);
  load_base(model, testing::formula_state(golden.meta.at("llama_parameters")), "formula");
  return model;
}

Tensor logits_of(const Plain& model, const Tensor& ids) {
  const auto context = model.context(ids, {}, nullptr);
  return model.logits(model.layers(model.embed(ids, context), context, nullptr, NoHook{}, 0,
                                   static_cast<std::int64_t>(model.model.layers.size())));
}

template <class M>
void expect_flamingo_logits(const M& model, const Golden& golden) {
  const Tensor mask = golden["attention_mask"];
  const Tensor logits = model(testing::small_pixels(), {.ids = golden["input_ids"], .attention_mask = mask});
  EXPECT_CLOSE(testing::where_valid(logits, mask), testing::where_valid(golden["flamingo/logits"], mask),
               1e-5);
}

struct Peft : ::testing::Test {
  Golden golden = testing::open_golden("peft");
  std::filesystem::path flamingo = golden_path("peft_flamingo"), llama = golden_path("peft_llama");

  Model model(const LoRAConfig& lora = kFlamingoLora) const {
    return testing::small_flamingo<Model>(golden, lora);
  }
};

TEST_F(Peft, AnAdapterOfALanguageModelAlone) {
  auto model = plain(golden);
  load_peft(model, llama);
  EXPECT_CLOSE(logits_of(model, golden["llama/ids"]), golden["llama/logits"], 1e-5);
}

TEST_F(Peft, AnAdapterInsideOpenFlamingosTree) {
  auto loaded = model();
  load_peft(loaded, flamingo);
  expect_flamingo_logits(loaded, golden);
}

TEST_F(Peft, TheConfigSaysRankAndScale) {
  EXPECT_EQ(to_json(read_peft(llama).lora), to_json(kLlamaLora));
  EXPECT_EQ(to_json(read_peft(flamingo).lora), to_json(kFlamingoLora));
  EXPECT_EQ(peft_sites(read_peft(llama)), (std::set<std::string>{"SelfAttn", "Mlp"}));
  EXPECT_EQ(peft_sites(read_peft(flamingo)), (std::set<std::string>{"SelfAttn", "CrossAttn", "CrossMlp"}));
}

// State dicts spell the adapter's name and hold what OpenFlamingo registers twice under both names.
TEST_F(Peft, EveryOtherSpellingOfTheSameAdapter) {
  const auto saved = read_peft(flamingo);
  std::map<std::string, Tensor> values;
  for (const auto& [key, t] : saved.tensors) {
    const auto [module, factor] = parse_peft_key(key, "");
    values[peft_canonical(module, "model.layers") + factor] = t;
  }
  for (const char* spelling : {"flamingo_state_dict", "lang_encoder_state_dict"}) {
    PeftAdapter other = saved;
    other.tensors.clear();
    for (const auto& name : golden.meta.at(spelling)) {
      const auto key = name.get<std::string>();
      const auto [module, factor] = parse_peft_key(key, "");
      other.tensors.emplace_back(key, values.at(peft_canonical(module, "model.layers") + factor));
    }
    EXPECT_EQ(other.tensors.size(), 2 * saved.tensors.size()) << spelling;
    auto loaded = model();
    load_peft(loaded, other);
    expect_flamingo_logits(loaded, golden);

    other.tensors.back().second = other.tensors.back().second.add(1);
    auto untouched = model();
    EXPECT_ERROR(load_peft(untouched, other), HasSubstr("another value under another name"),
                 HasSubstr(other.tensors.back().first));
  }
}

Json without_tensors_of(const StateDict& dict) {
  std::map<std::string, std::string> text;
  for (const auto& [key, t] : dict) text[key] = describe(t);
  return text;
}

// What PEFT wrote, loaded here and written again, is what PEFT wrote.
template <class M>
void expect_same_folder(const M& model, const std::filesystem::path& theirs, const PeftExport& options = {}) {
  const ScratchFolder scratch;
  save_peft(model, scratch / "adapter", options);
  const auto ours = read_peft(scratch / "adapter"), expected = read_peft(theirs);
  EXPECT_EQ(without_tensors_of(ours.tensors), without_tensors_of(expected.tensors));
  for (const auto& [key, t] : ours.tensors) {
    const auto it = std::ranges::find(expected.tensors, key, &StateDict::value_type::first);
    ASSERT_NE(it, expected.tensors.end()) << key;
    EXPECT_TRUE(t.equal(it->second)) << key;
  }
  for (const auto& [key, value] : ours.config.items()) {
    ASSERT_TRUE(expected.config.contains(key)) << key;
    if (key == "target_modules" || key == "lora_dropout" || key == "auto_mapping") continue;
    EXPECT_EQ(value, expected.config.at(key)) << key;
  }
}

TEST_F(Peft, WhatIsWrittenIsWhatPeftWrites) {
  auto language = plain(golden);
  load_peft(language, llama);
  expect_same_folder(language, llama, {.lora = kLlamaLora});
  auto whole = model();
  load_peft(whole, flamingo);
  expect_same_folder(whole, flamingo);
}

TEST_F(Peft, TargetsAreShortWhereThatIsClear) {
  const ScratchFolder scratch;
  save_peft(plain(golden), scratch / "a");
  EXPECT_EQ(read_json(scratch / "a" / kPeftConfig).at("target_modules"),
            Json({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}));
  save_peft(model(), scratch / "b", {.tree = PeftTree::lang_encoder, .base_model = "openflamingo"});
  const Json config = read_json(scratch / "b" / kPeftConfig);
  EXPECT_EQ(config.at("target_modules"),
            Json({"to_q", "to_kv", "to_out", "ff.1", "ff.3", "q_proj", "k_proj", "v_proj", "o_proj"}));
  EXPECT_EQ(config.at("base_model_name_or_path"), "openflamingo");
  // In the whole model "to_q" would hit the perceiver, too.
  save_peft(model(), scratch / "c");
  const auto targets =
      read_json(scratch / "c" / kPeftConfig).at("target_modules").get<std::set<std::string>>();
  EXPECT_EQ(targets.size(), 13u);
  EXPECT_TRUE(targets.contains("lang_encoder.model.layers.1.gated_cross_attn_layer.ff.3"));
  EXPECT_TRUE(targets.contains("lang_encoder.model.layers.0.decoder_layer.self_attn.q_proj"));
}

TEST_F(Peft, EveryTreeIsReadBack) {
  using Language = Flamingo<LoRA<SelfAttn>>;
  const ScratchFolder scratch;
  auto first = testing::small_flamingo<Language>(golden, kFlamingoLora);
  first.lang_encoder.model.layers[1].self_attn.v_proj.adapter.lora_B.fill_(0.5);
  for (const auto tree : {PeftTree::language_model, PeftTree::lang_encoder, PeftTree::flamingo}) {
    save_peft(first, scratch / "adapter", {.tree = tree});
    auto second = testing::small_flamingo<Language>(golden, kFlamingoLora);
    load_peft(second, scratch / "adapter");
    const auto &a = first.lang_encoder.model.layers[1], &b = second.lang_encoder.model.layers[1];
    EXPECT_TRUE(a.self_attn.v_proj.adapter.lora_B.equal(b.self_attn.v_proj.adapter.lora_B));
  }
  EXPECT_ERROR(save_peft(model(), scratch / "x", {.tree = PeftTree::language_model}),
               HasSubstr("gated_cross_attn.0"), HasSubstr("no gated blocks"));
  EXPECT_ERROR(save_peft(plain(golden), scratch / "x", {.tree = PeftTree::flamingo}), HasSubstr("no tree"));
  EXPECT_ERROR(save_peft(plain(golden), scratch / "x", {.lora = kFlamingoLora}),
               HasSubstr("rank 2 and scale 3.5"), HasSubstr("rank 3 and scale 1.3"));
  EXPECT_ERROR(save_peft(testing::small_flamingo<Flamingo<NoAdapter>>(golden), scratch / "x"),
               HasSubstr("no adapters"));
}

TEST_F(Peft, TransformersNamesOfMptAreKnown) {
  using MPT1 = MPTModel<LoRA<SelfAttn, Mlp>>;
  const ScratchFolder scratch;
  const MPTConfig config{.vocab_size = 20, .d_model = 8, .n_layers = 1, .n_heads = 2};
  auto first = MPT1::init(config, {at::kFloat, make_generator(1)}, kFlamingoLora);
  save_peft(first, scratch / "adapter", {.language = hf_mpt_key});
  const auto adapter = read_peft(scratch / "adapter");
  EXPECT_EQ(adapter.config.at("target_modules"), Json({"Wqkv", "out_proj", "up_proj", "down_proj"}));
  EXPECT_EQ(adapter.tensors.front().first.substr(0, 46), "base_model.model.transformer.blocks.0.attn.Wqk");
  auto second = MPT1::init(config, {at::kFloat, make_generator(2)}, kFlamingoLora);
  load_peft(second, adapter);
  EXPECT_TRUE(second.transformer.blocks[0].mlp.mlp_down.adapter.lora_A.equal(
      first.transformer.blocks[0].mlp.mlp_down.adapter.lora_A));
}

TEST_F(Peft, SitesThatTheTypeDoesNotHaveAreNamed) {
  auto attention = testing::small_flamingo<Flamingo<LoRA<Attn>>>(golden, kFlamingoLora);
  EXPECT_ERROR(
      load_peft(attention, flamingo), HasSubstr("peft_flamingo"),
      HasSubstr(
          "adapters at CrossAttn, CrossMlp, SelfAttn; the model's type has them at CrossAttn, SelfAttn"));
  auto none = testing::small_flamingo<Flamingo<NoAdapter>>(golden);
  EXPECT_ERROR(load_peft(none, flamingo), HasSubstr("the model's type has them at nothing"));
}

TEST_F(Peft, SitesThatTheFolderDoesNotHaveMayBeLeftSilent) {
  using All = Flamingo<LoRA<Attn, FeedForward>>;
  auto all = testing::small_flamingo<All>(golden, kFlamingoLora);
  all.lang_encoder.model.layers[0].mlp.up_proj.adapter.lora_B.fill_(1);
  EXPECT_ERROR(load_peft(all, flamingo), HasSubstr("has them at CrossAttn, CrossMlp, Mlp, SelfAttn"));
  load_peft(all, flamingo, {.sites_may_be_missing = true});
  expect_flamingo_logits(all, golden);
}

TEST_F(Peft, AnotherScaleOrRankIsAnError) {
  auto scaled = model({.rank = 3, .alpha = 5});
  EXPECT_ERROR(load_peft(scaled, flamingo), HasSubstr("r 3, lora_alpha 4"), HasSubstr("1.66667"));
  auto stabilised = model({.rank = 3, .alpha = 4, .rank_stabilized = true});
  EXPECT_ERROR(load_peft(stabilised, flamingo), HasSubstr("a scale of 1.33333"));
  auto ranked = model({.rank = 4, .alpha = 16.0 / 3});
  EXPECT_ERROR(
      load_peft(ranked, flamingo), HasSubstr("wrong shape"),
      HasSubstr("gated_cross_attn.0.attn.to_q.adapter.lora_A: expected Float [4, 24], found Float [3, 24]"));
}

TEST_F(Peft, ModulesThatAreMissingOrNotThereAreListed) {
  auto adapter = read_peft(flamingo);
  std::erase_if(adapter.tensors, [](const auto& item) {
    return item.first.find("layers.0.decoder_layer.self_attn.q_proj.lora_B") != std::string::npos;
  });
  adapter.config["layers_to_transform"] = Json({1});
  auto loaded = model();
  const auto before = loaded.lang_encoder.model.layers[1].self_attn.q_proj.adapter.lora_A.clone();
  EXPECT_ERROR(load_peft(loaded, adapter), HasSubstr("missing (1)"),
               HasSubstr("lang_encoder.model.layers.0.self_attn.q_proj.adapter.lora_B"),
               HasSubstr("layers_to_transform: [1]"));
  EXPECT_TRUE(loaded.lang_encoder.model.layers[1].self_attn.q_proj.adapter.lora_A.equal(before));

  adapter = read_peft(flamingo);
  adapter.tensors.emplace_back("base_model.model.lang_encoder.model.layers.7.self_attn.q_proj.lora_A.weight",
                               adapter.tensors.front().second);
  EXPECT_ERROR(load_peft(loaded, adapter), HasSubstr("unexpected (1)"),
               HasSubstr("model.layers.7.self_attn.q_proj.lora_A"));
  adapter.tensors.back().first = "base_model.model.lang_encoder.lm_head.lora_A.weight";
  EXPECT_ERROR(load_peft(loaded, adapter), HasSubstr("lang_encoder.lm_head\" is at no adapter site"));
}

TEST_F(Peft, TensorsThatAreNoFactorsAreRefused) {
  for (const char* name :
       {"base_model.model.model.embed_tokens.weight", "base_model.model.model.layers.0.q_proj.lora_magnitude",
        "base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.x.lora_B.bias"}) {
    EXPECT_ERROR(parse_peft_key(name, "file"), HasSubstr("file: tensor \""), HasSubstr(name),
                 HasSubstr("is none of LoRA's or DoRA's"));
  }
}

// A model would be built with it before a tensor is compared.
TEST_F(Peft, ARankThatNoTensorHasIsRefused) {
  const ScratchFolder scratch;
  std::filesystem::copy(llama, scratch / "adapter");
  Json config = read_json(llama / kPeftConfig);
  config["r"] = 1'000'000'000'000;
  testing::put(scratch / "adapter" / kPeftConfig, config.dump());
  EXPECT_ERROR(read_peft(scratch / "adapter"),
               HasSubstr("adapter_config.json: r: expected 1 to 65536, found 1000000000000"));
  config["r"] = 60'000;
  testing::put(scratch / "adapter" / kPeftConfig, config.dump());
  EXPECT_ERROR(read_peft(scratch / "adapter"), HasSubstr("adapter_config.json: r: found 60000, which no"));
}

TEST_F(Peft, OptionsThatChangeTheResultAreRefusedByName) {
  const Json good = read_json(flamingo / kPeftConfig);
  EXPECT_NO_THROW(parse_peft_config(good, "f"));
  const std::pair<const char*, Json> refused[] = {{"bias", "lora_only"},
                                                  {"use_dora", "yes"},
                                                  {"modules_to_save", Json({"lm_head"})},
                                                  {"rank_pattern", {{"q_proj", 4}}},
                                                  {"alpha_pattern", {{"q_proj", 4}}},
                                                  {"fan_in_fan_out", true},
                                                  {"lora_bias", true},
                                                  {"trainable_token_indices", Json({1, 2})},
                                                  {"layer_replication", Json({Json({0, 1})})},
                                                  {"target_parameters", Json({"x"})},
                                                  {"use_qalora", true},
                                                  {"arrow_config", {{"k", 1}}},
                                                  {"alora_invocation_tokens", Json({3})},
                                                  {"megatron_config", {{"k", 1}}},
                                                  {"an_option_of_the_future", 3},
                                                  {"init_lora_weights", "pissa_niter_4"},
                                                  {"init_lora_weights", "olora"},
                                                  {"init_lora_weights", "loftq"},
                                                  {"init_lora_weights", "corda"},
                                                  {"init_lora_weights", "lora_ga"},
                                                  {"peft_type", "LOHA"},
                                                  {"r", 0},
                                                  {"r", 1'000'000'000'000},
                                                  {"r", 2.5},
                                                  {"use_rslora", "true"},
                                                  {"kasa_config", {{"beta", 1e-4}}},
                                                  {"lora_alpha", 0},
                                                  {"lora_alpha", -4},
                                                  {"r", "three"},
                                                  {"lora_alpha", nullptr}};
  for (const auto& [key, value] : refused) {
    Json config = good;
    config[key] = value;
    EXPECT_ERROR(parse_peft_config(config, "f"), HasSubstr("f: "), HasSubstr(key)) << value;
  }
  const std::pair<const char*, Json> harmless[] = {{"lora_dropout", 0.3},
                                                   {"init_lora_weights", "gaussian"},
                                                   {"init_lora_weights", false},
                                                   {"task_type", "SEQ_2_SEQ_LM"},
                                                   {"exclude_modules", "vision.*"},
                                                   {"layers_to_transform", Json({0, 1})},
                                                   {"an_option_of_the_future", nullptr}};
  for (const auto& [key, value] : harmless) {
    Json config = good;
    config[key] = value;
    EXPECT_NO_THROW(parse_peft_config(config, "f")) << key;
  }
}

TEST_F(Peft, MergedAdaptersAreNotLoadedOver) {
  auto loaded = model();
  load_peft(loaded, flamingo);
  merge_adapters(loaded);
  expect_flamingo_logits(loaded, golden);
  EXPECT_ERROR(load_peft(loaded, flamingo), HasSubstr("unmerge"));
  unmerge_adapters(loaded);
  load_peft(loaded, flamingo);
  expect_flamingo_logits(loaded, golden);
}

TEST_F(Peft, NumbersThatAreNotFiniteAndRunFolders) {
  const testing::ScratchFolder scratch;
  auto loaded = model();
  load_peft(loaded, flamingo);
  save_peft(loaded, scratch / "run" / "adapter");
  EXPECT_TRUE(is_peft_folder(scratch / "run"));
  EXPECT_EQ(read_peft(scratch / "run").tensors.size(), read_peft(flamingo).tensors.size());
  StateDict dict = load_safetensors(scratch / "run/adapter" / kPeftWeights);
  for (auto& [name, t] : dict) t = t.clone();
  const auto name = dict.back().first;
  dict.back().second.flatten()[0].fill_(std::nan(""));
  save_safetensors(scratch / "run/adapter" / kPeftWeights, dict);
  const auto message = HasSubstr("has numbers that are not finite");
  EXPECT_ERROR(load_peft(loaded, scratch / "run"), HasSubstr(name), message);
  {
    at::NoGradGuard no_grad;
    visit(loaded, [](const std::string& key, Tensor& t) {
      if (key.ends_with("lora_B")) t.fill_(HUGE_VAL);
    });
  }
  EXPECT_ERROR(save_peft(loaded, scratch / "other"), message);
  EXPECT_EQ(scratch.names(), std::set<std::string>{"run"});
}

}  // namespace
}  // namespace morphvlm::peft_test
