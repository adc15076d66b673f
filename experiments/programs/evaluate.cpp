// Asks a model folder a data set's questions and scores the answers (docs/evaluate.md).
#include <iostream>
#include <span>

#include "experiments/programs/bad_rows.hpp"
#include "experiments/programs/evaluate_task.hpp"
#include "experiments/programs/kept_answers.hpp"
#include "experiments/programs/kept_base.hpp"
#include "experiments/programs/launch.hpp"
#include "experiments/programs/model_input.hpp"
#include "experiments/programs/program.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/core/keep_freed_memory.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/distributed/gloo.hpp"
#include "morphvlm/eval/rank.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/kernels/cpu/matmul_precision.hpp"
#include "morphvlm/vlm/generate.hpp"

namespace {

using namespace morphvlm;
using experiments::Answers;
using experiments::BadRows;
using experiments::KeptAnswers;
using experiments::Task;
using experiments::TaskItem;

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path adapter;
  std::filesystem::path tokenizer;  // if not in the model's language folder
  std::filesystem::path data;
  std::string task;
  std::int64_t limit = 0;
  std::int64_t shots = 0;
  std::int64_t seed = 42;
  std::int64_t max_tokens = 512;
  std::int64_t num_beams = 3;
  std::int64_t max_new_tokens = 5;
  double length_penalty = 0;
  std::string base = "plain";                        // or nf4: what the frozen projections are kept in
  std::int64_t batch = 8;                            // prompts that answers are written to at once
  std::filesystem::path out;                         // predictions, one JSON object a line
  bool resume = false;                               // go on from the answers that an ended run has kept
  std::string special_tokens = "error";              // or text: what "<image>" in a question is
  bool skip_bad_rows = false;                        // questions that cannot be asked are left out
  std::int64_t processes = 1;                        // of this machine, which share the questions
  std::string float32_matmul_precision = "highest";  // or high: faster where the processor can
  std::string device = "cpu";                        // or cuda, cuda:N
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> = std::to_array<FieldNote>(
    {{"model", "the model's folder (docs/models.md)"},
     {"adapter", "a folder of adapters: PEFT's, or what train has made"},
     {"tokenizer", "the tokenizer's folder, if it is not the model's language/"},
     experiments::notes::data,
     experiments::notes::task,
     experiments::notes::limit,
     experiments::notes::shots,
     experiments::notes::seed,
     experiments::notes::max_tokens,
     {"num_beams", "of beam search; 1: the likeliest token each", from_to(1, kMostBeams)},
     {"max_new_tokens", "the longest answer", at_least(1)},
     {"length_penalty", "a beam's score is divided by its length to this power"},
     {"base", "plain or nf4: how the frozen projections are kept"},
     {"batch", "prompts that answers are written to at once", at_least(1)},
     {"out", "the answers, a JSON object a line; kept in OUT.part while they come"},
     {"resume", "go on from the answers in OUT.part"},
     experiments::kSpecialTokensNote,
     experiments::notes::skip_bad_rows,
     {"processes", "of this machine, which share the questions", at_least(1)},
     {"float32_matmul_precision", "highest, high or medium: faster where the processor can"},
     {"device", "cpu, cuda or cuda:N"}});

namespace {

using Items = std::span<const TaskItem>;

/// Latents [items, media, l, d] of the items' pictures; undefined where they have none.
template <class Model>
Tensor read_latents(const Model& model, Items items, const ClipPreprocess& preprocess) {
  std::vector<std::filesystem::path> pictures;
  for (const auto& item : items) pictures.insert(pictures.end(), item.images.begin(), item.images.end());
  if (pictures.empty()) return {};
  const auto media = std::ssize(items.front().images);
  return model.resample(experiments::picture_features(model, pictures, media, preprocess));
}

/// The prompt's tokens. Error: other places for pictures in it than it has pictures.
TokenIds encode_prompt(const Tokenizer& tokenizer, const TaskItem& item, std::int64_t media_token) {
  TokenIds ids = encode_sequence(tokenizer, item.prompt);
  const auto places = std::count(ids.begin(), ids.end(), media_token);
  expect(places == std::ssize(item.images), "the prompt has ", places, " <image> tokens, but there are ",
         item.images.size(), " pictures");
  return ids;
}

template <class Model>
std::string choose(const Model& model, const Tokenizer& tokenizer, const TaskItem& item,
                   const Tensor& latents, const DataText& words) {
  encode_prompt(tokenizer, item, model.config.media_token_id);
  std::vector<std::string> spelled;
  for (const auto& choice : item.choices) spelled.push_back(words(choice, "its choices"));
  const auto query = tokenize_choices(
      item.prompt, spelled, [&](const std::string& text) { return encode_sequence(tokenizer, text); });
  return item.choices[best_choice(choice_scores(model, query, latents))];
}

/// What the model writes after each prompt.
template <class Model>
std::vector<std::string> write_answers(const Model& model, const Tokenizer& tokenizer, Items items,
                                       const Tensor& latents, const Arguments& a) {
  const auto end = model.config.eoc_token_id;
  std::vector<TokenIds> prompts;
  for (const auto& item : items)
    prompts.push_back(encode_prompt(tokenizer, item, model.config.media_token_id));
  const PaddedIds text = pad_rows(prompts, end, Padding::left);
  const GenerateConfig how{.max_new_tokens = a.max_new_tokens,
                           .eos_token_id = end,
                           .pad_token_id = end,
                           .num_beams = a.num_beams,
                           .length_penalty = a.length_penalty};
  const TextInput read{.ids = text.ids, .attention_mask = text.mask};
  const Tensor ids =
      generate(model, read.to(device_of(model.perceiver)), latents, how).ids.cpu().contiguous();
  std::vector<std::string> answers;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    const auto* begin = ids.const_data_ptr<std::int64_t>() + row * ids.size(1);
    answers.push_back(decode(tokenizer, std::span(begin, static_cast<std::size_t>(ids.size(1))), true));
  }
  return answers;
}

// Items that are asked at once: as many prompts as `batch` says, or one with its choices.
std::vector<Items> batches_of(const Task& task, std::int64_t batch) {
  std::vector<Items> batches;
  for (Items rest(task.items); !rest.empty(); rest = rest.subspan(batches.back().size()))
    batches.push_back(rest.first(
        rest.front().choices.empty() ? std::min(rest.size(), static_cast<std::size_t>(batch)) : 1));
  return batches;
}

// Asks a batch's questions; where that fails one by one, so that one that cannot be asked costs no other its
// answer.
template <class AskItems>
void ask_batch(const Task& task, Items items, const AskItems& ask_items, KeptAnswers& kept, BadRows& bad) {
  const auto first = static_cast<std::size_t>(items.data() - task.items.data());
  const auto keep = [&](std::size_t row, Items some) {
    for (const auto& answer : ask_items(some)) {
      // Of a batch that was cut off some answers are there.
      if (!kept[row]) kept.add(row, answer);
      ++row;
    }
  };
  if (items.size() > 1) {
    try {
      return keep(first, items);
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the question that it is about raises it again
    }
  }
  for (std::size_t i = 0; i < items.size(); ++i)
    bad.guard(task.name, items[i].id, [&] { keep(first + i, items.subspan(i, 1)); });
}

Answers answers_of(const KeptAnswers& kept, std::size_t rows) {
  Answers out;
  for (std::size_t i = 0; i < rows; ++i) {
    if (!kept[i]) continue;
    out.rows.push_back(i);
    out.texts.push_back(*kept[i]);
  }
  return out;
}

// Asks what is not known yet, each process its part.
template <class Model>
void ask(const Model& model, const Tokenizer& tokenizer, const Task& task, const Arguments& a,
         KeptAnswers& kept, BadRows& bad, Communicator* processes) {
  at::NoGradGuard no_grad;
  const auto preprocess = experiments::preprocess_of(a.model / "vision", model.config.vision);
  auto batches = batches_of(task, a.batch);
  const auto known = [&](const TaskItem& item) {
    return kept[static_cast<std::size_t>(&item - task.items.data())].has_value();
  };
  std::erase_if(batches, [&](Items items) { return std::all_of(items.begin(), items.end(), known); });
  std::int64_t left = 0;
  for (const auto items : batches) left += std::ssize(items);
  Progress progress(morphvlm::detail::is_first(processes) ? task.name : "", std::ssize(task.items));
  progress.begin_at(std::ssize(task.items) - left);
  const DataText words(tokenizer, experiments::special_in_data(a.special_tokens, "--special_tokens"));
  const auto ask_items = [&](Items items) {
    for (const auto& item : items) expect(item.wrong.empty(), item.wrong);
    const Tensor latents = read_latents(model, items, preprocess);
    if (items.front().choices.empty()) return write_answers(model, tokenizer, items, latents, a);
    return std::vector<std::string>{choose(model, tokenizer, items.front(), latents, words)};
  };
  if (batches.empty()) return;
  for_each_shared(std::ssize(batches), processes, [&](std::int64_t index, bool again) {
    if (again) return;
    const Items items = batches[static_cast<std::size_t>(index)];
    ask_batch(task, items, ask_items, kept, bad);
    progress.advance(std::ssize(items), "");
  });
  progress.finish();
}

void write_predictions(const std::filesystem::path& path, const Task& task, const Answers& answers) {
  const auto scores = task.each ? task.each(answers) : std::vector<double>{};
  write_file(path, [&](const FileSink& sink) {
    for (std::size_t i = 0; i < answers.rows.size(); ++i) {
      Json line{{"id", task.items[answers.rows[i]].id}, {"answer", answers.texts[i]}};
      if (!scores.empty()) line["score"] = scores[i];
      sink.write(json_text(line) + "\n");
    }
  });
}

// Files of a folder as they are now; another model's answers are not to be taken for this one's.
std::string files_fingerprint(const std::filesystem::path& folder) {
  if (folder.empty()) return "";
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files.push_back(entry.path().lexically_relative(folder).string() + ' ' +
                    std::to_string(entry.file_size()) + ' ' +
                    std::to_string(entry.last_write_time().time_since_epoch().count()));
  }
  std::sort(files.begin(), files.end());
  std::string all;
  for (const auto& file : files) all += file + '\n';
  return std::to_string(fnv1a(all));
}

// All that decides the answers.
Json identity_of(const Arguments& a, const Task& task) {
  Arguments same = a;
  same.model = same.adapter = same.tokenizer = same.data = same.out = same.device = "";
  same.resume = same.skip_bad_rows = false;
  same.batch = 1;
  same.processes = 1;
  std::uint64_t hash = 0;
  const auto add = [&](const std::string& text) { hash = split_mix(hash ^ fnv1a(text)); };
  for (const auto& item : task.items) {
    add(item.prompt);
    for (const auto& image : item.images) add(image.filename().string());
    for (const auto& choice : item.choices) add(choice);
  }
  return {{"arguments", to_json(same)},
          {"questions", task.items.size()},
          {"texts", std::to_string(hash)},
          {"model", files_fingerprint(a.model)},
          {"adapter", files_fingerprint(a.adapter.empty() ? a.adapter : adapter_folder(a.adapter))}};
}

/// Calls f with `model` on a device, its projections kept as --base says.
template <VisionTower V, LanguageModel L, AdapterPolicy P, class F>
void with_base(VLM<V, Perceiver, L, P>& model, const std::string& base, c10::Device device, F&& f) {
  if constexpr (std::is_same_v<P, NoAdapter> || std::is_same_v<P, LoRA<Attn>>) {
    if (base == "nf4") return experiments::with_kept<Quantized<NF4, P>>(model, device, f);
  }
  expect(base == "plain", "--base nf4: expected adapters at all attention or none, found others beside them");
  convert(model, at::TensorOptions().device(device));
  f(model);
}

// The scores come first: they are what is left where the file cannot be written after all.
void report(const Arguments& a, const Task& task, const Answers& answers) {
  Json result{{"task", a.task}, {"questions", answers.rows.size()}, {"shots", a.shots}, {"seed", a.seed}};
  if (a.skip_bad_rows) result["skipped"] = task.items.size() - answers.rows.size();
  expect(!answers.rows.empty(), task.name, ": no question could be asked");
  result["scores"] = task.score(answers);
  std::cout << json_text(result, 2) << std::endl;
  if (!a.out.empty()) write_predictions(a.out, task, answers);
}

void run(const Arguments& a) {
  expect(a.base == "plain" || a.base == "nf4", "--base: expected plain or nf4, found \"", a.base, '"');
  experiments::special_in_data(a.special_tokens, "--special_tokens");
  expect(!a.resume || !a.out.empty(), "--resume: expected --out, beside which answers are kept");
  set_float32_matmul_precision(a.float32_matmul_precision);
  const auto place = process_place();
  if (!a.out.empty() && place.rank == 0) expect_writable_file(a.out);
  const auto device = device_named(a.device, place.local_rank);
  const Tokenizer tokenizer = experiments::open_tokenizer(a.tokenizer, open_model_directory(a.model));
  const Task task = experiments::make_task({.task = a.task,
                                            .data = a.data,
                                            .limit = a.limit,
                                            .shots = a.shots,
                                            .seed = a.seed,
                                            .max_tokens = a.max_tokens,
                                            .special_tokens = a.special_tokens,
                                            .skip_bad_rows = a.skip_bad_rows},
                                           tokenizer);
  const auto group = communicator_from_environment();
  KeptAnswers kept(a.out, identity_of(a, task), a.resume, task.items.size(), group.get());
  BadRows bad(a.skip_bad_rows);
  experiments::with_model(a.model, a.adapter, c10::kCPU, [&](auto& model, const WeightSources&) {
    with_base(model, a.base, device,
              [&](const auto& on_device) { ask(on_device, tokenizer, task, a, kept, bad, group.get()); });
  });
  std::cerr << bad.summary();
  kept.join(group.get());
  if (morphvlm::detail::is_first(group.get())) report(a, task, answers_of(kept, task.items.size()));
  kept.remove(group.get());
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  return experiments::program<Arguments>(
      {.name = "evaluate",
       .purpose = "Asks a model folder a data set's questions and scores the answers (docs/evaluate.md).",
       .required = {"model", "data", "task"}},
      argc, argv, [&](const Arguments& arguments) {
        if (const auto status = experiments::launch(arguments.processes, argv)) return *status;
        run(arguments);
        return 0;
      });
}
