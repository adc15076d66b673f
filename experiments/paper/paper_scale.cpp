#include "experiments/paper/paper_scale.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <utility>

#include "experiments/mini/baseline_vqav2.hpp"
#include "experiments/paper/child_program.hpp"
#include "experiments/stage.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/core/device.hpp"

namespace morphvlm::experiments {

namespace {

namespace fs = std::filesystem;

fs::path assets_of(const PaperScale& s) {
  if (!s.assets.empty()) return s.assets;
  const char* named = std::getenv("MORPHVLM_ASSETS");
  return named == nullptr ? fs::path() : fs::path(named);
}

fs::path program_of(const PaperScale& s, const char* name) {
  return (s.programs.empty() ? own_folder() / "../experiments" : s.programs) / name;
}

std::vector<Json> lines_of(const fs::path& path) {
  std::ifstream in(path);
  expect(in.good(), path.string(), ": cannot be opened for reading");
  std::vector<Json> out;
  for (std::string line; std::getline(in, line);)
    out.push_back(parse_json(line, path.string() + ':' + std::to_string(out.size() + 1)));
  return out;
}

// Names and sizes of a folder's files: other weights are another run.
Json contents_of(const fs::path& folder) {
  std::set<std::string> files;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink))
    if (entry.is_regular_file())
      files.insert(fs::relative(entry.path(), folder).string() + ' ' + std::to_string(entry.file_size()));
  return files;
}

Json key_of(const fs::path& model, const std::vector<std::string>& arguments) {
  return {{"arguments", arguments}, {"model", contents_of(model)}};
}

// Losses and operations of each step from those of each batch.
void add_batches(FinetuneRun& run, const fs::path& log, std::int64_t accumulate) {
  double data = 0, also = 0, flops = 0;
  for (const auto& line : lines_of(log)) {
    data += line.at("data").get<double>();
    also += line.value("also", 0.0);
    flops += line.value("flops", 0.0);
    if ((line.at("batch").get<std::int64_t>() + 1) % accumulate != 0) continue;
    run.vision_loss.push_back(data / static_cast<double>(accumulate));
    run.medical_loss.push_back(also / static_cast<double>(accumulate));
    run.flops.push_back(flops);
    data = also = 0;
  }
}

FinetuneRun read_run(const fs::path& folder, std::int64_t parameters) {
  FinetuneRun run{.parameters = parameters};
  const auto log = folder / "log.jsonl";
  for (const auto& line : lines_of(log)) run.history.push_back(from_json<TrainStep>(line, log.string()));
  if (!fs::exists(folder / "batches.jsonl")) return run;
  const auto used = folder / "train.json";
  const Json train = json_get<Json>(read_json(used), "train", used.string());
  add_batches(run, folder / "batches.jsonl", json_get<std::int64_t>(train, "accumulate", used.string()));
  return run;
}

std::string text(std::int64_t n) { return std::to_string(n); }
std::string text(double x) { return Json(x).dump(); }

// A fine-tuning on A-OKVQA by the seed.
std::vector<std::string> aokvqa_flags(const PaperScale& s, std::int64_t seed, std::int64_t steps) {
  return {"--data.task",   "aokvqa",    "--data.data", (assets_of(s) / "aokvqa").string(),
          "--seed",        text(seed),  "--batch",     text(s.batch),
          "--train.steps", text(steps), "--train.lr",  text(s.lr)};
}

void add(std::vector<std::string>& flags, std::vector<std::string> more) {
  flags.insert(flags.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// The schedule as `train` takes it.
std::string schedule_text(const ScheduleSetting& setting) { return to_json(schedule_of(setting)).dump(); }

}  // namespace

std::string reason_to_skip(const PaperScale& s, std::initializer_list<const char*> folders) {
  const auto assets = assets_of(s);
  if (assets.empty()) return "MORPHVLM_ASSETS (or --on_paper.assets) names no folder";
  if (s.device != "cpu" && !has_cuda()) return "no CUDA device (--on_paper.device=cpu takes patience)";
  std::string missing;
  for (const char* folder : folders)
    if (!fs::is_directory(assets / folder)) missing += (missing.empty() ? "" : ", ") + std::string(folder);
  return missing.empty() ? "" : assets.string() + " has no folder " + missing;
}

PaperAnswers ask(const PaperScale& s, const std::string& name, const PaperQuestion& q) {
  std::vector<std::string> arguments{
      "--model", q.model.string(), "--data",   (assets_of(s) / q.data).string(),
      "--task",  q.task,           "--device", s.device,
      "--shots", text(q.shots),    "--limit",  text(q.limit)};
  if (!q.adapter.empty()) add(arguments, {"--adapter", q.adapter.string()});
  const auto folder = s.out / name;
  const StageResult kept = stage(folder, key_of(q.model, arguments), [&](const fs::path& fresh) {
    auto all = arguments;
    add(all, {"--out", (fresh / "predictions.jsonl").string()});
    run_program(program_of(s, "evaluate"), all, fresh / "result.json");
    return read_json(fresh / "result.json");
  });
  const std::string where = (folder / "result.json").string();
  PaperAnswers out{.scores = json_get<Json>(kept.results, "scores", where),
                   .questions = json_get<std::int64_t>(kept.results, "questions", where),
                   .seconds = kept.seconds};
  for (const auto& line : lines_of(folder / "predictions.jsonl"))
    if (line.contains("score")) out.each.push_back(line.at("score").get<double>());
  return out;
}

PaperRun train(const PaperScale& s, const std::string& name, const fs::path& model,
               std::vector<std::string> flags) {
  add(flags, {"--model", model.string(), "--device", s.device});
  const auto folder = s.out / name, run = folder / "run", begun = folder / "begun.json";
  const Json key = key_of(model, flags);
  // A run that was interrupted goes on, unless it was another one.
  if (!fs::exists(begun) || read_json(begun) != key) fs::remove_all(folder);
  fs::create_directories(folder);
  write_file(begun, key.dump(1) + "\n");
  add(flags, {"--out", run.string(), "--resume"});
  const StageResult kept = stage(
      folder / "stage", key,
      [&](const fs::path& fresh) {
        run_program(program_of(s, "train"), flags, fresh / "result.json");
        return read_json(fresh / "result.json");
      },
      false);
  const auto parameters =
      json_get<std::int64_t>(kept.results, "trained_parameters", (folder / "stage").string());
  return {.adapter = run / "adapter", .blocks = run / "flamingo", .run = read_run(run, parameters)};
}

bool has_own_blocks(const PaperScale& s, const std::string& model) {
  return fs::exists(assets_of(s) / model / "flamingo");
}

fs::path with_blocks(const PaperScale& s, const std::string& model) {
  const auto given = fs::absolute(assets_of(s) / model);
  if (has_own_blocks(s, model)) return given;
  const auto trained =
      train(s, "blocks/" + model, given,
            {"--data.task", "coco", "--data.data", (assets_of(s) / "coco").string(), "--adapter", "NoAdapter",
             "--parts.perceiver", "true", "--parts.gated_cross_attention", "true", "--batch", text(s.batch),
             "--train.steps", text(s.blocks_steps), "--train.lr", text(s.blocks_lr)});
  const auto joined = s.out / "models" / model;
  fs::remove_all(joined);
  fs::create_directories(joined);
  for (const char* part : {"config.json", "vision", "language"})
    fs::create_symlink(given / part, joined / part);
  fs::create_symlink(fs::absolute(trained.blocks), joined / "flamingo");
  return joined;
}

std::vector<PaperAnswers> baseline_on_paper(const PaperScale& s) {
  std::vector<PaperAnswers> out;
  for (const auto shots : kShots)
    out.push_back(ask(s, "baseline/shots" + text(shots),
                      {.model = assets_of(s) / kOpenFlamingo,
                       .task = "vqav2",
                       .data = "vqav2",
                       .shots = shots,
                       .limit = s.questions}));
  return out;
}

AokvqaOnPaper aokvqa_on_paper(const PaperScale& s) {
  const auto model = with_blocks(s, kOpenLlama);
  PaperQuestion question{.model = model, .task = "vqav2", .data = "vqav2", .limit = s.questions};
  AokvqaOnPaper out{.before = ask(s, "aokvqa/before", question),
                    .with_captions = fs::is_directory(assets_of(s) / "coco")};
  for (std::int64_t seed = 0; seed < s.seeds; ++seed) {
    auto flags = aokvqa_flags(s, seed, s.steps);
    // The paper trained on COCO's validation split, too.
    if (out.with_captions)
      add(flags, {"--also.task", "coco", "--also.data", (assets_of(s) / "coco").string(), "--also_batch",
                  text(s.batch)});
    out.runs.push_back(train(s, "aokvqa/seed" + text(seed), model, std::move(flags)));
    question.adapter = out.runs.back().adapter;
    out.after.push_back(ask(s, "aokvqa/after-seed" + text(seed), question));
  }
  return out;
}

LrSchedulesResult schedules_on_paper(const PaperScale& s, LrSchedules& e) {
  const auto model = with_blocks(s, kOpenLlama);
  e.seeds = s.seeds;
  e.batch = s.batch;
  e.train.steps = s.figure_steps;
  e.train.lr = s.lr;
  LrSchedulesResult out;
  for (const auto& setting : schedule_settings(e)) {
    for (std::int64_t seed = 0; seed < s.seeds; ++seed) {
      auto flags = aokvqa_flags(s, seed, s.figure_steps);
      add(flags, {"--train.schedule", schedule_text(setting), "--train.accumulate", text(setting.accumulate),
                  "--log_batches", "true"});
      const auto name = "schedules/" + folder_of(setting, seed);
      out.runs.push_back({setting, seed, train(s, name, model, std::move(flags)).run});
    }
  }
  return out;
}

PlacementOnPaper placement_on_paper(const PaperScale& s) {
  const auto model = with_blocks(s, kOpenLlama);
  PlacementOnPaper out;
  for (std::int64_t seed = 0; seed < s.seeds; ++seed) {
    for (auto* runs : {&out.all, &out.attention}) {
      const bool all = runs == &out.all;
      auto flags = aokvqa_flags(s, seed, s.figure_steps);
      add(flags, {"--adapter", all ? "LoRA<Attn, CrossMlp>" : "LoRA<Attn>"});
      const auto name = std::string("placement/") + (all ? "all" : "attention") + "-seed" + text(seed);
      runs->push_back(train(s, name, model, std::move(flags)));
    }
  }
  return out;
}

BioGPTConvergenceResult biogpt_on_paper(const PaperScale& s, BioGPTConvergence& e) {
  const auto model = with_blocks(s, kBioGpt);
  e.seeds = s.seeds;
  e.batch = e.medical_batch = s.batch;
  e.train.steps = s.steps;
  e.train.lr = s.lr;
  BioGPTConvergenceResult out;
  for (std::int64_t seed = 0; seed < s.seeds; ++seed) {
    for (const bool combined : {true, false}) {
      auto flags = aokvqa_flags(s, seed, s.steps);
      add(flags, {"--log_batches", "true"});
      if (combined)
        add(flags, {"--also.task", "pubmedqa-long", "--also.data", (assets_of(s) / "pubmedqa").string(),
                    "--also_batch", text(s.batch)});
      const auto name = std::string("biogpt/") + (combined ? "combined" : "pictures") + "-seed" + text(seed);
      out.runs.push_back({combined, seed, train(s, name, model, std::move(flags)).run});
    }
  }
  return out;
}

PaperAnswers bias_on_paper(const PaperScale& s) {
  return ask(
      s, "bias",
      {.model = assets_of(s) / kOpenFlamingo, .task = "vl-stereoset", .data = "vl-stereoset", .shots = 0});
}

}  // namespace morphvlm::experiments
