// Asking small models, and the fixture in VL-StereoSet's format.
#include "experiments/small_asking.hpp"

#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "experiments/arguments.hpp"
#include "experiments/bias_vl_stereoset.hpp"
#include "morphvlm/data/missing_images.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::experiments {
namespace {

using morphvlm::testing::message_of;
using morphvlm::testing::ScratchFolder;
using ::testing::ElementsAre;

TEST(SpreadRows, AreEvenAndWithinTheData) {
  EXPECT_THAT(spread_rows(10, 4), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(spread_rows(3, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(spread_rows(3, 9), ElementsAre(0, 1, 2));
}

TEST(JoinedArguments, TakeTheNextWordUnlessItIsAFlag) {
  std::string words[] = {"program", "--only", "F3", "--fresh", "--full", "--train.lr", "-1", "--out=x", "y"};
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  EXPECT_THAT(joined_arguments(static_cast<int>(argv.size()), argv.data()),
              ElementsAre("--only=F3", "--fresh", "--full", "--train.lr=-1", "--out=x", "y"));
}

TEST(StereosetFixture, IsReadAsTheRealFileIs) {
  const auto world = small_world_mini();
  if (!std::filesystem::exists(world.data / "easy_vqa")) GTEST_SKIP() << world.data << "/easy_vqa is missing";
  const ScratchFolder folder;
  write_stereoset_fixture(world, 40, folder.path);
  const auto data = read_vl_stereoset(folder / "VLStereoSet.csv", folder / "images");
  ASSERT_EQ(data.size(), 40U);
  expect_images(data, "fixture");
  std::map<std::string, std::string> stereotype_of;
  std::int64_t opposite = 0;
  for (const auto& e : data) {
    EXPECT_EQ(std::set(e.statements.begin(), e.statements.end()).size(), 3U);
    for (const auto& statement : e.statements) EXPECT_TRUE(statement.starts_with(e.context));
    EXPECT_EQ(e.statements[2], e.context + e.target);
    // One stereotype for each shape.
    EXPECT_EQ(stereotype_of.try_emplace(e.target, e.statements[0]).first->second, e.statements[0]);
    opposite += e.anti_stereotypical_image;
  }
  EXPECT_EQ(stereotype_of.size(), 3U);
  EXPECT_GT(opposite, 20);
  EXPECT_NE(
      message_of([&] { write_stereoset_fixture(world, 1'000'000, folder.path); }).find("1000000 pictures"),
      std::string::npos);
}

SmallWorldConfig tiny_world() {
  auto c = small_world_mini();
  c.vocabulary = 40;
  return c;
}

TEST(AnswerPrompts, DependOnThePicturesThatBelongToEach) {
  const auto c = tiny_world();
  auto model = random_small_model<SmallModel<OpenLLaMA>>(c, 3);
  const auto words =
      WordVocabulary::of({"question is it red short answer : ?"},
                         {"a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc dd"}, 40);
  const Tensor seen = at::randn({3, 64, 64}, make_generator(1));
  const auto latents_of = [&](const std::vector<std::int64_t>& ids) {
    at::NoGradGuard no_grad;
    return model.resample(seen.index_select(0, at::tensor(ids)).unsqueeze(1)).squeeze(1);
  };
  const EvaluateConfig how{.batch = 2, .max_new_tokens = 4, .title = ""};
  const std::vector<SmallPrompt> two{{zero_shot_prompt("is it red?"), {0}},
                                     {zero_shot_prompt("is it red?"), {1}},
                                     {zero_shot_prompt("is it red?"), {0}}};
  const auto answers = answer_prompts(model, words, two, latents_of, how);
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_EQ(answers[0], answers[2]);  // across batches
  // Two pictures: the last one is the question's.
  const std::string chunk = zero_shot_prompt("is it red?") + "a<|endofchunk|>";
  const std::vector<SmallPrompt> shots{{chunk + zero_shot_prompt("is it red?"), {1, 0}}};
  EXPECT_EQ(answer_prompts(model, words, shots, latents_of, how).size(), 1U);
}

TEST(FlamingoLoss, OfInterleavedRowsIsTheMeanOverTheirChunks) {
  // Without self-attention across chunks nothing else would differ; with it the losses are close, not equal,
  // so what is compared is the count of supervised tokens and that each chunk sees its own picture.
  auto c = tiny_world();
  c.flamingo_batch = 2;
  c.flamingo_chunks = 2;
  SmallData d{.config = c};
  d.words = WordVocabulary::of({"question is it red short answer : ? yes no"}, {}, 40);
  for (std::int64_t i = 0; i < 4; ++i)
    d.pretrain.examples.push_back(
        {.question = "is it red?", .answers = {i % 2 ? "yes" : "no"}, .image_id = i});
  auto model = random_small_model<SmallModel<OpenLLaMA>>(c, 3);
  set_trainable_parts(model, {.adapters = false, .perceiver = true, .gated_cross_attention = true});
  at::NoGradGuard no_grad;
  const Tensor seen = at::randn({4, 64, 64}, make_generator(1));
  const auto loss = [&](const Tensor& features) {
    return detail::flamingo_loss(model, d, features, {0, 1, 2, 3}).item<double>();
  };
  const double here = loss(seen);
  EXPECT_TRUE(std::isfinite(here));
  for (std::int64_t picture = 0; picture < 4; ++picture) {
    Tensor other = seen.clone();
    other.select(0, picture).neg_();
    EXPECT_NE(loss(other), here) << picture;
  }
}

}  // namespace
}  // namespace morphvlm::experiments
