// What Multimodal-GPT makes of its data sets: instructions with and without pictures. Reference:
// mmgpt/datasets.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/data/instruction.hpp"
#include "morphvlm/data/json_rows.hpp"
#include "morphvlm/data/mersenne_twister.hpp"
#include "morphvlm/data/pubmedqa.hpp"

namespace morphvlm {

/// How often a question with several answers lists them as options.
inline constexpr double kOptionShare = 0.5;

/// What is asked behind a question of A-OKVQA.
inline constexpr std::array<std::string_view, 7> kReasonQuestions{"Why?",
                                                                  "Why is this?",
                                                                  "And why?",
                                                                  "What is the reason?",
                                                                  "And can you tell me why?",
                                                                  "Can you tell me why?",
                                                                  "Can you tell me the reason?"};

/// VQA: the most frequent answer (of equals the first); the different answers are the options, if any.
inline InstructionText vqa_instruction(const VqaExample& e, PythonRandom& random) {
  expect(!e.answers.empty(), "VQA: question \"", e.question, "\" has no answer to learn");
  std::vector<std::string> answers;
  for (const auto& answer : e.answers)
    if (std::ranges::find(answers, answer) == answers.end()) answers.push_back(answer);
  const auto count = [&](const std::string& a) { return std::ranges::count(e.answers, a); };
  const bool options = random.real() < kOptionShare && answers.size() > 1;
  return {instruction_prompt(e.question, options ? join_options(answers) : std::string()),
          *std::ranges::max_element(answers, {}, count)};
}

/// A-OKVQA: a question for the reason is put behind, the answer is aokvqa_answer. Choices are listed only if
/// `options`: the reference draws whether to list them, but never does.
inline InstructionText aokvqa_instruction(const VqaExample& e, PythonRandom& random, bool options = false) {
  const auto why = kReasonQuestions[static_cast<std::size_t>(random.below(std::ssize(kReasonQuestions)))];
  const bool drawn = random.real() < kOptionShare && e.choices.size() > 1;
  const auto question = e.question + ' ' + std::string(why);
  return {instruction_prompt(question, drawn && options ? join_options(e.choices) : std::string()),
          aokvqa_answer(e)};
}

/// The abstract's parts, a line each.
inline std::string pubmedqa_input(const PubMedQaExample& e) {
  std::string contexts;
  for (const auto& context : e.contexts) contexts += (contexts.empty() ? "" : "\n") + context;
  return contexts;
}

/// PubMedQA, where there is no picture: the abstract's parts are the input, the long answer is learned.
inline InstructionText pubmedqa_instruction(const PubMedQaExample& e) {
  return {instruction_prompt(e.question, pubmedqa_input(e), false), e.long_answer};
}

/// A dialogue of questions and answers about one picture or none, one text a turn: the first begins the
/// prompt, the others go on with it. Line breaks within them are dropped.
inline std::vector<InstructionText> dialogue_instructions(
    const std::vector<std::pair<std::string, std::string>>& turns, bool image) {
  const auto one_line = [](std::string text) {
    std::erase(text, '\n');
    return text;
  };
  const std::string prompt = instruction_prompt("", "", image);
  const std::string head = prompt.substr(0, prompt.find("\n\n### Instruction:"));
  std::vector<InstructionText> out;
  for (const auto& [question, answer] : turns) {
    const std::string turn = "\n\n### Instruction:\n" + one_line(question) + "\n\n### Response:\n";
    out.push_back({out.empty() ? head + turn : turn, one_line(answer)});
  }
  return out;
}

/// Tokens and labels of a dialogue: those of its turns one behind the other, each with its own bos and eos.
template <class Encode>
LabelledIds label_dialogue(const std::vector<InstructionText>& turns, const InstructionTokens& tokens,
                           Encode&& encode) {
  LabelledIds out;
  for (const auto& turn : turns) {
    const LabelledIds part = label_instruction(turn, tokens, encode);
    out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
    out.labels.insert(out.labels.end(), part.labels.begin(), part.labels.end());
  }
  return out;
}

/// The names of a text data set's keys.
struct InstructionKeys {
  const char* instruction = "instruction";  ///< what is to be done
  const char* input = "input";              ///< may be empty in a row
  const char* answer = "output";            ///< the response, which is what is learned
};

/// Of databricks-dolly-15k.jsonl.
inline constexpr InstructionKeys kDollyKeys{"instruction", "context", "response"},
    kAlpacaKeys{};  ///< of Alpaca's files

namespace detail {

inline InstructionText read_instruction(const Json& row, const InstructionKeys& keys,
                                        const std::string& where) {
  const auto instruction = json_get<std::string>(row, keys.instruction, where),
             input = json_get<std::string>(row, keys.input, where);
  return {instruction_prompt(instruction, input, false), json_get<std::string>(row, keys.answer, where)};
}

/// "… [|Human|] question [|AI|] answer [|Human|] …": the text before the first and behind the last mark of a
/// human is not part of it.
inline std::vector<std::pair<std::string, std::string>> read_baize_turns(std::string_view text,
                                                                         const std::string& where) {
  constexpr std::string_view kHuman = "[|Human|] ", kAi = "[|AI|] ";
  std::vector<std::pair<std::string, std::string>> turns;
  auto begin = text.find(kHuman);
  while (begin != std::string_view::npos) {
    begin += kHuman.size();
    const auto end = text.find(kHuman, begin);
    if (end == std::string_view::npos) break;
    const auto turn = text.substr(begin, end - begin);
    const auto ai = turn.find(kAi);
    expect(ai != std::string_view::npos && turn.find(kAi, ai + 1) == std::string_view::npos, where,
           ": expected one ", kAi, "between two ", kHuman);
    turns.emplace_back(turn.substr(0, ai), turn.substr(ai + kAi.size()));
    begin = end;
  }
  return turns;
}

}  // namespace detail

/// Instructions without pictures, from a JSON list or, where the name ends with .jsonl, an object a line.
/// Errors name file, row (from 0) or line (from 1) and key.
inline std::vector<InstructionText> read_instructions(const std::filesystem::path& file,
                                                      const InstructionKeys& keys) {
  std::vector<InstructionText> out;
  if (file.extension() == ".jsonl") {
    for_each_json_line(file, [&](const Json& row, std::int64_t, const std::string& at) {
      out.push_back(detail::read_instruction(row, keys, at));
    });
  } else {
    const Json rows = read_json(file);
    expect(rows.is_array(), file.string(), ": expected a list of instructions");
    for (const auto& row : rows)
      out.push_back(
          detail::read_instruction(row, keys, file.string() + ": row " + std::to_string(out.size())));
  }
  expect(!out.empty(), file.string(), ": no instruction");
  return out;
}

/// Dialogues of Baize's files (quora_chat_data.json): the turns of each. Errors name file, row and key.
inline std::vector<std::vector<InstructionText>> read_baize(const std::filesystem::path& file) {
  const Json rows = read_json(file);
  expect(rows.is_array() && !rows.empty(), file.string(), ": expected a list of dialogues that is not empty");
  std::vector<std::vector<InstructionText>> out;
  for (const auto& row : rows) {
    const std::string where = file.string() + ": row " + std::to_string(out.size());
    const auto turns = detail::read_baize_turns(json_get<std::string>(row, "input", where), where);
    expect(!turns.empty(), where, ": a dialogue without turns");
    out.push_back(dialogue_instructions(turns, false));
  }
  return out;
}

}  // namespace morphvlm
