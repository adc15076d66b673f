// Asking small models, and the fixture in VL-StereoSet's format.
#include "experiments/mini/small_asking.hpp"

#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "experiments/mini/bias_vl_stereoset.hpp"
#include "experiments/programs/arguments.hpp"
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

// A model in which pictures matter: in a young one latents are much the same for all of them, and gates are
// nearly shut.
SmallModel<OpenLLaMA> seeing_model(const SmallWorldConfig& c) {
  auto model = random_small_model<SmallModel<OpenLLaMA>>(c, 3);
  at::NoGradGuard no_grad;
  visit(model, [](const std::string& name, Tensor& t) {
    if (matches(name, kGates)) t.fill_(2);
    if (matches(name, "perceiver.*.to_out.weight") || matches(name, "gated_cross_attn.*.to_out.weight"))
      t.mul_(30);
  });
  return model;
}

TEST(AnswerPrompts, DependOnThePicturesThatBelongToEach) {
  const auto model = seeing_model(tiny_world());
  const auto words =
      WordVocabulary::of({"question is it red short answer : ?"},
                         {"a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc dd"}, 40);
  const Tensor seen = at::randn({6, 64, 64}, make_generator(1)).mul(3);
  const auto latents_of = [&](const std::vector<std::int64_t>& ids) {
    at::NoGradGuard no_grad;
    return model.resample(seen.index_select(0, at::tensor(ids)).unsqueeze(1)).squeeze(1);
  };
  // A prompt alone, without batches.
  const auto alone = [&](const SmallPrompt& prompt) {
    at::NoGradGuard no_grad;
    const Tensor ids = at::tensor(words.encode(prompt.text), at::kLong).unsqueeze(0);
    const Tensor out = generate(model, {.ids = ids}, latents_of(prompt.pictures).unsqueeze(0),
                                {.max_new_tokens = 4, .eos_token_id = WordVocabulary::kEndChunk})
                           .ids.contiguous();
    const auto* const first = out.const_data_ptr<std::int64_t>();
    return answer_of_generation(words.decode({first, first + out.numel()}));
  };
  const auto check = [&](const std::vector<SmallPrompt>& prompts) {
    std::vector<std::string> expected;
    for (const auto& prompt : prompts) expected.push_back(alone(prompt));
    EXPECT_GT(std::set(expected.begin(), expected.end()).size(), 2U) << "pictures make no difference";
    for (const std::int64_t batch : {1, 2, 64})
      EXPECT_EQ(answer_prompts(model, words, prompts, latents_of,
                               {.batch = batch, .max_new_tokens = 4, .title = ""}),
                expected)
          << batch;
  };
  std::vector<SmallPrompt> one, two;
  const std::string text = zero_shot_prompt("is it red?");
  for (const std::int64_t picture : {0, 1, 2, 0, 3, 4, 5}) {
    one.push_back({text, {picture}});
    two.push_back({text + "a<|endofchunk|>" + text, {1, picture}});  // the last one is the question's
  }
  check(one);
  check(two);
}

// Chunks are of equal length, so the mean over a batch's tokens is that over its chunks.
TEST(FlamingoLoss, OfInterleavedRowsIsTheMeanOverTheirChunks) {
  auto c = tiny_world();
  c.flamingo_batch = 2;
  c.flamingo_chunks = 2;
  SmallData d{.config = c};
  d.words = WordVocabulary::of({"question is it red short answer : ? yes no"}, {}, 40);
  for (std::int64_t i = 0; i < 4; ++i)
    d.pretrain.examples.push_back(
        {.question = "is it red?", .answers = {i % 2 ? "yes" : "no"}, .image_id = 3 - i});
  const auto model = seeing_model(c);
  at::NoGradGuard no_grad;
  const Tensor seen = at::randn({4, 64, 64}, make_generator(1));
  // Of the last `count` of a text's chunks, by the text and the pictures alone: every token but the picture's
  // is predicted from those before it.
  const auto chunk_loss = [&](const std::vector<std::int64_t>& examples) {
    TokenIds ids;
    std::vector<std::int64_t> pictures;
    std::size_t begin = 0;
    for (const auto i : examples) {
      const auto& example = d.pretrain.examples[static_cast<std::size_t>(i)];
      const TokenIds text = vqa_text(d.words, example, true);
      begin = ids.size();
      ids.insert(ids.end(), text.begin(), text.end());
      pictures.push_back(example.image_id);
    }
    const Tensor latents = model.resample(seen.index_select(0, at::tensor(pictures)).unsqueeze(0));
    const Tensor logits =
        model.logits(model.hidden({.ids = at::tensor(ids, at::kLong).unsqueeze(0)}, latents));
    double sum = 0, count = 0;
    for (std::size_t t = begin; t < ids.size(); ++t) {
      if (ids[t] == WordVocabulary::kImage) continue;
      const Tensor odds = logits[0][static_cast<std::int64_t>(t) - 1].to(at::kDouble).exp();
      sum -= std::log(odds[ids[t]].item<double>() / odds.sum().item<double>());
      ++count;
    }
    return sum / count;
  };
  const double first = chunk_loss({2}), second = chunk_loss({2, 0}), third = chunk_loss({1}),
               fourth = chunk_loss({1, 3});
  EXPECT_GT(std::abs(first - third), 1e-3);
  EXPECT_NEAR(detail::flamingo_loss(model, d, seen, {2, 0, 1, 3}).item<double>(),
              (first + second + third + fourth) / 4, 1e-4);
}

}  // namespace
}  // namespace morphvlm::experiments
