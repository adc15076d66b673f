#include "experiments/programs/evaluate_task.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "experiments/programs/pubmedqa_prompt.hpp"
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

template <class Row>
std::vector<Row> select(const std::vector<Row>& all, const std::vector<std::size_t>& rows) {
  std::vector<Row> out;
  for (const auto row : rows) out.push_back(all.at(row));
  return out;
}

// Makes an item's prompt; where that cannot be, it ends the run by name or is left to who asks the item.
template <class Make>
void set_prompt(TaskItem& item, const std::string& task, const TaskConfig& c, Make&& make) {
  try {
    item.prompt = make();
  } catch (const Error& e) {
    item.wrong = e.what();
    expect(c.skip_bad_rows, task, ": question \"", item.id, "\": ", item.wrong,
           "; --skip_bad_rows leaves such questions out");
  }
}

DataText data_text(const Tokenizer& tokenizer, const TaskConfig& c) {
  return DataText(tokenizer, special_in_data(c.special_tokens, "--special_tokens"));
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

// A question's prompt, its own words and those of its demonstrations as ordinary text.
std::string plain_prompt(const VqaSplits& data, const FewShotQuery& query, const FewShotConfig& few,
                         const DataText& words) {
  VqaSplits shown;
  FewShotQuery same;
  for (const auto row : query.demonstrations) {
    auto e = data.train.examples.at(static_cast<std::size_t>(row));
    expect(!e.answers.empty(), "demonstration \"", e.id, "\" has no answer");
    const std::string where = "demonstration \"" + e.id + '"';
    e.question = words(e.question, where);
    e.answers = {words(e.answers.front(), where)};
    same.demonstrations.push_back(std::ssize(shown.train.examples));
    shown.train.examples.push_back(std::move(e));
  }
  auto asked = data.test.examples.at(static_cast<std::size_t>(query.test_row));
  asked.question = words(asked.question, "its words");
  shown.test.examples.push_back(std::move(asked));
  return few_shot_prompt(shown.train, shown.test, same, few);
}

VqaItems vqa_items(const VqaSplits& data, const TaskConfig& c, const Tokenizer& tokenizer) {
  const auto rows = std::ssize(data.test.examples), pool = std::ssize(data.train.examples);
  FewShotConfig few{.shots = std::max<std::int64_t>(c.shots, 0), .samples = c.limit, .seed = c.seed};
  expect(c.limit <= rows, data.test.name, ": --limit ", c.limit, ", but there are ", rows, " questions");
  std::vector<FewShotQuery> queries;
  if (c.shots >= 0) {
    few.query_set = std::min(few.query_set, pool);
    expect(few.demonstrations() <= few.query_set, "--shots ", c.shots, ": ", data.train.name, " has ", pool,
           " questions to take ", few.demonstrations(), " demonstrations from (--shots -1 asks without any)");
    queries = select_few_shot(pool, rows, few);
  } else {
    NumpyRandom numpy(static_cast<std::uint32_t>(c.seed));
    for (const auto row : numpy.choice(rows, c.limit > 0 ? c.limit : rows)) queries.push_back({row, {}});
  }
  const DataText words = data_text(tokenizer, c);
  VqaItems out;
  for (const auto& query : queries) {
    out.asked.push_back(data.test.examples.at(static_cast<std::size_t>(query.test_row)));
    out.items.push_back(
        {.id = out.asked.back().id, .images = few_shot_images(data.train, data.test, query, few)});
    set_prompt(out.items.back(), data.test.name, c, [&] { return plain_prompt(data, query, few, words); });
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
  task.score = [asked](const auto& a) { return score_vqav2(select(*asked, a.rows), a.texts); };
  task.each = [asked](const auto& a) { return each_vqav2(select(*asked, a.rows), a.texts); };
}

Task vqav2_task(const TaskConfig& c, const Tokenizer& tokenizer) {
  const auto split = [&](const std::string& name) {
    return read_vqav2({.questions = c.data / ("v2_OpenEnded_mscoco_" + name + "_questions.json"),
                       .annotations = c.data / ("v2_mscoco_" + name + "_annotations.json"),
                       .images = c.data / name});
  };
  VqaSplits data;
  if (c.shots >= 0) data.train = split("train2014");
  data.test = split("val2014");
  auto [items, asked] = vqa_items(data, c, tokenizer);
  Task task{.name = "VQAv2", .items = std::move(items)};
  score_as_vqav2(task, std::move(asked));
  return task;
}

template <class Row>
std::vector<Row> sampled_rows(const std::vector<Row>& rows, const TaskConfig& c) {
  if (c.limit == 0) return rows;
  expect(c.limit <= std::ssize(rows), c.data.string(), ": --limit ", c.limit, ", but there are ", rows.size(),
         " questions");
  NumpyRandom numpy(static_cast<std::uint32_t>(c.seed));
  auto chosen = numpy.choice(std::ssize(rows), c.limit);
  std::ranges::sort(chosen);
  std::vector<Row> out;
  for (const auto row : chosen) out.push_back(rows[static_cast<std::size_t>(row)]);
  return out;
}

// Questions of one's own: right is what the VQA score takes for the same answer.
Task lines_task(const TaskConfig& c, const Tokenizer& tokenizer) {
  auto data = read_vqa_lines(c.data);
  data.examples = sampled_rows(data.examples, c);
  Task task{.name = data.name};
  const DataText words = data_text(tokenizer, c);
  for (auto& e : data.examples) {
    const bool picture = !e.image.empty();
    const std::string prompt =
        picture ? std::string(kVqaPrompt) : std::string(kVqaPrompt.substr(kImageToken.size()));
    task.items.push_back({.id = e.id});
    if (picture) task.items.back().images.push_back(e.image);
    set_prompt(task.items.back(), task.name, c,
               [&] { return fill_prompt(prompt, words(e.question, "its words"), "").query; });
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

Task aokvqa_task(const TaskConfig& c, const Tokenizer& tokenizer, bool choice) {
  const auto split = [&](const std::string& name) {
    VqaDataset data = read_aokvqa(c.data / ("aokvqa_v1p0_" + name + ".json"), c.data / (name + "2017"));
    if (choice) answer_with_choice(data);
    return data;
  };
  VqaSplits data;
  if (c.shots >= 0) data.train = split("train");
  data.test = split("val");
  VqaItems made = vqa_items(data, c, tokenizer);
  Task task{.name = choice ? "A-OKVQA, multiple choice" : "A-OKVQA, direct answer",
            .items = std::move(made.items)};
  const VqaDataset asked{data.test.name, std::move(made.asked), {}};
  if (choice)
    for (std::size_t i = 0; i < task.items.size(); ++i) task.items[i].choices = asked.examples[i].choices;
  const auto some = [asked](const std::vector<std::size_t>& rows) {
    return VqaDataset{asked.name, select(asked.examples, rows), {}};
  };
  task.score = [some, choice](const auto& a) { return score_aokvqa(some(a.rows), a.texts, choice); };
  task.each = [some, choice](const auto& a) { return each_aokvqa(some(a.rows), a.texts, choice); };
  return task;
}

Task pubmedqa_task(const TaskConfig& c, const Tokenizer& tokenizer) {
  auto examples = read_pubmedqa(c.data / "ori_pqal.json");
  const auto split = c.data / "test_ground_truth.json";
  if (fs::exists(split)) examples = select_examples(examples, read_pubmedqa_decisions(split));
  expect_decisions(examples, (c.data / "ori_pqal.json").string());
  examples = sampled_rows(examples, c);
  Task task{.name = fs::exists(split) ? "PubMedQA, test split" : "PubMedQA, all labelled questions"};
  std::map<std::string, std::string> truth;
  const DataText words = data_text(tokenizer, c);
  for (const auto& example : examples) {
    task.items.push_back({.id = example.id, .choices = {kPubMedDecisions.begin(), kPubMedDecisions.end()}});
    set_prompt(task.items.back(), task.name, c,
               [&] { return pubmedqa_prompt(plain_words(example, words), tokenizer, c.max_tokens); });
    truth[example.id] = example.decision;
  }
  std::vector<std::string> ids;
  for (const auto& item : task.items) ids.push_back(item.id);
  task.score = [truth, ids](const Answers& a) {
    std::map<std::string, std::string> asked, predictions;
    std::int64_t right = 0;
    for (std::size_t i = 0; i < a.rows.size(); ++i) {
      const std::string& id = ids[a.rows[i]];
      asked[id] = truth.at(id);
      predictions[id] = a.texts[i];
      right += truth.at(id) == a.texts[i];
    }
    const auto score = pubmedqa_score(asked, predictions);
    return Json{{"accuracy", 100 * score.accuracy},
                {"interval", interval_json(wilson(right, std::ssize(a.rows)))},
                {"macro_f1", 100 * score.macro_f1}};
  };
  task.each = [truth, ids](const Answers& a) {
    std::vector<double> right;
    for (std::size_t i = 0; i < a.rows.size(); ++i)
      right.push_back(truth.at(ids[a.rows[i]]) == a.texts[i] ? 1 : 0);
    return right;
  };
  return task;
}

Json stereoset_json(const VlStereoSetScore& s) {
  return {{"vlrs", 100 * s.vlrs}, {"vlbs", 100 * s.vlbs}, {"ivlas", 100 * s.ivlas}, {"pictures", s.picked}};
}

Task stereoset_task(const TaskConfig& c) {
  const auto file = c.data / "VLStereoSet.csv";
  auto examples = sampled_rows(read_vl_stereoset(file, c.data / "images"), c);
  Task task{.name = "VL-StereoSet"};
  for (const auto& example : examples)
    task.items.push_back({.id = std::to_string(task.items.size()),
                          .prompt = std::string(kImageToken) + "Output:",
                          .images = {example.image},
                          .choices = {example.statements.begin(), example.statements.end()}});
  task.score = [examples](const Answers& a) {
    const auto asked = select(examples, a.rows);
    std::vector<std::optional<StereoPick>> picks;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const auto& statements = asked[i].statements;
      const auto found = std::ranges::find(statements, a.texts[i]);
      picks.push_back(found == statements.end()
                          ? std::nullopt
                          : std::optional(static_cast<StereoPick>(found - statements.begin())));
    }
    Json out = stereoset_json(vl_stereoset_score(asked, picks));
    for (const auto& [bias, score] : vl_stereoset_score_by_bias(asked, picks))
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
  const std::map<std::string, Known> known{
      {"lines", {[&] { return lines_task(c, tokenizer); }}},
      {"vqav2", {[&] { return vqav2_task(c, tokenizer); }, true}},
      {"aokvqa-mc", {[&] { return aokvqa_task(c, tokenizer, true); }, true}},
      {"aokvqa-da", {[&] { return aokvqa_task(c, tokenizer, false); }, true}},
      {"pubmedqa", {[&] { return pubmedqa_task(c, tokenizer); }}},
      {"vl-stereoset", {[&] { return stereoset_task(c); }}}};
  const auto it = known.find(c.task);
  std::string names;
  for (const auto& [name, how] : known) names += (names.empty() ? "" : ", ") + name;
  expect_own_ranges(c, "");
  expect(it != known.end(), "--task: expected one of ", names, ", found \"", c.task, '"');
  expect(it->second.has_training_split || c.shots <= 0, "--shots ", c.shots, ": ", c.task,
         " has no demonstrations");
  Task task = it->second.make();
  if (!c.skip_bad_rows) expect_item_images(task, c.data);
  return task;
}

}  // namespace morphvlm::experiments
