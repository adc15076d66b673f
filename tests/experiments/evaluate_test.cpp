// The program `evaluate` on a small model folder and small data sets in the official forms, as a user would
// run it. What the model says is noise; what is asked, written and scored is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <set>

#include "experiments/programs/evaluate_task.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/eval/vqa_score.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/quant/quantized.hpp"
#include "morphvlm/text/load_tokenizer.hpp"
#include "tests/experiments/model_folder.hpp"
#include "tests/experiments/small_sets.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::evaluate_test {
namespace {

using ::testing::HasSubstr;

struct EvaluateProgram : ::testing::Test, testing::SmallSets {
  testing::ScratchFolder scratch;
  std::filesystem::path model = scratch / "model", said = scratch / "said", result = scratch / "result.json",
                        predictions = scratch / "predictions.jsonl";

  void SetUp() override {
    testing::make_model_folder(model);
    data = scratch / "data";
    std::filesystem::create_directories(data);
  }

  // The exit status.
  int run(const std::string& task, const std::string& more = "") const {
    const std::string command = MORPHVLM_EVALUATE " --model " + model.string() + " --data " + data.string() +
                                " --task " + task + " --out " + predictions.string() + more + " >" +
                                result.string() + " 2>" + said.string();
    return std::system(command.c_str());
  }

  /// The program's result; answers by id in `answers`.
  Json scores(const std::string& task, const std::string& more = "") {
    EXPECT_EQ(run(task, more), 0) << testing::contents(said);
    answers.clear();
    std::istringstream lines(testing::contents(predictions));
    for (std::string line; std::getline(lines, line);) {
      const Json row = parse_json(line, "line");
      answers.emplace(row.at("id").get<std::string>(), row.at("answer").get<std::string>());
    }
    const Json json = parse_json(testing::contents(result), "result");
    EXPECT_EQ(json.at("questions").get<std::size_t>(), answers.size());
    return json.at("scores");
  }

  std::map<std::string, std::string> answers;
};

TEST_F(EvaluateProgram, VqaV2WithEveryKindOfDemonstration) {
  make_vqav2();
  for (const std::string shots : {"0", "2", "-1"}) {
    const Json found = scores("vqav2", " --batch 4 --shots " + shots);
    ASSERT_EQ(answers.size(), 7u);
    const auto batched = answers;
    std::vector<double> each;
    for (const auto& [id, answer] : answers) {
      std::vector<std::string> truth(10, "yes");
      std::fill_n(truth.begin(), std::stoi(id), "no");
      each.push_back(vqa_accuracy(answer_of_generation(answer), truth));
    }
    EXPECT_EQ(found.at("accuracy").get<double>(), vqa_percent(each));
    EXPECT_EQ(found.at("by_answer_type").size(), 2u);
    scores("vqav2", " --batch 1 --shots " + shots);
    EXPECT_EQ(answers, batched) << "shots " << shots;
  }
}

TEST_F(EvaluateProgram, ALimitDrawsBySeed) {
  make_vqav2();
  scores("vqav2", " --limit 3 --num_beams 1");
  const auto first = answers;
  EXPECT_EQ(first.size(), 3u);
  scores("vqav2", " --limit 3 --num_beams 1");
  EXPECT_EQ(answers, first);
  scores("vqav2", " --limit 3 --num_beams 1 --seed 3");
  EXPECT_NE(answers, first);
}

TEST_F(EvaluateProgram, AokvqaChoosesAmongItsChoices) {
  make_aokvqa();
  const Json found = scores("aokvqa-mc");
  const std::set<std::string> choices{"cat", "dog", "cow", "hen"};
  const char* truth[] = {"cat", "dog", "cow", "hen", "cat"};
  double right = 0;
  for (const auto& [id, answer] : answers) {
    EXPECT_TRUE(choices.contains(answer)) << answer;
    right += answer == truth[id.back() - '0'];
  }
  EXPECT_NEAR(found.at("multiple_choice").get<double>(), 100 * right / 5, 1e-9);
}

TEST_F(EvaluateProgram, AokvqaWritesDirectAnswers) {
  make_aokvqa();
  scores("aokvqa-da", " --shots -1");
  const auto said_before = answers;
  ASSERT_EQ(said_before.size(), 5u);
  // Ten people, of whom so many say what the model says; the fourth question is the difficult one.
  constexpr int kAgree[] = {10, 2, 1, 3, 0};
  const auto file = data / "aokvqa_v1p0_val.json";
  Json rows = read_json(file);
  for (std::size_t i = 0; i < 5; ++i) {
    std::vector<std::string> people(10, "what nobody says");
    std::fill_n(people.begin(), kAgree[i], said_before.at("val" + std::to_string(i)));
    rows[i]["direct_answers"] = people;
  }
  testing::put(file, rows.dump());
  const Json found = scores("aokvqa-da", " --shots -1");
  EXPECT_EQ(answers, said_before);
  EXPECT_NEAR(found.at("direct_answer").get<double>(), 100 * (1 + 2 / 3.0 + 1 / 3.0) / 4, 1e-9);
  EXPECT_NEAR(found.at("direct_answer_with_difficult").get<double>(), 100 * (1 + 2 / 3.0 + 1 / 3.0 + 1) / 5,
              1e-9);
}

TEST_F(EvaluateProgram, PubMedQaDecidesTheTestSplit) {
  make_pubmedqa();
  const Json found = scores("pubmedqa", " --max_tokens 200");
  double right = 0;
  ASSERT_EQ(answers.size(), 4u);
  for (const auto& [id, answer] : answers) right += answer == ((id.back() - '0') % 2 ? "yes" : "maybe");
  EXPECT_NEAR(found.at("accuracy").get<double>(), 100 * right / 4, 1e-9);
  EXPECT_NE(run("pubmedqa", " --max_tokens 9"), 0);
  EXPECT_THAT(testing::contents(said), HasSubstr("the question alone has more than"));
}

TEST_F(EvaluateProgram, PubMedQaContextsAreCutToTheLimit) {
  make_pubmedqa();
  const Tokenizer tokenizer = load_tokenizer(model / "language");
  const auto task = [&](std::int64_t limit) {
    return experiments::make_task({.task = "pubmedqa", .data = data, .max_tokens = limit}, tokenizer)
        .items.front();
  };
  const auto tokens = [&](const std::string& text) { return std::ssize(encode_sequence(tokenizer, text)); };
  const auto whole = task(10000).prompt, cut = task(200).prompt;
  EXPECT_GT(tokens(whole), 400);
  EXPECT_LE(tokens(cut), 200);
  EXPECT_THAT(cut, HasSubstr("it was tried on many of them.\n\n### Response:"));
}

TEST_F(EvaluateProgram, StereoSetPicksStatements) {
  make_stereoset();
  const Json found = scores("vl-stereoset");
  double related = 0;
  for (const auto& [id, answer] : answers) related += answer != "u is c";
  EXPECT_NEAR(found.at("vlrs").get<double>(), 100 * related / 4, 1e-9);
  EXPECT_EQ(found.at("by_bias").size(), 2u);
}

// The folder's projections as NF4 gives them back.
void round_projections(const std::filesystem::path& model) {
  const auto round = [](const StateDict& from, std::initializer_list<const char*> projections) {
    StateDict to;
    for (const auto& [name, t] : from) {
      const bool is_one = std::any_of(projections.begin(), projections.end(),
                                      [&](const char* glob) { return matches(name, glob); });
      to.emplace_back(name, is_one ? NF4::unpack(NF4::pack(t), t.scalar_type()) : t);
    }
    return to;
  };
  const auto language = model / "language/model.safetensors";
  StateDict whole;  // not mapped from the file that is written
  for (const auto& [name, t] : load_safetensors(language)) whole.emplace_back(name, t.clone());
  save_safetensors(language, round(whole, {"*_proj.weight"}));
  save_safetensors(model / "flamingo/checkpoint.safetensors",
                   round(load_torch(model / "flamingo/checkpoint.pt"),
                         {"*gated_cross_attn*.to_q.weight", "*gated_cross_attn*.to_kv.weight",
                          "*gated_cross_attn*.to_out.weight", "*gated_cross_attn*.ff.1.weight",
                          "*gated_cross_attn*.ff.3.weight"}));
}

TEST_F(EvaluateProgram, AFourBitBaseIsWhatItsWeightsStandFor) {
  make_vqav2();
  const std::string how = " --shots 2 --num_beams 1 --max_new_tokens 24";
  scores("vqav2", how);
  const auto plain = answers;
  scores("vqav2", how + " --base nf4");
  const auto packed = answers;
  EXPECT_NE(packed, plain);
  round_projections(model);
  scores("vqav2", how);
  EXPECT_EQ(answers, packed);
}

TEST_F(EvaluateProgram, MistakesEndInOneMessage) {
  const auto message = [&](const std::string& task, const std::string& more = "") {
    EXPECT_NE(run(task, more), 0);
    return testing::contents(said);
  };
  EXPECT_THAT(message("nlvr2"), HasSubstr("--task: expected one of aokvqa-da, aokvqa-mc, lines, pubmedqa"));
  EXPECT_THAT(message("vqav2"), HasSubstr("v2_OpenEnded_mscoco_train2014_questions.json"));
  make_vqav2();
  EXPECT_THAT(message("vqav2", " --limit 8"), HasSubstr("--limit 8, but there are 7 questions"));
  EXPECT_THAT(message("vqav2", " --batch 0"), HasSubstr("--batch"));
  EXPECT_THAT(message("vqav2", " --base int3"), HasSubstr("expected plain or nf4, found \"int3\""));
  EXPECT_THAT(message("vqav2", " --shots -2"), HasSubstr("--shots"));
  EXPECT_THAT(message("pubmedqa", " --shots 2"), HasSubstr("--shots 2: pubmedqa has no demonstrations"));
  EXPECT_THAT(message("vqav2", " --float32_matmul_precision low"),
              HasSubstr("expected highest, high or medium, found \"low\""));
  std::filesystem::remove(data / "val2014/COCO_val2014_000000000001.jpg");
  EXPECT_THAT(message("vqav2"), HasSubstr("1 images are missing"));
  EXPECT_FALSE(std::filesystem::exists(predictions));
  testing::put(model / "language/tokenizer_config.json",
               R"({"tokenizer_class": "GPT2Tokenizer", "pad_token": "<pad>"})");
  EXPECT_THAT(message("vqav2"), HasSubstr("gives <image> the id 61"));
}

}  // namespace
}  // namespace morphvlm::evaluate_test
