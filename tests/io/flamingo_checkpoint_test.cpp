// OpenFlamingo's checkpoints on top of separately stored parts (tests/golden/checkpoint.py).
#include "morphvlm/io/flamingo_checkpoint.hpp"

#include <gtest/gtest.h>

#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/model/vocabulary.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::flamingo_checkpoint_test {
namespace {

using ::testing::HasSubstr;
using Model = testing::SmallFlamingo<NoAdapter>;

struct FlamingoCheckpoint : ::testing::Test {
  testing::Golden golden = testing::open_golden("checkpoint");
  std::filesystem::path folder = testing::golden_path("model_dir");

  // Everything from its own folder but what the checkpoint brings.
  Model separately(WeightSources& sources) const {
    auto config = testing::small_flamingo_config<Model>(testing::open_golden("peft").meta);
    const Json join = read_json(folder / "config.json");
    config.media_token_id = join.at("media_token_id");
    config.eoc_token_id = join.at("eoc_token_id");
    const auto language = load_hf_weights(folder / "language");
    config.language.vocab_size = join.at("vocab_size");
    Model model = Model::init(config, {at::kFloat, make_generator(1)});
    resize_vocabulary(model.lang_encoder, 59);
    StateDict dict;
    for (const auto& [name, t] : language_weights(model.lang_encoder, language))
      dict.emplace_back("lang_encoder." + name, t);
    take_weights(model, dict, "language", sources);
    resize_vocabulary(model.lang_encoder, config.language.vocab_size, make_generator(2));
    StateDict vision;
    for (const auto& [name, t] : strip_prefix(load_hf_weights(folder / "vision"), "visual."))
      vision.emplace_back("vision_encoder." + name, t);
    take_weights(model, vision, "vision", sources);
    freeze(model);
    return model;
  }

  void expect_reference(const Model& model) const {
    at::NoGradGuard no_grad;
    const Tensor features = model.encode_vision(testing::small_pixels()), latents = model.resample(features);
    EXPECT_CLOSE(latents, golden["media_latents"], 1e-5);
    const TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
    // The head's rows of added tokens are in no file: random there and here.
    const Tensor logits = model.logits(model.hidden(text, latents)).slice(-1, 0, 59);
    EXPECT_CLOSE(testing::where_valid(logits, golden["attention_mask"]),
                 testing::where_valid(golden["logits"], golden["attention_mask"]), 1e-5);
  }
};

TEST_F(FlamingoCheckpoint, OnTopOfItsPartsGivesTheReferencesLogits) {
  for (const auto& path : {folder / "flamingo/checkpoint.pt", testing::golden_path("checkpoint_train.pt")}) {
    WeightSources sources;
    Model model = separately(sources);
    load_flamingo_checkpoint(model, path, sources);
    expect_all_sources(model, sources, "model_dir");
    expect_reference(model);
    const auto text = to_string(source_rows(model, sources));
    EXPECT_THAT(text, HasSubstr("perceiver: "));
    EXPECT_THAT(text, HasSubstr("parameters from " + path.string()));
    EXPECT_THAT(text, HasSubstr("parameters from vision"));
    EXPECT_THAT(text, Not(HasSubstr("made here")));
  }
}

TEST_F(FlamingoCheckpoint, WhatComesFromNowhereIsAnError) {
  WeightSources sources;
  const Model model = separately(sources);
  EXPECT_ERROR(expect_all_sources(model, sources, "model_dir"), HasSubstr("model_dir: in none of the files"),
               HasSubstr("perceiver.latents"), HasSubstr("gated_cross_attn.0.attn_gate"));
}

TEST_F(FlamingoCheckpoint, KeysAreTheReferencesInBothDirections) {
  WeightSources sources;
  Model model = separately(sources);
  const auto keys_of = [&](FlamingoKeys which) {
    std::set<std::string> keys;
    for (const auto& [key, t] : openflamingo_state(model, which)) keys.insert(key);
    return keys;
  };
  const auto expected = [&](const char* which, const Json& others) {
    std::set<std::string> keys;
    for (const auto& key : golden.meta.at("keys").at("llama").at(which))
      keys.insert("lang_encoder." + key.get<std::string>());
    for (const auto& key : others) {
      if (!key.get<std::string>().starts_with("lang_encoder.")) keys.insert(key.get<std::string>());
    }
    return keys;
  };
  EXPECT_EQ(keys_of(FlamingoKeys::trained), expected("trained", golden.meta.at("checkpoint_keys")));
  EXPECT_EQ(keys_of(FlamingoKeys::whole), expected("whole", golden.meta.at("other_keys")));
}

TEST_F(FlamingoCheckpoint, SavedAndReadBackIsTheSameModel) {
  const testing::ScratchFolder scratch;
  WeightSources sources, again;
  Model model = separately(sources);
  load_flamingo_checkpoint(model, folder / "flamingo/checkpoint.pt", sources);
  for (const auto which : {FlamingoKeys::trained, FlamingoKeys::whole}) {
    save_flamingo_checkpoint(model, scratch / "c.safetensors", which);
    Model other = separately(again);
    load_flamingo_checkpoint(other, scratch / "c.safetensors", again);
    expect_reference(other);
  }
}

TEST_F(FlamingoCheckpoint, ForeignAndContradictingTensorsAreRefused) {
  const testing::ScratchFolder scratch;
  WeightSources sources;
  Model model = separately(sources);
  const Tensor gate = at::ones({1});
  const std::string block = "gated_cross_attn_layer.attn_gate";
  save_safetensors(scratch / "a.safetensors",
                   {{"lang_encoder.model.layers.1." + block, gate}, {"unheard.of", gate}});
  EXPECT_ERROR(load_flamingo_checkpoint(model, scratch / "a.safetensors", sources),
               HasSubstr("unexpected (1)"), HasSubstr("unheard.of"));
  save_safetensors(scratch / "b.safetensors",
                   {{"lang_encoder.model.layers.1." + block, gate},
                    {"lang_encoder.gated_cross_attn_layers.1.attn_gate", gate.mul(2)}});
  EXPECT_ERROR(load_flamingo_checkpoint(model, scratch / "b.safetensors", sources),
               HasSubstr("has another value under its other name"));
}

}  // namespace
}  // namespace morphvlm::flamingo_checkpoint_test
