// Saving what was trained, and loading it where it belongs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include <cmath>

#include "morphvlm/io/adapter_file.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::adapter_file_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ScratchFolder;
using testing::TinyVlm;
using Model = TinyVlm<LoRA<Attn>>;

// Without gradients, whatever is trainable: with them other kernels multiply few rows.
Tensor logits_of(const Model& model) {
  at::NoGradGuard no_grad;
  const Tensor ids = at::tensor({3, 4, 48, 5, 6, 7}, at::kLong).unsqueeze(0);
  return model(testing::tiny_pixels(2, 1), {.ids = ids});
}

// As a run leaves it: adapters, perceiver and gates not what the seed made of them.
Model trained(const Model::Config& config = testing::tiny_config<Model>()) {
  auto model = testing::tiny_model<Model>(1, config);
  testing::wake_adapters(model, 2);
  set_trainable_parts(model, {.adapters = true, .perceiver = true});
  at::NoGradGuard no_grad;
  model.perceiver.latents.add_(0.5);
  return model;
}

Model fresh(const Model::Config& config = testing::tiny_config<Model>()) {
  return testing::tiny_model<Model>(1, config);
}

template <class M>
StateDict snapshot(const M& model) {
  StateDict copy = state_dict(model);
  for (auto& [name, t] : copy) t = t.clone();
  return copy;
}

template <class M>
bool unchanged(const M& model, const StateDict& before) {
  const StateDict now = state_dict(model);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (!now[i].second.equal(before[i].second)) return false;
  }
  return now.size() == before.size();
}

// What loading `folder` into `model` says; and nothing of the model may have changed.
template <class M>
std::string refusal(M model, const std::filesystem::path& folder) {
  const StateDict before = snapshot(model);
  const auto message = testing::error_text([&] { load_adapter(model, folder); });
  EXPECT_TRUE(unchanged(model, before));
  return message;
}

TEST(AdapterFile, HoldsWhatWasTrainedAndTheConfig) {
  const ScratchFolder scratch;
  const auto model = trained();
  save_adapter(model, scratch / "run/adapter");
  std::set<std::string> stored, expected;
  for (const auto& [name, t] : load_safetensors(scratch / "run/adapter" / kAdapterWeights))
    stored.insert(name);
  visit(model, [&](const std::string& name, const Tensor&) {
    if (name.starts_with("perceiver.") || name.find(".lora_") != std::string::npos) expected.insert(name);
  });
  EXPECT_EQ(stored, expected);
  const Json about = read_json(scratch / "run/adapter" / kAdapterConfig);
  EXPECT_EQ(to_json(from_json<Model::Config>(about.at("model"), "adapter.json")), to_json(model.config));
}

TEST(AdapterFile, AFreshModelBecomesTheTrainedOne) {
  const ScratchFolder scratch;
  const auto model = trained();
  save_adapter(model, scratch / "adapter");
  auto other = fresh();
  const Tensor expected = logits_of(model);
  EXPECT_FALSE(logits_of(other).equal(expected));
  load_adapter(other, scratch / "adapter");
  EXPECT_TRUE(logits_of(other).equal(expected));
  EXPECT_EQ(trainable_count(other), 0);
  // What is loaded is a copy: the folder may go.
  std::filesystem::remove_all(scratch / "adapter");
  EXPECT_TRUE(logits_of(other).equal(expected));
}

TEST(AdapterFile, AdaptersOfAnotherModelAreListedInOneError) {
  const ScratchFolder scratch;
  save_adapter(trained(), scratch / "adapter");
  auto config = testing::tiny_config<Model>();

  config.adapter.rank = 3;
  EXPECT_THAT(
      refusal(fresh(config), scratch / "adapter"),
      AllOf(HasSubstr(kAdapterWeights), HasSubstr("wrong shape or dtype"),
            HasSubstr(
                "gated_cross_attn.0.attn.to_q.adapter.lora_A: expected Float [3, 32], found Float [4, 32]"),
            HasSubstr("lang_encoder.model.layers.3.self_attn.o_proj.adapter.lora_B"),
            Not(HasSubstr("missing"))));

  config = testing::tiny_config<Model>();
  config.language.hidden_size = 40;
  EXPECT_THAT(refusal(fresh(config), scratch / "adapter"),
              AllOf(HasSubstr("lang_encoder.model.layers.0.self_attn.q_proj"),
                    HasSubstr("gated_cross_attn.1.attn.to_out.adapter.lora_B"), Not(HasSubstr("perceiver"))));

  config = testing::tiny_config<Model>();
  config.language.num_hidden_layers = 6;
  EXPECT_THAT(refusal(fresh(config), scratch / "adapter"),
              AllOf(HasSubstr("missing"), HasSubstr("layers.5.self_attn.q_proj.adapter.lora_A"),
                    HasSubstr("gated_cross_attn.2"), Not(HasSubstr("q_proj.weight"))));
}

TEST(AdapterFile, AdaptersOfAnotherPolicyAreListedInOneError) {
  const ScratchFolder scratch;
  save_adapter(trained(), scratch / "adapter");
  using Cross = TinyVlm<LoRA<CrossAttn, CrossMlp>>;
  EXPECT_THAT(refusal(testing::tiny_model<Cross>(1), scratch / "adapter"),
              AllOf(HasSubstr("missing (8)"), HasSubstr("gated_cross_attn.1.ff.fc_in.adapter.lora_A"),
                    HasSubstr("unexpected (32)"),
                    HasSubstr("lang_encoder.model.layers.0.self_attn.q_proj.adapter.lora_A")));
  EXPECT_THAT(refusal(testing::tiny_model<TinyVlm<NoAdapter>>(1), scratch / "adapter"),
              AllOf(HasSubstr("unexpected (44)"), Not(HasSubstr("missing"))));
}

// Same shapes, another function.
TEST(AdapterFile, AnotherScaleIsAnError) {
  const ScratchFolder scratch;
  save_adapter(trained(), scratch / "adapter");
  auto config = testing::tiny_config<Model>();
  config.adapter.alpha = 16;
  EXPECT_THAT(refusal(fresh(config), scratch / "adapter"),
              AllOf(HasSubstr(kAdapterConfig), HasSubstr("\"alpha\":16"), HasSubstr("\"alpha\":8")));
}

TEST(AdapterFile, AdaptersThatWereNotTrainedMayBeMissing) {
  const ScratchFolder scratch;
  auto model = trained();
  freeze(model, "gated_cross_attn.*");
  save_adapter(model, scratch / "adapter");
  auto other = fresh();
  load_adapter(other, scratch / "adapter");
  EXPECT_TRUE(other.lang_encoder.model.layers[0].self_attn.q_proj.adapter.lora_B.equal(
      model.lang_encoder.model.layers[0].self_attn.q_proj.adapter.lora_B));
  auto config = testing::tiny_config<Model>();
  config.language.num_hidden_layers = 6;
  EXPECT_THAT(refusal(fresh(config), scratch / "adapter"), HasSubstr("missing (22)"));
}

TEST(AdapterFile, WithoutAdaptersTheModelsOwnMayBeMissing) {
  const ScratchFolder scratch;
  auto model = trained();
  set_trainable_parts(model, {.adapters = false, .perceiver = true});
  save_adapter(model, scratch / "stage1");
  auto other = fresh();
  load_adapter(other, scratch / "stage1");
  EXPECT_TRUE(other.perceiver.latents.equal(model.perceiver.latents));
  EXPECT_EQ(other.gated_cross_attn[0].attn.to_q.adapter.lora_B.abs().max().item<double>(), 0);
}

TEST(AdapterFile, DamagedFoldersAreErrorsThatNameTheFile) {
  const ScratchFolder scratch;
  save_adapter(trained(), scratch / "adapter");
  const auto weights = scratch / "adapter" / kAdapterWeights;
  const auto whole = testing::contents(weights);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    testing::put(weights, whole.substr(0, size));
    EXPECT_THAT(refusal(fresh(), scratch / "adapter"), HasSubstr(weights.string())) << size;
  }
  testing::put(weights, whole);
  std::filesystem::remove(scratch / "adapter" / kAdapterConfig);
  EXPECT_THAT(refusal(fresh(), scratch / "adapter"), HasSubstr(kAdapterConfig));
  EXPECT_THAT(refusal(fresh(), scratch / "nothing"), HasSubstr((scratch / "nothing").string()));
}

TEST(AdapterFile, SavingAgainReplacesTheFolderWhole) {
  const ScratchFolder scratch;
  auto model = trained();
  save_adapter(model, scratch / "adapter");
  testing::put(scratch / "adapter" / "older.txt", "x");
  set_trainable_parts(model, {.adapters = false, .perceiver = true});
  save_adapter(model, scratch / "adapter");
  EXPECT_FALSE(std::filesystem::exists(scratch / "adapter" / "older.txt"));
  for (const auto& [name, t] : load_safetensors(scratch / "adapter" / kAdapterWeights))
    EXPECT_TRUE(name.starts_with("perceiver.")) << name;
  EXPECT_EQ(scratch.names(), std::set<std::string>{"adapter"});
}

TEST(AdapterFile, ARunsFolderStandsForItsAdapter) {
  const ScratchFolder scratch;
  const auto model = trained();
  save_adapter(model, scratch / "run" / "adapter");
  auto loaded = fresh();
  load_adapter(loaded, scratch / "run");
  EXPECT_TRUE(logits_of(loaded).equal(logits_of(model)));
  EXPECT_EQ(adapter_folder(scratch / "run"), scratch / "run/adapter");
  EXPECT_EQ(adapter_folder(scratch / "run/adapter"), scratch / "run/adapter");
  // A folder with an adapter of its own is that one.
  save_adapter(model, scratch / "both" / "adapter");
  testing::put(scratch / "both" / kPeftConfig, "{}");
  EXPECT_EQ(adapter_folder(scratch / "both"), scratch / "both");
  EXPECT_EQ(adapter_folder(scratch / "nothing"), scratch / "nothing");
}

TEST(AdapterFile, NumbersThatAreNotFiniteAreNeitherSavedNorLoaded) {
  for (const double number : {std::nan(""), HUGE_VAL}) {
    const ScratchFolder scratch;
    auto model = trained();
    {
      at::NoGradGuard no_grad;
      model.perceiver.latents[0][0].fill_(number);
    }
    const auto message = HasSubstr("tensor \"perceiver.latents\" has numbers that are not finite");
    EXPECT_ERROR(save_adapter(model, scratch / "adapter"), message);
    EXPECT_TRUE(scratch.names().empty());
    save_adapter(trained(), scratch / "adapter");
    save_safetensors(scratch / "adapter" / kAdapterWeights, trainable_state(model));
    EXPECT_THAT(refusal(fresh(), scratch / "adapter"), message);
  }
}

TEST(AdapterFile, NothingTrainedIsNothingToSave) {
  const ScratchFolder scratch;
  auto model = trained();
  save_adapter(model, scratch / "adapter");
  const auto before = testing::contents(scratch / "adapter" / kAdapterWeights);
  freeze(model);
  EXPECT_ERROR(save_adapter(model, scratch / "adapter"), HasSubstr("no parameter of the model is trainable"));
  EXPECT_EQ(testing::contents(scratch / "adapter" / kAdapterWeights), before);
}

}  // namespace
}  // namespace morphvlm::adapter_file_test
