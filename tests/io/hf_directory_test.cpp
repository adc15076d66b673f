#include "morphvlm/io/hf_directory.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::hf_directory_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;

const StateDict kDict{{"a.weight", testing::formula_input("a", {3, 4})},
                      {"b.weight", testing::formula_input("b", {5})},
                      {"c.bias", testing::formula_input("c", {2, 2})}};

void expect_same(const StateDict& found) {
  ASSERT_EQ(found.size(), kDict.size());
  for (const auto& [key, tensor] : kDict) {
    const auto it = std::ranges::find(found, key, &StateDict::value_type::first);
    ASSERT_NE(it, found.end()) << key;
    EXPECT_TRUE(it->second.equal(tensor)) << key;
  }
}

struct HfDirectory : ::testing::Test {
  ScratchFolder scratch;
  std::filesystem::path folder = scratch / "model";

  void save_sharded() const { save_hf_directory(folder, {{"model_type", "llama"}}, kDict, 48); }
  void edit_index(auto&& change) const {
    const auto path = folder / "model.safetensors.index.json";
    Json index = read_json(path);
    change(index.at("weight_map"));
    put(path, index.dump());
  }
};

TEST_F(HfDirectory, WholeAndBack) {
  save_hf_directory(folder, {{"model_type", "llama"}}, kDict);
  EXPECT_EQ(scratch.names(), std::set<std::string>{"model"});
  EXPECT_FALSE(std::filesystem::exists(folder / "model.safetensors.index.json"));
  EXPECT_EQ(read_hf_config(folder).at("model_type"), "llama");
  EXPECT_EQ(open_safetensors(folder / "model.safetensors").header.metadata.at("format"), "pt");
  expect_same(load_hf_weights(folder));
}

TEST_F(HfDirectory, InShardsAndBack) {
  save_sharded();
  EXPECT_TRUE(std::filesystem::exists(folder / "model-00001-of-00002.safetensors"));
  const Json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size"), 4 * (12 + 5 + 4));
  EXPECT_EQ(index.at("weight_map").at("c.bias"), "model-00002-of-00002.safetensors");
  expect_same(load_hf_weights(folder));
}

// The config says whether a head that shares its memory with the embedding is shared again by the reader.
TEST_F(HfDirectory, ATiedHeadIsWrittenOnce) {
  StateDict tied = kDict;
  tied.emplace_back("head.weight", tied[0].second);
  tied.emplace_back("other.weight", tied[0].second.t());  // the same memory, other values
  save_hf_directory(folder, {{"tie_word_embeddings", true}}, tied, 48);
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& [name, t] : load_hf_weights(folder)) found.insert(name);
    return found;
  };
  EXPECT_EQ(names(), (std::set<std::string>{"a.weight", "b.weight", "c.bias", "other.weight"}));
  EXPECT_EQ(read_json(folder / "model.safetensors.index.json").at("metadata").at("total_size"),
            4 * (12 + 5 + 4 + 12));
  for (const Json& config : {Json{{"tie_word_embeddings", false}}, Json{{"model_type", "llama"}}}) {
    save_hf_directory(folder, config, tied);
    EXPECT_TRUE(names().contains("head.weight"));
  }
}

TEST_F(HfDirectory, TorchFilesAreReadWhereThereIsNothingElse) {
  std::filesystem::create_directory(folder);
  EXPECT_ERROR(load_hf_weights(folder), HasSubstr("no weights; looked for model.safetensors, "));
  std::filesystem::copy_file(testing::golden_path("torch_files") / "module.bin",
                             folder / "pytorch_model.bin");
  EXPECT_EQ(load_hf_weights(folder).size(), 2u);
  std::filesystem::rename(folder / "pytorch_model.bin", folder / "part.bin");
  put(folder / "pytorch_model.bin.index.json",
      R"({"weight_map": {"weight": "part.bin", "bias": "part.bin"}})");
  EXPECT_EQ(load_hf_weights(folder).size(), 2u);
}

TEST_F(HfDirectory, AnIndexThatDoesNotFitItsShardsIsRefused) {
  save_sharded();
  edit_index([](Json& map) { map["d.weight"] = map["a.weight"]; });
  EXPECT_ERROR(load_hf_weights(folder), HasSubstr("missing (1):"),
               HasSubstr("d.weight in model-00001-of-00002"));
  save_sharded();
  edit_index([](Json& map) { map.erase("c.bias"); });
  EXPECT_ERROR(load_hf_weights(folder), HasSubstr("not in the index (1):"), HasSubstr("c.bias in"));
  save_sharded();
  edit_index([](Json& map) { map["c.bias"] = map["a.weight"]; });
  EXPECT_ERROR(load_hf_weights(folder), HasSubstr("missing (1):"), HasSubstr("not in the index (1):"));
}

TEST_F(HfDirectory, AnIndexDoesNotReachOutOfItsFolder) {
  for (const std::string name : {"../model.safetensors", "/etc/passwd", "", "..", "sub/x.safetensors"}) {
    save_sharded();
    edit_index([&](Json& map) { map["c.bias"] = name; });
    EXPECT_ERROR(load_hf_weights(folder), HasSubstr("expected the name of a file in the same folder"))
        << name;
  }
}

TEST_F(HfDirectory, OtherFilesAreRefused) {
  EXPECT_ERROR(load_tensors(scratch / "x.onnx"), HasSubstr("expected a file of tensors"));
  put(scratch / "config.json", "[]");
  EXPECT_ERROR(read_hf_config(scratch.path), HasSubstr("expected an object, found array"));
  EXPECT_ERROR(save_hf_directory(folder, {}, {}), HasSubstr("expected tensors to save"));
}

}  // namespace
}  // namespace morphvlm::hf_directory_test
