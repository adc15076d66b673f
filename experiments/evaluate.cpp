// Asks a model folder a data set's questions and scores the answers (docs/evaluate.md).
#include <iostream>
#include <span>

#include "experiments/arguments.hpp"
#include "experiments/evaluate_task.hpp"
#include "experiments/kept_base.hpp"
#include "experiments/launch.hpp"
#include "experiments/model_input.hpp"
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
  std::int64_t processes = 1;                        // of this machine, which share the questions
  std::string float32_matmul_precision = "highest";  // or high: faster where the processor can
  std::string device = "cpu";                        // or cuda, cuda:N
};

constexpr const char* kUsage =
    "usage: evaluate --model DIR --data DIR --task lines|vqav2|aokvqa-mc|aokvqa-da|pubmedqa|vl-stereoset\n"
    "         [--adapter DIR] [--tokenizer DIR] [--out predictions.jsonl] [--limit N] [--seed N]\n"
    "         [--shots N] [--num_beams N] [--max_new_tokens N] [--length_penalty X] [--max_tokens N] "
    "[--batch N]\n"
    "         [--base plain|nf4] [--processes N] [--float32_matmul_precision highest|high|medium] "
    "[--device cpu|cuda]\n";

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

template <class Model>
std::string choose(const Model& model, const Tokenizer& tokenizer, const TaskItem& item,
                   const Tensor& latents) {
  const auto query = tokenize_choices(
      item.prompt, item.choices, [&](const std::string& text) { return encode_sequence(tokenizer, text); });
  return item.choices[best_choice(choice_scores(model, query, latents))];
}

/// What the model writes after each prompt.
template <class Model>
std::vector<std::string> write_answers(const Model& model, const Tokenizer& tokenizer, Items items,
                                       const Tensor& latents, const Arguments& a) {
  const auto end = model.config.eoc_token_id;
  std::vector<TokenIds> prompts;
  for (const auto& item : items) prompts.push_back(encode_sequence(tokenizer, item.prompt));
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

// The answers in the order of the items, whichever process got them.
template <class Model>
std::vector<std::string> ask(const Model& model, const Tokenizer& tokenizer, const Task& task,
                             const Arguments& a, Communicator* processes) {
  at::NoGradGuard no_grad;
  const auto preprocess = experiments::preprocess_of(a.model / "vision", model.config.vision);
  const auto batches = batches_of(task, a.batch);
  Progress progress(morphvlm::detail::is_first(processes) ? task.name : "", std::ssize(task.items));
  std::vector<std::string> answers(task.items.size());
  for_each_shared(std::ssize(batches), processes, [&](std::int64_t index, bool again) {
    if (again) return;
    const Items items = batches[static_cast<std::size_t>(index)];
    auto to = answers.begin() + (items.data() - task.items.data());
    const Tensor latents = read_latents(model, items, preprocess);
    if (items.front().choices.empty()) {
      for (auto& answer : write_answers(model, tokenizer, items, latents, a)) *to++ = std::move(answer);
    } else {
      *to = choose(model, tokenizer, items.front(), latents);
    }
    progress.advance(std::ssize(items), "");
  });
  progress.finish();
  join_texts(answers, processes);
  return answers;
}

void write_predictions(const std::filesystem::path& path, const Task& task,
                       const std::vector<std::string>& answers) {
  const auto scores = task.each ? task.each(answers) : std::vector<double>{};
  write_file(path, [&](const FileSink& sink) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
      Json line{{"id", task.items[i].id}, {"answer", answers[i]}};
      if (!scores.empty()) line["score"] = scores[i];
      sink.write(line.dump() + "\n");
    }
  });
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

void run(const Arguments& a) {
  expect(a.base == "plain" || a.base == "nf4", "--base: expected plain or nf4, found \"", a.base, '"');
  expect(a.batch > 0, "--batch: expected 1 or more, found ", a.batch);
  set_float32_matmul_precision(a.float32_matmul_precision);
  const Tokenizer tokenizer = experiments::open_tokenizer(a.tokenizer, open_model_directory(a.model));
  const Task task = experiments::make_task({.task = a.task,
                                            .data = a.data,
                                            .limit = a.limit,
                                            .shots = a.shots,
                                            .seed = a.seed,
                                            .max_tokens = a.max_tokens},
                                           tokenizer);
  const auto device = device_named(a.device, process_place().local_rank);
  const auto group = communicator_from_environment();
  std::vector<std::string> answers;
  experiments::with_model(a.model, a.adapter, c10::kCPU, [&](auto& model, const WeightSources&) {
    with_base(model, a.base, device,
              [&](const auto& kept) { answers = ask(kept, tokenizer, task, a, group.get()); });
  });
  if (!morphvlm::detail::is_first(group.get())) return;
  if (!a.out.empty()) write_predictions(a.out, task, answers);
  Json result{{"task", a.task}, {"questions", task.items.size()}, {"shots", a.shots}, {"seed", a.seed}};
  result["scores"] = task.score(answers);
  std::cout << result.dump(2) << '\n';
}

}  // namespace

int main(int argc, char** argv) try {
  keep_freed_memory();
  Arguments arguments;
  const auto rest = experiments::read_arguments(arguments, argc, argv);
  if (!rest.empty() || arguments.model.empty() || arguments.data.empty() || arguments.task.empty()) {
    std::cerr << kUsage;
    return 2;
  }
  if (const auto status = experiments::launch(arguments.processes, argv)) return *status;
  run(arguments);
  return 0;
} catch (const std::exception& e) {
  std::cerr << "evaluate: " << e.what() << '\n';
  return 1;
}
