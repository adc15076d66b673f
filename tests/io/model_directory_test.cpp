// Model folders (tests/golden/model_dir): loaded as a whole, with an adapter of PEFT, and wrong in many ways.
#include "morphvlm/io/model_directory.hpp"

#include <gtest/gtest.h>

#include "morphvlm/io/peft.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/peft_case.hpp"

namespace morphvlm::model_directory_test {
namespace {

using ::testing::HasSubstr;
using Plain = testing::SmallFlamingo<NoAdapter>;
using Adapted = testing::SmallFlamingo<LoRA<Attn, CrossMlp>>;

const Init kNoMemory{at::TensorOptions(at::kFloat).device(at::kMeta)};

struct ModelFolder : ::testing::Test {
  testing::Golden golden = testing::open_golden("checkpoint");
  testing::ScratchFolder scratch;
  std::filesystem::path folder = scratch / "model";

  void SetUp() override {
    std::filesystem::copy(testing::golden_path("model_dir"), folder,
                          std::filesystem::copy_options::recursive);
  }

  void edit(const std::string& file, auto&& change) const {
    Json json = read_json(folder / file);
    change(json);
    testing::put(folder / file, json.dump());
  }

  template <class Model>
  void expect_logits(const Model& model, const char* name) const {
    at::NoGradGuard no_grad;
    const TextInput text{.ids = golden["input_ids"], .attention_mask = golden["attention_mask"]};
    const Tensor logits = model(testing::small_pixels(), text).slice(-1, 0, 59);
    EXPECT_CLOSE(testing::where_valid(logits, golden["attention_mask"]),
                 testing::where_valid(golden[name], golden["attention_mask"]), 1e-5);
  }

  Plain load() const {
    const auto opened = open_model_directory(folder);
    WeightSources sources;
    return load_model_directory<Plain>(opened, model_directory_config<Plain>(opened), sources, kNoMemory);
  }
};

TEST_F(ModelFolder, GivesTheReferencesLogits) {
  const auto opened = open_model_directory(folder);
  EXPECT_EQ(opened.vision_type, "clip_vit");
  EXPECT_EQ(opened.language_type, "llama");
  const auto model = load();
  EXPECT_EQ(model.config.language.vocab_size, 61);
  EXPECT_EQ(trainable_count(model), 0);
  expect_logits(model, "logits");
}

TEST_F(ModelFolder, WithAnAdapterOfPeftGivesTheReferencesLogits) {
  const auto opened = open_model_directory(folder);
  const auto adapter = read_peft(testing::golden_path("peft_flamingo"));
  auto config = model_directory_config<Adapted>(opened);
  config.adapter = adapter.lora;
  WeightSources sources;
  auto model = load_model_directory<Adapted>(opened, config, sources, kNoMemory);
  load_peft(model, adapter);
  expect_logits(model, "peft/logits");
}

TEST_F(ModelFolder, ATowerUnderTransformersNamesGivesTheSameLogits) {
  const auto tower = load().vision_encoder;
  const ClipVitConfig c = vision_folder_config(folder / "vision", {}, std::type_identity<ClipViT>{});
  const Json config{{"model_type", "clip_vision_model"},
                    {"architectures", {"CLIPVisionModelWithProjection"}},
                    {"image_size", c.image_size},
                    {"patch_size", c.patch_size},
                    {"hidden_size", c.hidden_size},
                    {"num_hidden_layers", c.num_hidden_layers},
                    {"num_attention_heads", c.num_attention_heads},
                    {"intermediate_size", c.intermediate_size},
                    {"projection_dim", c.projection_dim},
                    {"hidden_act", to_json(c).at("hidden_act")}};
  std::filesystem::remove_all(folder / "vision");
  save_hf_directory(folder / "vision", config, vit_to_hf(state_dict(tower), HfVit::clip));
  EXPECT_EQ(open_model_directory(folder).vision_type, "clip_vit");
  expect_logits(load(), "logits");
  edit("vision/config.json", [](Json& j) { j["intermediate_size"] = 5; });
  EXPECT_ERROR(load(), HasSubstr("c_fc.weight: expected"));
}

TEST_F(ModelFolder, HoldsFrozenPartsInTheDtypeThatItAsksFor) {
  edit("config.json", [](Json& j) { j["dtype"] = "bfloat16"; });
  const auto opened = open_model_directory(folder);
  WeightSources sources;
  auto model = load_model_directory<Plain>(opened, model_directory_config<Plain>(opened), sources);
  EXPECT_EQ(model.vision_encoder.conv1.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(model.lang_encoder.token_tables().front()->scalar_type(), at::kBFloat16);
  EXPECT_EQ(model.perceiver.latents.scalar_type(), at::kFloat);
  edit("config.json", [](Json& j) { j["dtype"] = "int8"; });
  EXPECT_ERROR(open_model_directory(folder), HasSubstr("dtype: expected one of float32, bfloat16"));
}

TEST_F(ModelFolder, LoadedTwiceItIsTheSameModel) {
  const auto first = state_dict(load()), second = state_dict(load());
  for (std::size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(first[i].second.equal(second[i].second)) << first[i].first;
}

TEST_F(ModelFolder, WhatIsWrongIsNamed) {
  edit("config.json", [](Json& j) { j["media_token_id"] = 61; });
  EXPECT_ERROR(load(), HasSubstr("config.json: media_token_id 61"), HasSubstr("vocab_size 61"));
  edit("config.json", [](Json& j) { j["media_token_id"] = 60, j["depth"] = 3; });
  EXPECT_ERROR(load(), HasSubstr("config.json"), HasSubstr("depth"));
  edit("config.json", [](Json& j) { j.erase("depth"), j["cross_attention"]["every"] = 1; });
  EXPECT_ERROR(load(), HasSubstr("in none of the files"), HasSubstr("gated_cross_attn.0.attn_gate"));
}

// Sizes are believed before a weight is read: these would take memory without end, or are no sizes.
TEST_F(ModelFolder, SizesThatNoModelHasAreRefused) {
  const std::tuple<const char*, Json::json_pointer, Json, const char*> wrong[] = {
      {"config.json", Json::json_pointer("/perceiver/depth"), 1'000'000'000,
       "perceiver.depth: expected 1 to 1024"},
      {"config.json", Json::json_pointer("/perceiver/heads"), -2, "perceiver.heads: expected 1 to"},
      {"config.json", Json::json_pointer("/cross_attention/ff_mult"), 1'000'000'000'000,
       "cross_attention.ff_mult"},
      {"config.json", Json::json_pointer("/vocab_size"), 1'000'000,
       "vocab_size: expected at most 65536 more"},
      {"config.json", Json::json_pointer("/vocab_size"), 1'000'000'000'000, "vocab_size: expected 1 to"},
      {"language/config.json", Json::json_pointer("/num_hidden_layers"), 1'000'000'000,
       "num_hidden_layers: expected"},
      {"language/config.json", Json::json_pointer("/num_attention_heads"), 0,
       "num_attention_heads: expected"},
      {"language/config.json", Json::json_pointer("/num_key_value_heads"), -4,
       "num_key_value_heads: expected"},
      {"vision/open_clip_config.json", Json::json_pointer("/model_cfg/vision_cfg/layers"), 1'000'000'000,
       "layers: expected 1 to 1024, found 1000000000"},
      {"vision/open_clip_config.json", Json::json_pointer("/model_cfg/vision_cfg/width"), -16,
       "width: expected"},
      {"vision/open_clip_config.json", Json::json_pointer("/model_cfg/vision_cfg/mlp_ratio"), 1e300,
       "mlp_ratio: found"},
      {"vision/open_clip_config.json", Json::json_pointer("/model_cfg/embed_dim"), 1e300, "embed_dim"}};
  for (const auto& [file, key, value, message] : wrong) {
    const std::string before = testing::contents(folder / file);
    edit(file, [&](Json& j) { j[key] = value; });
    EXPECT_ERROR(load(), HasSubstr(file), HasSubstr(message)) << key;
    testing::put(folder / file, before);
  }
  EXPECT_NO_THROW(load());
}

TEST_F(ModelFolder, MissingPartsAreNamed) {
  std::filesystem::remove(folder / "flamingo/checkpoint.pt");
  EXPECT_ERROR(load(), HasSubstr("flamingo: no weights; looked for checkpoint.safetensors, checkpoint.pt"));
  std::filesystem::remove(folder / "vision/model.safetensors");
  EXPECT_ERROR(load(), HasSubstr("vision: no weights; looked for open_clip_model.safetensors"));
  std::filesystem::remove(folder / "vision/open_clip_config.json");
  EXPECT_ERROR(load(),
               HasSubstr("expected open_clip_config.json, transformers' config.json or EfficientNet"));
}

TEST_F(ModelFolder, ALanguageModelOfAnotherKindIsRefused) {
  edit("language/config.json", [](Json& j) { j["hidden_act"] = "gelu"; });
  EXPECT_ERROR(load(), HasSubstr("hidden_act"), HasSubstr("silu"));
}

}  // namespace
}  // namespace morphvlm::model_directory_test
