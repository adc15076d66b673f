#include "experiments/programs/train_task.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "experiments/programs/pubmedqa_prompt.hpp"
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

/// What all kinds of data need to make rows.
struct RowMaker {
  const TrainDataConfig& config;
  const Tokenizer& tokenizer;
  BadRows& bad;
  DataText words{tokenizer, special_in_data(config.special_tokens, "--data.special_tokens")};
  std::string name = config.data.string();
  std::vector<TrainRow> rows = {};

  // Missing pictures are told all at once, unless their rows are left out.
  template <class Row>
  void check_images(const std::vector<Row>& examples) const {
    if (!bad.skips()) expect_images(examples, name);
  }

  /// Adds what make() returns, a row's text, or notes that there is none.
  template <class Make>
  void add(const std::string& id, const fs::path& image, Make&& make) {
    bad.guard(name, id, [&] {
      std::error_code ignored;
      expect(image.empty() || fs::is_regular_file(image, ignored), image.string(),
             ": its picture is missing");
      rows.push_back({id, image, make()});
      expect_answer(rows.back());
    });
  }

  /// The text of a prompt and an answer, both as ordinary text.
  LabelledIds text(const std::string& prompt, const std::string& question, const std::string& answer) const {
    const std::string asked = words(question, "its question"), learned = words(answer, "its answer");
    return label_answer(fill_prompt(prompt, asked, learned), tokenizer, config.max_tokens);
  }

 private:
  void expect_answer(const TrainRow& row) {
    const auto learned = [](std::int64_t label) { return label != kIgnoredLabel; };
    const auto& labels = row.text.labels;
    // The first token is never predicted.
    if (!labels.empty() && std::any_of(labels.begin() + 1, labels.end(), learned)) return;
    rows.pop_back();
    fail("nothing of its answer is left within ", config.max_tokens, " tokens (--data.max_tokens)");
  }
};

void add_vqa_rows(RowMaker& to, const VqaDataset& data, AnswerOf answer_of) {
  const bool pictures = !data.examples.front().image.empty();
  if (pictures) to.check_images(data.examples);
  const std::string& asked = to.config.prompt;
  const std::string prompt = pictures ? asked : without_picture(asked);
  expect(!pictures || prompt.find(kImageToken) != std::string::npos, "prompt \"", prompt, "\": expected ",
         kImageToken, " in it");
  for (const auto& e : data.examples)
    to.add(e.id, e.image, [&] { return to.text(prompt, e.question, answer_of(e)); });
}

// COCO's captions as OpenFlamingo writes them; those of the validation split where the folder has no other.
void add_caption_rows(RowMaker& to) {
  const fs::path& folder = to.config.data;
  const bool train = fs::exists(folder / "annotations/captions_train2017.json");
  const std::string split = train ? "train2017" : "val2017";
  const auto examples =
      read_coco_captions(folder / "annotations" / ("captions_" + split + ".json"), folder / split);
  to.check_images(examples);
  for (const auto& e : examples) {
    for (const auto& caption : e.captions) {
      to.add(std::to_string(e.image_id), e.image, [&] {
        const FilledPrompt filled{std::string(kImageToken) + "Output:",
                                  to.words(caption, "its caption") + std::string(kEndOfChunk)};
        return label_answer(filled, to.tokenizer, to.config.max_tokens);
      });
    }
  }
}

// The labelled questions but those of the test split. The decision is learned or, as in the paper, the long
// answer, which gets half of the tokens at most.
void add_pubmedqa_rows(RowMaker& to, bool long_answer) {
  const TrainDataConfig& c = to.config;
  const auto file = c.data / "ori_pqal.json", split = c.data / "test_ground_truth.json";
  std::map<std::string, std::string> test;
  if (fs::exists(split)) test = read_pubmedqa_decisions(split);
  const InstructionTokens tokens{.eos = encode(to.tokenizer, kEndOfChunk).front(),
                                 .max_length = c.max_tokens};
  const auto encode_text = [&](const std::string& text) { return encode_sequence(to.tokenizer, text); };
  const auto examples = read_pubmedqa(file);
  if (!long_answer) expect_decisions(examples, file.string());
  for (const auto& e : examples) {
    if (test.contains(e.id)) continue;
    to.add(e.id, {}, [&] {
      const std::string answer = to.words(long_answer ? e.long_answer : e.decision, "its answer");
      const std::int64_t answered = std::ssize(encode(to.tokenizer, answer)) + 1;
      const auto room = c.max_tokens - (long_answer ? std::min(answered, c.max_tokens / 2) : answered);
      const InstructionText text{pubmedqa_prompt(plain_words(e, to.words), to.tokenizer, room), answer};
      return label_instruction(text, tokens, encode_text);
    });
  }
}

}  // namespace

std::vector<TrainRow> read_train_rows(const TrainDataConfig& c, const Tokenizer& tokenizer, BadRows& bad) {
  expect_own_ranges(c, "data");
  RowMaker to{.config = c, .tokenizer = tokenizer, .bad = bad};
  const std::map<std::string, std::function<void()>> known{
      {"lines", [&] { add_vqa_rows(to, read_vqa_lines(c.data), &frequent_answer); }},
      {"vqav2",
       [&] {
         const auto data = read_vqav2({.questions = c.data / "v2_OpenEnded_mscoco_train2014_questions.json",
                                       .annotations = c.data / "v2_mscoco_train2014_annotations.json",
                                       .images = c.data / "train2014"});
         add_vqa_rows(to, data, &frequent_answer);
       }},
      {"aokvqa",
       [&] {
         const auto data = read_aokvqa(c.data / "aokvqa_v1p0_train.json", c.data / "train2017");
         add_vqa_rows(to, data, &chosen_answer);
       }},
      {"coco", [&] { add_caption_rows(to); }},
      {"pubmedqa", [&] { add_pubmedqa_rows(to, false); }},
      {"pubmedqa-long", [&] { add_pubmedqa_rows(to, true); }}};
  const auto it = known.find(c.task);
  std::string names;
  for (const auto& [name, read] : known) names += (names.empty() ? "" : ", ") + name;
  expect(it != known.end(), "--data.task: expected one of ", names, ", found \"", c.task, '"');
  it->second();
  expect(!to.rows.empty(), c.data.string(), ": no row to train on");
  return std::move(to.rows);
}

std::vector<TrainRow> read_train_rows(const TrainDataConfig& c, const Tokenizer& tokenizer) {
  BadRows bad(false);
  return read_train_rows(c, tokenizer, bad);
}

}  // namespace morphvlm::experiments
