#include "morphvlm/data/easy_vqa.hpp"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "data_support.hpp"
#include "morphvlm/image/image.hpp"

namespace morphvlm::easy_vqa_test {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::write_file_text;

/// A folder of easy-VQA's form with two images and these questions.
std::filesystem::path folder_with(std::string_view questions) {
  const auto root = testing::scratch_folder();
  write_file_text(root / "answers.txt", "yes\nno\r\nred\n");
  write_file_text(root / "train/questions.json", questions);
  for (const char* name : {"0.png", "7.png"})
    write_file_text(root / "train/images" / name, encode_png({at::full({8, 8, 3}, 9, at::kByte)}));
  return root;
}

std::string error_with(std::string_view questions) {
  const auto root = folder_with(questions);
  return error_of([&] { read_easy_vqa(root, Split::train); });
}

TEST(EasyVqa, ReadsRows) {
  const auto root =
      folder_with(R"([["is it red?", "yes", 0], ["what colour?", "red", 7], ["is it?", "no", 0]])");
  const VqaDataset data = read_easy_vqa(root, Split::train);
  ASSERT_EQ(data.examples.size(), 3u);
  EXPECT_EQ(data.answer_names, (std::vector<std::string>{"yes", "no", "red"}));
  EXPECT_EQ(data.examples[1].question, "what colour?");
  EXPECT_EQ(data.examples[1].answers, std::vector<std::string>{"red"});
  EXPECT_EQ(data.examples[1].kind, "open");
  EXPECT_EQ(data.examples[2].kind, "yes/no");
  EXPECT_EQ(data.examples[1].image, root / "train/images/7.png");
  EXPECT_EQ(read_image(data.examples[1].image).width(), 8);
  EXPECT_EQ(image_range(data, 0, 7).examples.size(), 2u);
  EXPECT_EQ(image_range(data, 7, 8).examples.size(), 1u);
  EXPECT_EQ(image_range(data, 1, 7).examples.size(), 0u);
}

TEST(EasyVqa, ErrorsNameFileAndRow) {
  EXPECT_THAT(error_with(R"([["q", "yes", 0], ["q", "yes", 3]])"), HasSubstr("questions.json: row 1"));
  EXPECT_THAT(error_with(R"([["q", "yes", 0], ["q", "yes", 3]])"), HasSubstr("3.png is missing"));
  for (const char* row : {R"(["q", "yes"])", R"(["q", "yes", 0, 1])", R"(["q", 1, 0])", R"([null, "yes", 0])",
                          R"(["q", "yes", "0"])", R"(["q", "yes", 0.5])", R"({"q": "yes"})", "7"}) {
    const std::string message = error_with(std::string(R"([["q", "yes", 0], )") + row + "]");
    EXPECT_THAT(message, HasSubstr("questions.json: row 1: expected [question, answer, image id]")) << row;
  }
  EXPECT_THAT(error_with(R"([["q", "purple", 0]])"), HasSubstr("\"purple\" is not in answers.txt"));
  EXPECT_THAT(error_with(R"([["q", "yes", -1]])"), HasSubstr("-1"));
  EXPECT_THAT(error_with("{}"), HasSubstr("expected a list"));
  EXPECT_THAT(error_with("[]"), HasSubstr("not empty"));
  EXPECT_THAT(error_with("[[\"q\""), HasSubstr("questions.json: not valid JSON"));
}

TEST(EasyVqa, MissingFiles) {
  const auto root = testing::scratch_folder();
  EXPECT_THAT(error_of([&] { read_easy_vqa(root, Split::train); }), HasSubstr("answers.txt"));
  write_file_text(root / "answers.txt", "\n\n");
  EXPECT_THAT(error_of([&] { read_easy_vqa(root, Split::train); }), HasSubstr("found none"));
  write_file_text(root / "answers.txt", "yes\n");
  EXPECT_THAT(error_of([&] { read_easy_vqa(root, Split::test); }), HasSubstr("test/questions.json"));
}

TEST(EasyVqa, AnImageCutInHalfIsFoundWhenDecoded) {
  const auto root = folder_with(R"([["q", "yes", 0]])");
  const std::string png = testing::read_file_text(root / "train/images/0.png");
  write_file_text(root / "train/images/0.png", std::string_view(png).substr(0, png.size() / 2));
  const VqaDataset data = read_easy_vqa(root, Split::train);
  EXPECT_THAT(error_of([&] { read_image(data.examples[0].image); }), HasSubstr("0.png: PNG: "));
}

TEST(EasyVqa, TheRealDataHasTheKnownCounts) {
  MORPHVLM_NEEDS_DATA("easy_vqa/data/answers.txt");
  const VqaDataset train = read_easy_vqa(testing::data_file("easy_vqa/data"), Split::train);
  const VqaDataset test = read_easy_vqa(testing::data_file("easy_vqa/data"), Split::test);
  EXPECT_EQ(train.examples.size(), 38575u);
  EXPECT_EQ(test.examples.size(), 9673u);
  EXPECT_EQ(train.answer_names.size(), 13u);
  std::map<std::string, int> answers, kinds;
  std::set<std::string> questions;
  std::set<std::int64_t> images;
  for (const VqaExample& e : train.examples) {
    ++answers[e.answers.at(0)];
    ++kinds[e.kind];
    questions.insert(e.question);
    images.insert(e.image_id);
  }
  EXPECT_EQ(answers["yes"], 14229);
  EXPECT_EQ(answers["no"], 14178);
  EXPECT_EQ(kinds["yes/no"], 14229 + 14178);
  EXPECT_EQ(answers.size(), 13u);
  EXPECT_EQ(questions.size(), 107u);
  EXPECT_EQ(images.size(), 4000u);
  EXPECT_EQ(image_range(train, 0, 2000).examples.size() + image_range(train, 2000, 4000).examples.size(),
            38575u);
  const Image image = read_image(test.examples.front().image);
  EXPECT_EQ(image.height(), 64);
  EXPECT_EQ(image.width(), 64);
}

}  // namespace
}  // namespace morphvlm::easy_vqa_test
