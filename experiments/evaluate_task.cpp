#include "experiments/evaluate_task.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "experiments/pubmedqa_prompt.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/data/aokvqa.hpp"
#include "morphvlm/data/few_shot.hpp"
#include "morphvlm/data/instruction.hpp"
#include "morphvlm/data/instruction_sets.hpp"
#include "morphvlm/data/mersenne_twister.hpp"
#include "morphvlm/data/missing_images.hpp"
#include "morphvlm/data/prompt.hpp"
#include "morphvlm/data/pubmedqa.hpp"
#include "morphvlm/data/vl_stereoset.hpp"
#include "morphvlm/data/vqa_lines.hpp"
#include "morphvlm/data/vqav2.hpp"
#include "morphvlm/eval/aokvqa_score.hpp"
#include "morphvlm/eval/pubmedqa_score.hpp"
#include "morphvlm/eval/vl_stereoset_score.hpp"
#include "morphvlm/eval/vqa_score.hpp"
#include "morphvlm/report/statistics.hpp"

namespace morphvlm::experiments {

namespace {

namespace fs = std::filesystem;

Json interval_json(const Interval& interval) {
  return Json::array({100 * interval.low, 100 * interval.high});
}

void expect_item_images(const Task& task, const fs::path& where) {
  struct Row {
    fs::path image;
  };
  std::vector<Row> rows;
  for (const auto& item : task.items)
    for (const auto& image : item.images) rows.push_back({image});
  expect_images(rows, where.string());
}

/// Questions about images as OpenFlamingo asks them, demonstrations from the training split.
struct VqaSplits {
  VqaDataset train, test;
};

/// What is asked, and the examples that it is about.
struct VqaItems {
  std::vector<TaskItem> items = {};
  std::vector<VqaExample> asked = {};
};

VqaItems vqa_items(const VqaSplits& data, const TaskConfig& c) {
  expect(c.shots >= -1, "--shots: expected -1 or more, found ", c.shots);
  const auto rows = std::ssize(data.test.examples), pool = std::ssize(data.train.examples);
  FewShotConfig few{.shots = std::max<std::int64_t>(c.shots, 0), .samples = c.limit, .seed = c.seed};
  expect(c.limit <= rows, data.test.name, ": --limit ", c.limit, ", but there are ", rows, " questions");
  std::vector<FewShotQuery> queries;
  if (c.shots >= 0) {
    few.query_set = std::min(few.query_set, pool);
    queries = select_few_shot(pool, rows, few);
  } else {
    NumpyRandom numpy(static_cast<std::uint32_t>(c.seed));
    for (const auto row : numpy.choice(rows, c.limit > 0 ? c.limit : rows)) queries.push_back({row, {}});
  }
  VqaItems out;
  for (const auto& query : queries) {
    out.asked.push_back(data.test.examples.at(static_cast<std::size_t>(query.test_row)));
    out.items.push_back({out.asked.back().id,
                         few_shot_prompt(data.train, data.test, query, few),
                         few_shot_images(data.train, data.test, query, few),
                         {}});
  }
  return out;
}

std::vector<double> each_vqav2(const std::vector<VqaExample>& asked,
                               const std::vector<std::string>& answers) {
  std::vector<double> scores;
  for (std::size_t i = 0; i < asked.size(); ++i)
    scores.push_back(vqa_accuracy(answer_of_generation(answers[i]), asked[i].answers));
  return scores;
}

Json score_vqav2(const std::vector<VqaExample>& asked, const std::vector<std::string>& answers) {
  const auto scores = each_vqav2(asked, answers);
  std::map<std::string, std::vector<double>> by_kind;
  for (std::size_t i = 0; i < asked.size(); ++i) by_kind[asked[i].kind].push_back(scores[i]);
  Json kinds = Json::object();
  for (const auto& [kind, values] : by_kind) kinds[kind] = vqa_percent(values);
  return {{"accuracy", vqa_percent(scores)},
          {"interval", interval_json(bootstrap_mean(scores))},
          {"by_answer_type", kinds}};
}

// Both keep the questions, of which VQAv2 has hundreds of thousands.
void score_as_vqav2(Task& task, std::vector<VqaExample> questions) {
  const auto asked = std::make_shared<const std::vector<VqaExample>>(std::move(questions));
  task.score = [asked](const auto& answers) { return score_vqav2(*asked, answers); };
  task.each = [asked](const auto& answers) { return each_vqav2(*asked, answers); };
}

Task vqav2_task(const TaskConfig& c) {
  const auto split = [&](const std::string& name) {
    return read_vqav2({.questions = c.data / ("v2_OpenEnded_mscoco_" + name + "_questions.json"),
                       .annotations = c.data / ("v2_mscoco_" + name + "_annotations.json"),
                       .images = c.data / name});
  };
  VqaSplits data;
  if (c.shots >= 0) data.train = split("train2014");
  data.test = split("val2014");
  auto [items, asked] = vqa_items(data, c);
  Task task{.name = "VQAv2", .items = std::move(items)};
  score_as_vqav2(task, std::move(asked));
  return task;
}

template <class Row>
std::vector<Row> draw_rows(const std::vector<Row>& rows, const TaskConfig& c) {
  if (c.limit == 0) return rows;
  expect(c.limit > 0 && c.limit <= std::ssize(rows), c.data.string(), ": --limit ", c.limit,
         ", but there are ", rows.size(), " questions");
  NumpyRandom numpy(static_cast<std::uint32_t>(c.seed));
  auto chosen = numpy.choice(std::ssize(rows), c.limit);
  std::ranges::sort(chosen);
  std::vector<Row> out;
  for (const auto row : chosen) out.push_back(rows[static_cast<std::size_t>(row)]);
  return out;
}

// Questions of one's own: right is what the VQA score takes for the same answer.
Task lines_task(const TaskConfig& c) {
  auto data = read_vqa_lines(c.data);
  data.examples = draw_rows(data.examples, c);
  Task task{.name = data.name};
  for (auto& e : data.examples) {
    const bool picture = !e.image.empty();
    const std::string prompt =
        picture ? std::string(kVqaPrompt) : std::string(kVqaPrompt.substr(kImageToken.size()));
    task.items.push_back({e.id, fill_prompt(prompt, e.question, "").query, {}, {}});
    if (picture) task.items.back().images.push_back(e.image);
    e.kind = "lines";
    e.answers.resize(10, e.answers.front());  // the score asks ten people
  }
  score_as_vqav2(task, std::move(data.examples));
  return task;
}

// Demonstrations of multiple choice answer with the correct choice.
void answer_with_choice(VqaDataset& data) {
  for (auto& example : data.examples)
    if (example.correct_choice >= 0)
      example.answers = {example.choices[static_cast<std::size_t>(example.correct_choice)]};
}

std::vector<double> each_aokvqa(const VqaDataset& asked, const std::vector<std::string>& answers,
                                bool choice) {
  std::vector<double> scores;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto& example = asked.examples[i];
    scores.push_back(choice ? aokvqa_multiple_choice(answers[i], example)
                            : aokvqa_direct_answer(answer_of_generation(answers[i]), example));
  }
  return scores;
}

Json score_aokvqa(const VqaDataset& asked, const std::vector<std::string>& answers, bool choice) {
  std::map<std::string, std::string> predictions;
  const auto each = each_aokvqa(asked, answers, choice);
  std::vector<double> scores;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto& example = asked.examples[i];
    predictions[example.id] = choice ? answers[i] : answer_of_generation(answers[i]);
    if (choice || !example.difficult) scores.push_back(each[i]);
  }
  Json out{{choice ? "multiple_choice" : "direct_answer",
            100 * aokvqa_score(asked, predictions, {.multiple_choice = choice})}};
  if (!choice)
    out["direct_answer_with_difficult"] =
        100 * aokvqa_score(asked, predictions, {.multiple_choice = false, .drop_difficult = false});
  out["interval"] = interval_json(bootstrap_mean(scores));
  return out;
}

Task aokvqa_task(const TaskConfig& c, bool choice) {
  const auto split = [&](const std::string& name) {
    VqaDataset data = read_aokvqa(c.data / ("aokvqa_v1p0_" + name + ".json"), c.data / (name + "2017"));
    if (choice) answer_with_choice(data);
    return data;
  };
  VqaSplits data;
  if (c.shots >= 0) data.train = split("train");
  data.test = split("val");
  VqaItems made = vqa_items(data, c);
  Task task{.name = choice ? "A-OKVQA, multiple choice" : "A-OKVQA, direct answer",
            .items = std::move(made.items)};
  const VqaDataset asked{data.test.name, std::move(made.asked), {}};
  if (choice)
    for (std::size_t i = 0; i < task.items.size(); ++i) task.items[i].choices = asked.examples[i].choices;
  task.score = [asked, choice](const auto& answers) { return score_aokvqa(asked, answers, choice); };
  task.each = [asked, choice](const auto& answers) { return each_aokvqa(asked, answers, choice); };
  return task;
}

Task pubmedqa_task(const TaskConfig& c, const Tokenizer& tokenizer) {
  auto examples = read_pubmedqa(c.data / "ori_pqal.json");
  const auto split = c.data / "test_ground_truth.json";
  if (fs::exists(split)) examples = select_examples(examples, read_pubmedqa_decisions(split));
  examples = draw_rows(examples, c);
  Task task{.name = fs::exists(split) ? "PubMedQA, test split" : "PubMedQA, all labelled questions"};
  std::map<std::string, std::string> truth;
  for (const auto& example : examples) {
    task.items.push_back({example.id,
                          pubmedqa_prompt(example, tokenizer, c.max_tokens),
                          {},
                          {kPubMedDecisions.begin(), kPubMedDecisions.end()}});
    truth[example.id] = example.decision;
  }
  std::vector<std::string> ids;
  for (const auto& item : task.items) ids.push_back(item.id);
  task.score = [truth, ids](const std::vector<std::string>& answers) {
    std::map<std::string, std::string> predictions;
    std::int64_t right = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      predictions[ids[i]] = answers[i];
      right += truth.at(ids[i]) == answers[i];
    }
    const auto score = pubmedqa_score(truth, predictions);
    return Json{{"accuracy", 100 * score.accuracy},
                {"interval", interval_json(wilson(right, std::ssize(ids)))},
                {"macro_f1", 100 * score.macro_f1}};
  };
  task.each = [truth, ids](const std::vector<std::string>& answers) {
    std::vector<double> right;
    for (std::size_t i = 0; i < ids.size(); ++i) right.push_back(truth.at(ids[i]) == answers[i] ? 1 : 0);
    return right;
  };
  return task;
}

Json stereoset_json(const VlStereoSetScore& s) {
  return {{"vlrs", 100 * s.vlrs}, {"vlbs", 100 * s.vlbs}, {"ivlas", 100 * s.ivlas}, {"pictures", s.picked}};
}

Task stereoset_task(const TaskConfig& c) {
  const auto file = c.data / "VLStereoSet.csv";
  auto examples = draw_rows(read_vl_stereoset(file, c.data / "images"), c);
  Task task{.name = "VL-StereoSet"};
  for (const auto& example : examples)
    task.items.push_back({std::to_string(task.items.size()),
                          std::string(kImageToken) + "Output:",
                          {example.image},
                          {example.statements.begin(), example.statements.end()}});
  task.score = [examples](const std::vector<std::string>& answers) {
    std::vector<std::optional<StereoPick>> picks;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const auto& statements = examples[i].statements;
      const auto found = std::ranges::find(statements, answers[i]);
      picks.push_back(found == statements.end()
                          ? std::nullopt
                          : std::optional(static_cast<StereoPick>(found - statements.begin())));
    }
    Json out = stereoset_json(vl_stereoset_score(examples, picks));
    for (const auto& [bias, score] : vl_stereoset_score_by_bias(examples, picks))
      out["by_bias"][bias] = stereoset_json(score);
    return out;
  };
  return task;
}

}  // namespace

Task make_task(const TaskConfig& c, const Tokenizer& tokenizer) {
  struct Known {
    std::function<Task()> make;
    bool has_training_split = false;  // that demonstrations come from
  };
  const std::map<std::string, Known> known{{"lines", {[&] { return lines_task(c); }}},
                                           {"vqav2", {[&] { return vqav2_task(c); }, true}},
                                           {"aokvqa-mc", {[&] { return aokvqa_task(c, true); }, true}},
                                           {"aokvqa-da", {[&] { return aokvqa_task(c, false); }, true}},
                                           {"pubmedqa", {[&] { return pubmedqa_task(c, tokenizer); }}},
                                           {"vl-stereoset", {[&] { return stereoset_task(c); }}}};
  const auto it = known.find(c.task);
  std::string names;
  for (const auto& [name, how] : known) names += (names.empty() ? "" : ", ") + name;
  expect(it != known.end(), "--task: expected one of ", names, ", found \"", c.task, '"');
  expect(std::in_range<std::uint32_t>(c.seed), "--seed: expected 0 to 2^32 - 1, found ", c.seed);
  expect(it->second.has_training_split || c.shots <= 0, "--shots ", c.shots, ": ", c.task,
         " has no demonstrations");
  Task task = it->second.make();
  expect_item_images(task, c.data);
  return task;
}

}  // namespace morphvlm::experiments
