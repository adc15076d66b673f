// Questions of one's own in JSON lines.
#include "morphvlm/data/vqa_lines.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::vqa_lines_test {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

TEST(VqaLines, ReadsQuestionsWithPicturesBesideTheFile) {
  const testing::ScratchFolder folder;
  const auto data = read_vqa_lines(testing::put(
      folder / "mine.jsonl",
      "\xEF\xBB\xBF{\"image\": \"a/1.jpg\", \"question\": \"What?\", \"answer\": \"a cat\"}\r\n\n"
      "{\"answer\": \"\", \"question\": \"Who?\", \"image\": \"/x.png\", \"id\": 7}"));
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_EQ(data.examples[0].image, folder / "a/1.jpg");
  EXPECT_EQ(data.examples[0].question, "What?");
  EXPECT_EQ(data.examples[0].answers, std::vector<std::string>{"a cat"});
  EXPECT_EQ(data.examples[0].id, "1");
  EXPECT_EQ(data.examples[1].image, "/x.png");
  EXPECT_EQ(data.examples[1].id, "7");
}

TEST(VqaLines, MistakesAreNamedByLine) {
  const testing::ScratchFolder folder;
  const std::string good = R"({"image": "1.jpg", "question": "q", "answer": "a"})"
                           "\n";
  const auto message = [&](const std::string& text) {
    return message_of([&] { read_vqa_lines(testing::put(folder / "x.jsonl", text)); });
  };
  EXPECT_THAT(message(good + R"({"image": "1.jpg", "question": "q"})"),
              ::testing::AllOf(HasSubstr("x.jsonl: line 2"), HasSubstr("answer")));
  EXPECT_THAT(message(good + R"({"question": "q", "answer": "a"})"),
              HasSubstr("line 2: expected an image as in"));
  EXPECT_THAT(message(R"({"question": "q", "answer": "a"})"
                      "\n" +
                      good),
              HasSubstr("expected an image in none"));
  EXPECT_THAT(message(R"({"image": "1.jpg", "question": "q", "answr": "a", "answer": "b"})"),
              HasSubstr("unknown key \"answr\""));
  EXPECT_THAT(message(R"({"image": 3, "question": "q", "answer": "a"})"), HasSubstr("image"));
  EXPECT_THAT(message(R"({"image": "", "question": "q", "answer": "a"})"),
              HasSubstr("line 1: key \"image\": expected the name of a picture, found \"\""));
  EXPECT_THAT(message(good + "[1]"), HasSubstr("line 2: expected an object"));
  EXPECT_THAT(message("[1]"), HasSubstr("line 1: expected JSON lines, one object a line, found the beginning "
                                        "of a JSON list"));
  EXPECT_THAT(message("\n[\n  {\"image\": \"1.jpg\"}\n]"), HasSubstr("line 2: expected JSON lines"));
  EXPECT_THAT(message("{\n  \"image\": \"1.jpg\"\n}"), HasSubstr("a JSON object over several lines"));
  EXPECT_THAT(message("\x1F\x8B\x08"), HasSubstr("x.jsonl: expected UTF-8 text, found gzip data"));
  EXPECT_THAT(message(good + "{"), HasSubstr("line 2"));
  EXPECT_THAT(message("\n \n"), HasSubstr("found none"));
}

}  // namespace
}  // namespace morphvlm::vqa_lines_test
