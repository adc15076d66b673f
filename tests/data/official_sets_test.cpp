// Files in the official forms of VQAv2, A-OKVQA and PubMedQA, right and wrong.
#include <gtest/gtest.h>

#include "morphvlm/data/aokvqa.hpp"
#include "morphvlm/data/pubmedqa.hpp"
#include "morphvlm/data/vqav2.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::official_sets_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
using Strings = std::vector<std::string>;

struct OfficialSets : ::testing::Test {
  ScratchFolder folder;
  std::filesystem::path write(const std::string& name, const Json& json) const {
    return put(folder / name, json.dump());
  }
};

Json vqa_questions() {
  return {{"info", Json::object()},
          {"task_type", "Open-Ended"},
          {"data_type", "mscoco"},
          {"data_subtype", "val2014"},
          {"questions",
           {{{"image_id", 262148}, {"question", "Where is he looking?"}, {"question_id", 262148000}},
            {{"image_id", 9}, {"question", "How many?"}, {"question_id", 9001}}}}};
}

Json vqa_annotation(std::int64_t id, const Strings& answers) {
  Json list = Json::array();
  for (const auto& a : answers)
    list.push_back({{"answer", a}, {"answer_confidence", "yes"}, {"answer_id", 1}});
  return {{"question_type", "none of the above"},
          {"answers", list},
          {"image_id", id == 262148000 ? 262148 : 9},
          {"answer_type", "other"},
          {"question_id", id}};
}

TEST_F(OfficialSets, VqaV2) {
  const VqaV2Files files{
      write("q.json", vqa_questions()),
      write("a.json",
            {{"annotations", {vqa_annotation(9001, {"2", "two"}), vqa_annotation(262148000, {"down"})}}}),
      "coco/val2014"};
  const VqaDataset data = read_vqav2(files);
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_EQ(data.examples[0].image, "coco/val2014/COCO_val2014_000000262148.jpg");
  EXPECT_EQ(data.examples[0].id, "262148000");
  EXPECT_EQ(data.examples[0].answers, Strings{"down"});
  EXPECT_EQ(data.examples[0].kind, "other");
  EXPECT_EQ(data.examples[1].question, "How many?");
  EXPECT_EQ(data.examples[1].answers, (Strings{"2", "two"}));
  EXPECT_TRUE(read_vqav2({files.questions, {}, "x"}).examples[0].answers.empty());
}

TEST_F(OfficialSets, VqaV2WithAMarkInFront) {
  const auto mark = [&](const char* name, const Json& json) {
    const auto path = write(name, json);
    const std::string text = "\xEF\xBB\xBF" + read_file_bytes(path);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  };
  const auto questions = write("plain.json", vqa_questions());
  const auto plain = read_vqav2({questions, {}, "val2014"}),
             marked = read_vqav2({mark("marked.json", vqa_questions()), {}, "val2014"});
  ASSERT_EQ(marked.examples.size(), plain.examples.size());
  EXPECT_EQ(marked.examples[0].question, plain.examples[0].question);
  std::ofstream(questions, std::ios::binary) << "\x1F\x8B\x08";
  EXPECT_ERROR(read_vqav2({questions, {}, "val2014"}),
               HasSubstr("plain.json: expected UTF-8 text, found gzip data"));
}

TEST_F(OfficialSets, VqaV2WhoseFilesDoNotFit) {
  const auto questions = write("q.json", vqa_questions());
  const auto with = [&](const Json& annotations) {
    return read_vqav2({questions, write("a.json", {{"annotations", annotations}}), "val2014"});
  };
  EXPECT_ERROR(with(Json::array({vqa_annotation(9001, {"2"})})),
               HasSubstr("no annotation of 1 questions: 262148000"));
  EXPECT_ERROR(with({vqa_annotation(7, {"2"}), vqa_annotation(9001, {"2"})}), HasSubstr("1 annotations of"),
               HasSubstr("does not have: 7"));
  EXPECT_ERROR(with({vqa_annotation(9001, {"2"}), vqa_annotation(9001, {"2"})}),
               HasSubstr("row 1: question_id 9001"));
  EXPECT_ERROR(with(Json::array({vqa_annotation(9001, {})})), HasSubstr("row 0: no answer"));
  EXPECT_ERROR(with(Json::array({{{"question_id", "9001"}}})), HasSubstr("row 0: key \"question_id\""));
  Json elsewhere = vqa_annotation(9001, {"2"});
  elsewhere["image_id"] = 8;
  EXPECT_ERROR(with(Json::array({elsewhere})), HasSubstr("row 0: image_id 8"), HasSubstr("about image 9"));
  Json twice = vqa_questions();
  twice["questions"].push_back(twice["questions"][0]);
  EXPECT_ERROR(read_vqav2({write("q2.json", twice), {}, "x"}), HasSubstr("row 2: question_id 262148000"));
  EXPECT_ERROR(
      read_vqav2(
          {write("q3.json", {{"questions", {{{"image_id", -1}, {"question", "?"}, {"question_id", 1}}}}}),
           {},
           "x"}),
      HasSubstr("image id -1"));
  EXPECT_ERROR(read_vqav2({write("q4.json", Json::array()), {}, "x"}), HasSubstr("a list \"questions\""));
}

Json aokvqa_row() {
  return {{"split", "val"},
          {"image_id", 461751},
          {"question_id", "22jbM6gDxdaMaunuzgrsBB"},
          {"question", "What is in the motorcyclist's mouth?"},
          {"choices", {"toothpick", "food", "popsicle stick", "cigarette"}},
          {"correct_choice_idx", 3},
          {"direct_answers", Json::array({"cigarette", "cigarette"})},
          {"difficult_direct_answer", false},
          {"rationales", {"He's smoking.", "It is lit."}}};
}

TEST_F(OfficialSets, AOkvqa) {
  Json hidden = aokvqa_row();
  hidden["question_id"] = "other";
  for (const auto* key : {"correct_choice_idx", "direct_answers", "rationales", "difficult_direct_answer"})
    hidden.erase(key);
  const auto data = read_aokvqa(write("a.json", Json::array({aokvqa_row()})), "coco/val2017");
  ASSERT_EQ(data.examples.size(), 1u);
  const auto& e = data.examples[0];
  EXPECT_EQ(e.image, "coco/val2017/000000461751.jpg");
  EXPECT_EQ(e.choices.at(static_cast<std::size_t>(e.correct_choice)), "cigarette");
  EXPECT_EQ(e.answers, (Strings{"cigarette", "cigarette"}));
  EXPECT_EQ(e.rationales.size(), 2u);
  const auto test_split = read_aokvqa(write("t.json", Json::array({hidden})), "coco/test2017");
  EXPECT_EQ(test_split.examples.at(0).correct_choice, -1);
  EXPECT_ERROR(read_aokvqa(write("m.json", {aokvqa_row(), hidden}), "x"),
               HasSubstr("m.json: row 1: expected a correct_choice_idx in every row or in none"));
  Json wrong = aokvqa_row();
  wrong["correct_choice_idx"] = 4;
  EXPECT_ERROR(read_aokvqa(write("b.json", Json::array({wrong})), "x"),
               HasSubstr("row 0: correct_choice_idx 4 is no index of 4"));
  EXPECT_ERROR(read_aokvqa(write("c.json", {aokvqa_row(), aokvqa_row()}), "x"), HasSubstr("row 1"),
               HasSubstr("twice"));
  EXPECT_ERROR(read_aokvqa(write("d.json", Json::object()), "x"), HasSubstr("expected a list"));
}

TEST_F(OfficialSets, PubMedQa) {
  const Json row{{"QUESTION", "Do mitochondria play a role?"},
                 {"CONTEXTS", {"Leaves.", "We looked."}},
                 {"LABELS", {"BACKGROUND", "RESULTS"}},
                 {"MESHES", {"Alismataceae", "Apoptosis"}},
                 {"YEAR", "2011"},
                 {"reasoning_required_pred", "yes"},
                 {"reasoning_free_pred", "yes"},
                 {"final_decision", "yes"},
                 {"LONG_ANSWER", "They do."}};
  const auto all = read_pubmedqa(write("ori_pqal.json", {{"21645374", row}, {"16418930", row}}));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, "21645374");
  EXPECT_EQ(all[0].contexts.size(), 2u);
  EXPECT_EQ(all[0].long_answer, "They do.");
  EXPECT_EQ(all[0].decision, "yes");
  const auto truth = read_pubmedqa_decisions(write("truth.json", {{"16418930", "no"}}));
  ASSERT_EQ(select_examples(all, truth).size(), 1u);
  EXPECT_EQ(select_examples(all, truth)[0].id, "16418930");
  EXPECT_ERROR(select_examples(all, read_pubmedqa_decisions(write("t.json", {{"1", "no"}}))),
               HasSubstr("1 of 1 questions"));
  EXPECT_ERROR(read_pubmedqa_decisions(write("t.json", {{"1", "perhaps"}})),
               HasSubstr("1: expected yes, no or maybe"));
  Json open = row, null = row;
  open.erase("final_decision");
  null["final_decision"] = nullptr;
  EXPECT_ERROR(read_pubmedqa(write("m.json", {{"1", row}, {"2", open}})),
               HasSubstr("m.json: 2: expected a final_decision in every row or in none, found none here"));
  EXPECT_ERROR(read_pubmedqa(write("m.json", {{"1", open}, {"2", row}})),
               HasSubstr("2: expected a final_decision"));
  EXPECT_ERROR(read_pubmedqa(write("m.json", {{"1", null}})), HasSubstr("1: key \"final_decision\""));
  const auto unlabelled = read_pubmedqa(write("ori_pqau.json", {{"7", open}}));
  EXPECT_ERROR(expect_decisions(unlabelled, "ori_pqau.json"),
               HasSubstr("ori_pqau.json: 7: expected a final_decision of yes, no or maybe, found none"));
  EXPECT_NO_THROW(expect_decisions(all, "ori_pqal.json"));
  Json wrong = row;
  wrong.erase("CONTEXTS");
  EXPECT_ERROR(read_pubmedqa(write("w.json", {{"5", wrong}})), HasSubstr("5: key \"CONTEXTS\" is missing"));
}

}  // namespace
}  // namespace morphvlm::official_sets_test
