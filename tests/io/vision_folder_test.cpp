// A vision folder with OpenAI's own file, a TorchScript archive (tests/golden/torch_script.py).
#include "morphvlm/io/vision_folder.hpp"

#include <gtest/gtest.h>

#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::vision_folder_test {
namespace {

using testing::golden_path;
using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;

const char *kFile = "ViT-small.pt", *kConfig = "open_clip_config.json";

ClipVitModule load(const std::filesystem::path& folder, std::filesystem::path& source) {
  const auto config = vision_folder_config(folder, VitTokens::after_ln_post, std::type_identity<ClipViT>{});
  auto tower = ClipVitModule::init(config, {at::TensorOptions(at::kFloat)});
  StateDict dict = vision_folder_weights(folder, tower, source);
  for (auto& [name, t] : dict) t = t.to(at::kFloat);
  load_state_dict(tower, dict, folder.string());
  return tower;
}

TEST(VisionFolder, OpenAisArchive) {
  const auto golden = testing::open_golden("torch_script");
  const auto folder = golden_path("torch_script");
  EXPECT_EQ(vision_folder_type(folder), "clip_vit");
  std::filesystem::path source;
  at::NoGradGuard no_grad;
  const Tensor tokens = load(folder, source)(testing::formula_input("pixels", {2, 3, 12, 12}));
  EXPECT_CLOSE(tokens, golden["tokens"], 1e-5);
  EXPECT_EQ(source.filename(), kFile);
}

TEST(VisionFolder, WhatOpenAisArchiveNeeds) {
  const ScratchFolder folder;
  std::filesystem::copy(golden_path("torch_script") / kFile, folder / kFile);
  EXPECT_ERROR(vision_folder_type(folder.path),
               HasSubstr("ViT-small.pt needs open_clip_config.json beside it"));
  std::string config = testing::contents(golden_path("torch_script") / kConfig);
  config.replace(config.find("\"quick_gelu\": true"), 18, "\"quick_gelu\": false");
  put(folder / kConfig, config);
  std::filesystem::path source;
  EXPECT_ERROR(load(folder.path, source), HasSubstr(kConfig),
               HasSubstr("quick_gelu: expected true for OpenAI's weights (ViT-small.pt)"));
  std::filesystem::remove(folder / kFile);
  EXPECT_ERROR(load(folder.path, source), HasSubstr("no weights; looked for open_clip_model.safetensors"));
}

}  // namespace
}  // namespace morphvlm::vision_folder_test
