// What transformers and open_clip make of configs in many spellings (tests/golden/hf_configs.py), and every
// key on the readers' lists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>

#include <functional>
#include <span>
#include <string>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/hf_vision_config.hpp"
#include "morphvlm/io/open_clip_config.hpp"
#include "morphvlm/io/peft_config.hpp"
#include "morphvlm/nn/rope.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::hf_config_keys_test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::message_of;

Json goldens() { return read_json(testing::golden_path("hf_configs.json")); }

Json with(Json json, const Json& keys) {
  for (const auto& [key, value] : keys.items()) json[key] = value;
  return json;
}

// Cosines and sines of one step of position, and the reference's.
void expect_frequencies(const Json& expected, std::int64_t dim, double theta, const std::string& what) {
  const auto frequencies = expected.get<std::vector<double>>();
  ASSERT_EQ(2 * frequencies.size(), static_cast<std::size_t>(dim)) << what;
  const RopeTable table = rope_table(at::ones({1, 1}, at::kLong), dim, theta, at::kDouble);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double sine = table.sin.flatten()[static_cast<std::int64_t>(i)].item<double>();
    EXPECT_NEAR(sine / std::sin(frequencies[i]), 1, 1e-5) << what << " pair " << i;
  }
}

TEST(HfConfigs, RotationsAreTransformers) {
  const Json golden = goldens();
  std::size_t read = 0, refused = 0;
  for (const Json& rope : golden.at("ropes")) {
    const std::string what = rope.dump();
    const Json json = with(golden.at("sizes"), rope.at("keys"));
    const bool llama = rope.at("model_type") == "llama";
    if (rope.value("rope_type", "") == "default") {
      ++read;
      if (llama) {
        const LlamaConfig c = llama_config_from_hf(json, what);
        expect_frequencies(rope.at("inverse_frequencies"), c.attention().head_dim, c.rope_theta, what);
      } else {
        const GPTNeoXConfig c = gpt_neox_config_from_hf(json, what);
        expect_frequencies(rope.at("inverse_frequencies"), c.rotary_dim(), c.rotary_emb_base, what);
      }
      continue;
    }
    ++refused;
    const std::string message = message_of([&] {
      if (llama)
        llama_config_from_hf(json, "c");
      else
        gpt_neox_config_from_hf(json, "c");
    });
    // A scaling is named where it stands; the reference fails on the others.
    if (rope.contains("rope_type"))
      EXPECT_THAT(message, HasSubstr("type: expected \"default\", found " + rope.at("rope_type").dump()))
          << what;
    else
      EXPECT_THAT(message, AnyOf(HasSubstr("rope_t"), HasSubstr("type"))) << what;
  }
  EXPECT_GT(read, 30u);
  EXPECT_GT(refused, 40u);
}

TEST(HfConfigs, UnknownKeysOfARotationAreRefused) {
  const auto message = [](const Json& rope) {
    const Json json = with(goldens().at("sizes"), Json{{"rope_parameters", rope}});
    return message_of([&] { llama_config_from_hf(json, "c"); });
  };
  EXPECT_EQ(message({{"rope_theta", 1e4}, {"factor", 4.0}}),
            "c: rope_parameters: unknown key \"factor\", found 4.0");
  EXPECT_EQ(message({{"full_attention", {{"rope_theta", 1e6}}}}),
            "c: rope_parameters: unknown key \"full_attention\", found {\"rope_theta\":1000000.0}");
  EXPECT_EQ(message({{"rope_type", "default"}, {"type", "linear"}, {"factor", 2}}),
            "c: rope_parameters: type: expected \"default\", found \"linear\"");
  EXPECT_EQ(message({{"rope_theta", 0}}),
            "c: rope_parameters: rope_theta: expected a positive number, found 0");
  EXPECT_EQ(message(3), "c: rope_parameters: expected an object, found 3");
}

TEST(HfConfigs, TowersAreTransformers) {
  const Json golden = goldens();
  for (const Json& tower : golden.at("towers")) {
    const Json json = with(tower.at("keys"), Json{{"model_type", tower.at("model_type")}});
    const Json found = to_json(vit_config_from_hf(json, "c").model);
    for (const auto& [key, value] : tower.at("expected").items())
      EXPECT_EQ(found.at(key), value) << tower.dump() << key;
  }
  EXPECT_GT(golden.at("towers").size(), 10u);
}

TEST(HfConfigs, ASideMayBeWrittenTwice) {
  const auto size = [](const Json& side) {
    return vit_config_from_hf({{"model_type", "dinov2"}, {"image_size", side}}, "c").model.image_size;
  };
  EXPECT_EQ(size(Json({42, 42})), 42);
  EXPECT_EQ(message_of([&] {
              size(Json({42, 28}));
            }),
            "c: image_size: expected a number or the sides of a square, found [42,28]");
}

TEST(OpenClipConfigs, TokensAreOpenClips) {
  const auto golden = testing::open_golden("open_clip_configs");
  const Tensor pixels = testing::formula_input("open_clip.pixels", {1, 3, 15, 15});
  const Init shapes{at::TensorOptions(at::kFloat).device(at::kMeta)};
  for (const auto& [name, about] : golden.meta.at("cases").items()) {
    ClipVitConfig c = vit_config_from_open_clip({{"model_cfg", about.at("model_cfg")}}, name);
    for (const auto& [tokens, which] : enum_names<VitTokens>) {
      c.tokens = tokens;
      auto tower = ClipVitModule::init(c, shapes);
      load_state_dict(tower, testing::formula_state(about.at("parameters"), "visual."), name);
      const Tensor &found = tower(pixels), expected = golden[name + '/' + std::string(which)];
      EXPECT_LE(testing::relative_error(found, expected), 1e-5) << name << ' ' << which;
    }
  }
  EXPECT_GT(golden.meta.at("cases").size(), 8u);
}

TEST(OpenClipConfigs, WhatOpenClipFailsOnIsRefused) {
  const auto golden = testing::open_golden("open_clip_configs");
  const auto message = [&](const char* name) {
    return message_of([&] {
      vit_config_from_open_clip({{"model_cfg", golden.meta.at("refused").at(name)}}, "c");
    });
  };
  EXPECT_EQ(message("act_kwargs_of_quick_gelu"),
            "c: act_kwargs: expected none with quick_gelu, found {\"approximate\":\"tanh\"}");
  EXPECT_EQ(message("unknown_key"), "c: vision_cfg: unknown key \"depth\", found 3");
  EXPECT_EQ(message("unknown_norm_kwarg"), "c: norm_kwargs: unknown key \"epsilon\", found 0.001");
}

// A reader's list, a file that it reads, and where in the file the list's object stands.
struct Listed {
  std::string name;
  std::span<const FileKey> keys;
  Json file;
  Json::json_pointer object;
  std::function<Json(const Json&)> read;
};

template <class Config>
std::function<Json(const Json&)> language() {
  return [](const Json& json) { return to_json(language_config_from_hf<Config>(json, "c")); };
}

std::vector<Listed> all_lists() {
  const Json sizes = goldens().at("sizes");
  const Json rope = with(sizes, {{"rope_parameters", {{"rope_theta", 1e4}}}});
  const Json mpt{{"vocab_size", 31}, {"d_model", 8}, {"n_layers", 1}, {"n_heads", 2}, {"no_bias", true}};
  const Json nested = with(mpt, {{"expansion_ratio", 4}, {"attn_config", {{"alibi", true}}}});
  const Json flat = with(mpt, {{"mlp_ratio", 4}, {"alibi", true}});
  const Json clip{{"model_type", "clip"}, {"vision_config", Json::object()}};
  const Json open_clip{{"model_cfg", {{"embed_dim", 4}, {"vision_cfg", {{"norm_kwargs", {{"eps", 1e-5}}}}}}}};
  const Json peft{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}};
  const auto vit = [](const Json& json) { return to_json(vit_config_from_hf(json, "c").model); };
  const auto from_open_clip = [](const Json& json) { return to_json(vit_config_from_open_clip(json, "c")); };
  const auto from_peft = [](const Json& json) { return to_json(parse_peft_config(json, "c")); };
  const auto at = [](const char* text) { return Json::json_pointer(text); };
  return {{"llama", kLlamaConfigKeys, sizes, at(""), language<LlamaConfig>()},
          {"llama, any", kHfConfigKeys, sizes, at(""), language<LlamaConfig>()},
          {"llama rope", kLlamaRopeKeys, rope, at("/rope_parameters"), language<LlamaConfig>()},
          {"neox", kGptNeoXConfigKeys, sizes, at(""), language<GPTNeoXConfig>()},
          {"neox, any", kHfConfigKeys, sizes, at(""), language<GPTNeoXConfig>()},
          {"neox rope", kGptNeoXRopeKeys, rope, at("/rope_parameters"), language<GPTNeoXConfig>()},
          {"biogpt", kBioGptConfigKeys, sizes, at(""), language<BioGPTConfig>()},
          {"biogpt, any", kHfConfigKeys, sizes, at(""), language<BioGPTConfig>()},
          {"mpt", kMptConfigKeys, nested, at(""), language<MPTConfig>()},
          {"mpt, any", kHfConfigKeys, nested, at(""), language<MPTConfig>()},
          {"mpt attention", kMptAttentionKeys, nested, at("/attn_config"), language<MPTConfig>()},
          {"mpt feed-forward", kMptFeedForwardKeys, with(nested, {{"ffn_config", {{"fc_type", "torch"}}}}),
           at("/ffn_config"), language<MPTConfig>()},
          {"mosaic_gpt", kMptConfigKeys, flat, at(""), language<MPTConfig>()},
          {"mosaic_gpt attention", kMosaicGptAttentionKeys, flat, at(""), language<MPTConfig>()},
          {"clip", kHfWholeKeys, clip, at(""), vit},
          {"clip, any", kHfConfigKeys, clip, at(""), vit},
          {"clip tower", kHfTowerKeys, clip, at("/vision_config"), vit},
          {"clip tower, any", kHfConfigKeys, clip, at("/vision_config"), vit},
          {"siglip tower", kHfTowerKeys, {{"model_type", "siglip_vision_model"}}, at(""), vit},
          {"dinov2", kDinov2Keys, {{"model_type", "dinov2"}}, at(""), vit},
          {"dinov2, any", kHfConfigKeys, {{"model_type", "dinov2"}}, at(""), vit},
          {"open_clip model", kOpenClipModelKeys, open_clip, at("/model_cfg"), from_open_clip},
          {"open_clip tower", kOpenClipVisionKeys, open_clip, at("/model_cfg/vision_cfg"), from_open_clip},
          {"open_clip norms", kOpenClipNormKeys, open_clip, at("/model_cfg/vision_cfg/norm_kwargs"),
           from_open_clip},
          {"open_clip activation", kOpenClipActivationKeys, with(open_clip, {}),
           at("/model_cfg/vision_cfg/act_kwargs"), from_open_clip},
          {"peft", kPeftConfigKeys, peft, at(""), from_peft}};
}

Json changed(const Listed& list, std::string_view key, const Json& value) {
  Json file = list.file;
  file[list.object][std::string(key)] = value;
  return file;
}

// Of MPT's two forms each reads its own keys.
bool is_of_other_form(const Listed& list, std::string_view key) {
  return (list.name == "mosaic_gpt" && (key == "expansion_ratio" || key == "attn_config")) ||
         (list.name == "mpt" && key == "mlp_ratio");
}

TEST(ConfigKeys, EveryHonouredAndRefusedKeyIsNamed) {
  const Json impossible{{"neither", "a number nor a name"}};
  for (const Listed& list : all_lists()) {
    EXPECT_NO_THROW(list.read(list.file)) << list.name;
    for (const FileKey& key : list.keys) {
      if (key.use == KeyUse::ignored || is_of_other_form(list, key.name)) continue;
      const bool is_object = key.name == "ffn_config" || key.name == "act_kwargs" ||
                             key.name == "norm_kwargs" || key.name == "attn_config" ||
                             key.name == "vision_cfg" || key.name == "vision_config" ||
                             key.name == "vision_config_dict";
      const std::string message =
          message_of([&] { list.read(changed(list, key.name, is_object ? Json(3) : impossible)); });
      const std::string name(key.name);
      EXPECT_THAT(message, AnyOf(HasSubstr(' ' + name + ':'), HasSubstr("key \"" + name + '"'))) << list.name;
    }
  }
}

TEST(ConfigKeys, WhatIsAcceptedOrPassedOverChangesNothing) {
  for (const Listed& list : all_lists()) {
    const Json plain = list.read(list.file);
    for (const FileKey& key : list.keys) {
      if (key.use == KeyUse::ignored) {
        EXPECT_EQ(list.read(changed(list, key.name, Json({{"any", "thing"}}))), plain)
            << list.name << ": " << key.name;
      }
      for (std::string_view left = key.use == KeyUse::refused ? key.accepted : std::string_view{};
           !left.empty();) {
        const auto end = std::min(left.find('\n'), left.size());
        EXPECT_EQ(list.read(changed(list, key.name, parse_json(left.substr(0, end), "accepted"))), plain)
            << list.name << ": " << key.name << ": " << left.substr(0, end);
        left = left.substr(std::min(end + 1, left.size()));
      }
    }
  }
}

TEST(ConfigKeys, AListNamesAKeyOnce) {
  for (const Listed& list : all_lists())
    for (const FileKey& key : list.keys)
      EXPECT_EQ(std::ranges::count(list.keys, key.name, &FileKey::name), 1) << list.name << ": " << key.name;
}

TEST(ConfigKeys, OtherNamesOfAnMptsSizesSayTheSame) {
  const Json mpt{{"vocab_size", 31}, {"d_model", 8},   {"n_layers", 1}, {"n_heads", 2},
                 {"no_bias", true},  {"mlp_ratio", 4}, {"alibi", true}, {"hidden_size", 8}};
  EXPECT_EQ(mpt_config_from_hf(mpt, "c").d_model, 8);
  EXPECT_EQ(message_of([&] {
              mpt_config_from_hf(with(mpt, {{"hidden_size", 16}}), "c");
            }),
            "c: hidden_size: expected 8 as d_model, found 16");
}

TEST(ConfigKeys, WhatABioGptLeavesOutIsTransformersDefault) {
  Json json = goldens().at("sizes");
  json.erase("max_position_embeddings");
  EXPECT_EQ(bio_gpt_config_from_hf(json, "c").max_position_embeddings, 1024);
}

TEST(ConfigKeys, ASizeThatIsNullIsMissing) {
  EXPECT_EQ(message_of([&] {
              llama_config_from_hf(with(goldens().at("sizes"), {{"vocab_size", nullptr}}), "c");
            }),
            "c: key \"vocab_size\" is missing");
}

}  // namespace
}  // namespace morphvlm::hf_config_keys_test
