#include "experiments/train_task.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "experiments/pubmedqa_prompt.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/data/aokvqa.hpp"
#include "morphvlm/data/coco_folder.hpp"
#include "morphvlm/data/instruction_sets.hpp"
#include "morphvlm/data/missing_images.hpp"
#include "morphvlm/data/pubmedqa.hpp"
#include "morphvlm/data/vqa_lines.hpp"
#include "morphvlm/data/vqav2.hpp"

namespace morphvlm::experiments {

namespace {

namespace fs = std::filesystem;

// The answer that most annotators gave; the earlier one of two.
std::string frequent_answer(const VqaExample& e) {
  std::map<std::string, std::int64_t> votes;
  for (const auto& answer : e.answers) ++votes[answer];
  expect(!votes.empty(), "question \"", e.id, "\" has no answer to learn");
  return *std::ranges::max_element(e.answers, {}, [&](const auto& answer) { return votes.at(answer); });
}

std::string chosen_answer(const VqaExample& e) {
  expect(e.correct_choice >= 0, "A-OKVQA: question \"", e.id, "\" does not tell its answer");
  return e.choices.at(static_cast<std::size_t>(e.correct_choice));
}

// The question is read, the answer and what ends it are learned.
LabelledIds label_answer(const FilledPrompt& filled, const Tokenizer& tokenizer, std::int64_t max_tokens) {
  LabelledIds out{.ids = encode_sequence(tokenizer, filled.query)};
  out.labels.assign(out.ids.size(), kIgnoredLabel);
  const TokenIds answer = encode(tokenizer, filled.answer);
  out.ids.insert(out.ids.end(), answer.begin(), answer.end());
  out.labels.insert(out.labels.end(), answer.begin(), answer.end());
  const auto size = std::min(out.ids.size(), static_cast<std::size_t>(max_tokens));
  out.ids.resize(size);
  out.labels.resize(size);
  return out;
}

// A prompt for pictures, for rows that have none.
std::string without_picture(std::string prompt) {
  const auto at = prompt.find(kImageToken);
  if (at != std::string::npos) prompt.erase(at, kImageToken.size());
  return prompt;
}

using AnswerOf = std::string (*)(const VqaExample&);

std::vector<TrainRow> vqa_rows(const VqaDataset& data, AnswerOf answer_of, const TrainDataConfig& c,
                               const Tokenizer& tokenizer) {
  const bool pictures = !data.examples.front().image.empty();
  if (pictures) expect_images(data.examples, c.data.string());
  const std::string prompt = pictures ? c.prompt : without_picture(c.prompt);
  expect(!pictures || prompt.find(kImageToken) != std::string::npos, "prompt \"", prompt, "\": expected ",
         kImageToken, " in it");
  std::vector<TrainRow> rows;
  for (const auto& e : data.examples) {
    const FilledPrompt filled = fill_prompt(prompt, e.question, answer_of(e));
    rows.push_back({e.id, e.image, label_answer(filled, tokenizer, c.max_tokens)});
  }
  return rows;
}

// COCO's captions as OpenFlamingo writes them; those of the validation split where the folder has no other.
std::vector<TrainRow> caption_rows(const TrainDataConfig& c, const Tokenizer& tokenizer) {
  const bool train = fs::exists(c.data / "annotations/captions_train2017.json");
  const std::string split = train ? "train2017" : "val2017";
  const auto examples =
      read_coco_captions(c.data / "annotations" / ("captions_" + split + ".json"), c.data / split);
  expect_images(examples, c.data.string());
  std::vector<TrainRow> rows;
  for (const auto& e : examples) {
    for (const auto& caption : e.captions) {
      const FilledPrompt filled{std::string(kImageToken) + "Output:", caption + std::string(kEndOfChunk)};
      rows.push_back({std::to_string(e.image_id), e.image, label_answer(filled, tokenizer, c.max_tokens)});
    }
  }
  return rows;
}

// The labelled questions but those of the test split. The decision is learned or, as in the paper, the long
// answer, which gets half of the tokens at most.
std::vector<TrainRow> pubmedqa_rows(const TrainDataConfig& c, const Tokenizer& tokenizer, bool long_answer) {
  const auto split = c.data / "test_ground_truth.json";
  std::map<std::string, std::string> test;
  if (fs::exists(split)) test = read_pubmedqa_decisions(split);
  const InstructionTokens tokens{.eos = encode(tokenizer, kEndOfChunk).front(), .max_length = c.max_tokens};
  const auto encode_text = [&](const std::string& text) { return encode_sequence(tokenizer, text); };
  std::vector<TrainRow> rows;
  for (const auto& e : read_pubmedqa(c.data / "ori_pqal.json")) {
    if (test.contains(e.id)) continue;
    const std::string& answer = long_answer ? e.long_answer : e.decision;
    const std::int64_t answered = std::ssize(encode(tokenizer, answer)) + 1;
    const auto room = c.max_tokens - (long_answer ? std::min(answered, c.max_tokens / 2) : answered);
    const InstructionText text{pubmedqa_prompt(e, tokenizer, room), answer};
    rows.push_back({e.id, {}, label_instruction(text, tokens, encode_text)});
  }
  return rows;
}

}  // namespace

std::vector<TrainRow> read_train_rows(const TrainDataConfig& c, const Tokenizer& tokenizer) {
  expect(c.max_tokens > 1, "--data.max_tokens: expected 2 or more, found ", c.max_tokens);
  const std::map<std::string, std::function<std::vector<TrainRow>()>> known{
      {"lines", [&] { return vqa_rows(read_vqa_lines(c.data), &frequent_answer, c, tokenizer); }},
      {"vqav2",
       [&] {
         const auto data = read_vqav2({.questions = c.data / "v2_OpenEnded_mscoco_train2014_questions.json",
                                       .annotations = c.data / "v2_mscoco_train2014_annotations.json",
                                       .images = c.data / "train2014"});
         return vqa_rows(data, &frequent_answer, c, tokenizer);
       }},
      {"aokvqa",
       [&] {
         const auto data = read_aokvqa(c.data / "aokvqa_v1p0_train.json", c.data / "train2017");
         return vqa_rows(data, &chosen_answer, c, tokenizer);
       }},
      {"coco", [&] { return caption_rows(c, tokenizer); }},
      {"pubmedqa", [&] { return pubmedqa_rows(c, tokenizer, false); }},
      {"pubmedqa-long", [&] { return pubmedqa_rows(c, tokenizer, true); }}};
  const auto it = known.find(c.task);
  std::string names;
  for (const auto& [name, read] : known) names += (names.empty() ? "" : ", ") + name;
  expect(it != known.end(), "--data.task: expected one of ", names, ", found \"", c.task, '"');
  auto rows = it->second();
  expect(!rows.empty(), c.data.string(), ": no row to train on");
  for (const auto& row : rows) {
    const auto learned = [](std::int64_t label) { return label != kIgnoredLabel; };
    // The first token is never predicted.
    expect(std::any_of(row.text.labels.begin() + 1, row.text.labels.end(), learned), c.data.string(),
           ": question \"", row.id, "\": nothing of its answer is left within ", c.max_tokens,
           " tokens (--data.max_tokens)");
  }
  return rows;
}

}  // namespace morphvlm::experiments
