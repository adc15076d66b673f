// Trains a model folder on a data set or on questions of one's own (docs/train.md).
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "experiments/arguments.hpp"
#include "experiments/kept_base.hpp"
#include "experiments/launch.hpp"
#include "experiments/model_input.hpp"
#include "experiments/shown_answers.hpp"
#include "experiments/train_task.hpp"
#include "morphvlm/adapt/shards.hpp"
#include "morphvlm/adapt/streamed.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/core/keep_freed_memory.hpp"
#include "morphvlm/core/matmul_precision.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/data/row_order.hpp"
#include "morphvlm/train/gloo.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/trainer.hpp"

namespace {

using namespace morphvlm;
using experiments::TrainRow;

struct CheckpointArguments {
  std::int64_t every = 100;
  KeepCheckpoints keep = {};
};

struct Arguments {
  std::filesystem::path config;  // a JSON file of these fields; flags come after it
  std::filesystem::path model;
  std::filesystem::path tokenizer;  // if not in the model's language folder
  std::filesystem::path out;
  std::filesystem::path validation;  // lines: the lower the loss on them, the better the checkpoint
  experiments::TrainDataConfig data = {};
  std::string adapter = "LoRA<Attn>";
  std::string base = "plain";  // or nf4: what the frozen projections are kept in
  LoRAConfig lora = {};
  TrainableParts parts = {};
  Recompute recompute = {};
  std::int64_t batch = 8;
  std::int64_t seed = 0;
  TrainConfig train = {};
  CheckpointArguments checkpoints = {};
  bool resume = false;
  std::int64_t processes = 1;  // of this machine, each with a part of the batches of a step
  bool shard_base = false;     // and with a part of the frozen projections
  bool stream_base = false;    // these stay in the host's memory
  std::string float32_matmul_precision = "highest";  // or high: faster where the processor can
  std::string device = "cpu";                        // or cuda, cuda:N
};

constexpr const char* kUsage =
    "usage: train --model DIR --data.data FILE.jsonl --out DIR [--resume]\n"
    "         [--data.task lines|vqav2|aokvqa|pubmedqa] [--data.prompt TEXT] [--data.max_tokens N]\n"
    "         [--validation FILE.jsonl] [--adapter 'LoRA<Attn>'|'LoRA<Attn, CrossMlp>'|NoAdapter]\n"
    "         [--base plain|nf4] [--stream_base]\n"
    "         [--lora.rank N] [--lora.alpha X] [--parts.perceiver] [--parts.gated_cross_attention]\n"
    "         [--batch N] [--seed N] [--train.steps N] [--train.lr X] [--train.accumulate N]\n"
    "         [--checkpoints.every N] [--recompute.every N] [--recompute.feed_forward=true] [--processes N] "
    "[--shard_base]\n"
    "         [--float32_matmul_precision highest|high|medium] [--device cpu|cuda]\n"
    "         [--tokenizer DIR] [--config FILE.json]\n"
    "Every field of the config (docs/train.md) is a flag. Stopped by SIGTERM or SIGINT, it leaves with "
    "status\n"
    "143 or 130, and --resume goes on from there.\n";

// Latents of more pictures than this are made batch by batch: all of them would not fit into memory.
constexpr std::int64_t kMostCachedPictures = 5000;

/// The rows with what the frozen part of the model makes of their pictures.
template <class Model>
class Rows {
 public:
  Rows(const Model& model, std::vector<TrainRow> rows, const Arguments& a, const std::filesystem::path& cache)
      : rows_(std::move(rows)),
        preprocess_(experiments::preprocess_of(a.model / "vision", model.config.vision)),
        precision_(a.float32_matmul_precision) {
    if (rows_.front().image.empty()) return;
    std::map<std::filesystem::path, std::int64_t> index;
    for (const auto& row : rows_) {
      const auto [it, fresh] = index.try_emplace(row.image, std::ssize(pictures_));
      if (fresh) pictures_.push_back(row.image);
      picture_of_.push_back(it->second);
    }
    if (a.parts.vision || a.parts.perceiver || std::ssize(pictures_) > kMostCachedPictures) return;
    latents_ = cached_features(cache, cache_key(model), [&] { return all_latents(model); });
  }

  std::int64_t size() const { return std::ssize(rows_); }
  const TrainRow& row(std::int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }

  /// The mean loss of some rows.
  Tensor loss(const Model& model, const std::vector<std::int64_t>& chosen) const {
    std::vector<LabelledIds> texts;
    for (const auto i : chosen) texts.push_back(row(i).text);
    const Batch batch = collate_labelled(texts, model.config.eoc_token_id).to(device_of(model.perceiver));
    return next_token_loss(model, model.hidden(batch.text, latents(model, chosen)), batch.labels);
  }

  /// [rows, 1, l, d] of the rows' pictures; undefined where they have none.
  Tensor latents(const Model& model, const std::vector<std::int64_t>& chosen) const {
    if (pictures_.empty()) return {};
    std::vector<std::int64_t> at;
    for (const auto i : chosen) at.push_back(picture_of_[static_cast<std::size_t>(i)]);
    if (latents_.defined()) return latents_.index_select(0, at::tensor(at)).to(device_of(model.perceiver));
    std::vector<std::filesystem::path> paths;
    for (const auto i : at) paths.push_back(pictures_[static_cast<std::size_t>(i)]);
    return model.resample(experiments::picture_features(model, paths, 1, preprocess_));
  }

 private:
  Tensor all_latents(const Model& model) const {
    at::NoGradGuard no_grad;
    Progress progress("pictures", std::ssize(pictures_));
    std::vector<Tensor> parts;
    constexpr std::size_t kAtOnce = 8;
    for (std::size_t i = 0; i < pictures_.size(); i += kAtOnce) {
      const auto some = std::span(pictures_).subspan(i, std::min(kAtOnce, pictures_.size() - i));
      parts.push_back(model.resample(experiments::picture_features(model, some, 1, preprocess_)).cpu());
      progress.advance(std::ssize(some));
    }
    return at::cat(parts);
  }

  std::string cache_key(const Model& model) const {
    std::string key = weights_fingerprint(model.vision_encoder) + weights_fingerprint(model.perceiver) +
                      to_json(preprocess_).dump() + precision_;
    for (const auto& path : pictures_)
      key += '\n' + path.string() + ' ' + std::to_string(std::filesystem::file_size(path)) + ' ' +
             std::to_string(std::filesystem::last_write_time(path).time_since_epoch().count());
    return std::to_string(fnv1a(key));
  }

  std::vector<TrainRow> rows_;
  ClipPreprocess preprocess_;
  std::string precision_;
  std::vector<std::filesystem::path> pictures_ = {};
  std::vector<std::int64_t> picture_of_ = {};
  Tensor latents_ = {};
};

/// All that decides a run's batches; a checkpoint of other ones is refused.
template <class Model>
Json run_identity(const Arguments& a, const Rows<Model>& rows) {
  Arguments same = a;
  same.config = same.model = same.tokenizer = same.out = same.validation = same.data.data = "";
  same.checkpoints = {};
  same.resume = false;
  same.processes = 1;
  same.shard_base = same.stream_base = false;
  same.recompute = {};
  same.device = "cpu";
  std::uint64_t hash = 0;
  for (std::int64_t i = 0; i < rows.size(); ++i) {
    for (const auto* ids : {&rows.row(i).text.ids, &rows.row(i).text.labels})
      for (const auto id : *ids) hash = split_mix(hash ^ static_cast<std::uint64_t>(id));
    hash = split_mix(hash ^ fnv1a(rows.row(i).image.filename().string()));
  }
  return {{"arguments", to_json(same)}, {"rows", rows.size()}, {"texts", std::to_string(hash)}};
}

/// The mean loss over all rows, batches shared among the processes: the same number whatever their count.
template <class Model>
double mean_loss(const Model& model, const Rows<Model>& rows, std::int64_t batch, Communicator* processes) {
  at::NoGradGuard no_grad;
  const auto batches = (rows.size() + batch - 1) / batch;
  Tensor sums = at::zeros({batches}, at::kDouble);
  for_each_shared(batches, processes, [&](std::int64_t b, bool again) {
    std::vector<std::int64_t> some;
    for (auto i = b * batch; i < std::min(rows.size(), (b + 1) * batch); ++i) some.push_back(i);
    const double loss = rows.loss(model, some).template item<double>();
    if (!again) sums[b] = loss * static_cast<double>(some.size());
  });
  if (processes != nullptr) processes->sum(sums);
  return sums.sum().item<double>() / static_cast<double>(rows.size());
}

/// Rank 0 goes first through `f`, so that the others find what it has put into files.
template <class F>
void first_then_others(Communicator* processes, F&& f) {
  Tensor turn = at::zeros({1});
  if (morphvlm::detail::is_first(processes)) f();
  if (processes != nullptr) processes->broadcast(turn);
  if (!morphvlm::detail::is_first(processes)) f();
}

template <class Model>
void train_model(Model& model, const Arguments& a, const Tokenizer& tokenizer, Communicator* processes) {
  set_trainable_parts(model, a.parts);
  model.recompute = a.recompute;
  std::optional<Rows<Model>> read, held_out;
  first_then_others(processes, [&] {
    read.emplace(model, experiments::read_train_rows(a.data, tokenizer), a, a.out / "latents.safetensors");
  });
  const Rows<Model>& rows = *read;
  TrainCheckpoints checkpoints{.folder = a.out / "checkpoints",
                               .every = a.checkpoints.every,
                               .keep = a.checkpoints.keep,
                               .resume = a.resume,
                               .identity = run_identity(a, rows)};
  std::optional<double> reached;  // on the validation data, by the model as it is
  if (!a.validation.empty()) {
    auto data = a.data;
    data.task = "lines";
    data.data = a.validation;
    first_then_others(processes, [&] {
      held_out.emplace(model, experiments::read_train_rows(data, tokenizer), a,
                       a.out / "validation_latents.safetensors");
    });
    checkpoints.score = [&] {
      reached = mean_loss(model, *held_out, a.batch, processes);
      return *reached;
    };
  }
  const auto show = [&](EventFile& events, std::int64_t step) {
    at::NoGradGuard no_grad;
    constexpr std::int64_t kShown = 4;
    for (std::int64_t i = 0; held_out && i < std::min(kShown, held_out->size()); ++i)
      experiments::show_answer(model, tokenizer, held_out->row(i), held_out->latents(model, {i}), events,
                               step);
  };
  RowOrder order{rows.size(), static_cast<std::uint64_t>(a.seed)};
  const auto describe = [&](std::int64_t index) {
    std::string ids = "questions";
    for (const auto i : order.batch(index, a.batch)) ids += ' ' + rows.row(i).id;
    return ids;
  };
  const auto history = train(
      model, a.train,
      [&](const Model& m, std::int64_t index) { return rows.loss(m, order.batch(index, a.batch)); },
      {.file = a.out / "log.jsonl",
       .title = "training",
       .events = a.out / "events",
       .show = show,
       .describe = describe},
      checkpoints, processes);
  // The last step was scored, unless there was none to do.
  if (held_out && !reached) checkpoints.score();
  if (!morphvlm::detail::is_first(processes)) return;
  save_adapter(model, a.out / "adapter");
  Json result{{"rows", rows.size()},
              {"trained_parameters", trainable_count(model)},
              {"steps", history.size()},
              {"loss", history.back().loss},
              {"adapter", (a.out / "adapter").string()}};
  if (reached) result["validation_loss"] = *reached;
  std::cout << result.dump(2) << '\n';
}

/// Calls f with `model` on a device, its projections kept as the arguments say.
template <VisionTower V, LanguageModel L, AdapterPolicy P, class F>
void with_base(VLM<V, Perceiver, L, P>& model, const Arguments& a, c10::Device device, F&& f) {
  if constexpr (std::is_same_v<P, LoRA<Attn>>) {
    using experiments::with_kept;
    if (a.shard_base) return with_kept<Sharded<P>>(model, device, f);
    if (a.stream_base && a.base == "nf4") return with_kept<Streamed<P, NF4>>(model, device, f);
    if (a.stream_base) return with_kept<Streamed<P>>(model, device, f);
    if (a.base == "nf4") return with_kept<Quantized<NF4, P>>(model, device, f);
  }
  convert(model, at::TensorOptions().device(device));
  f(model);
}

/// Loads the folder's model with fresh adapters of policy P and trains it.
template <VisionTower V, LanguageModel L, AdapterPolicy P>
void load_and_train(const ModelDirectory& folder, const Arguments& a, const Tokenizer& tokenizer,
                    c10::Device device, Communicator* processes) {
  using Model = VLM<V, Perceiver, L, P>;
  auto config = model_directory_config<Model>(folder);
  if constexpr (!std::is_same_v<P, NoAdapter>) config.adapter = a.lora;
  WeightSources sources;
  Model model = load_model_directory<Model>(folder, config, sources);
  // The files have none, so they have no memory yet.
  const auto generator = make_generator(split_mix(static_cast<std::uint64_t>(a.seed)));
  visit_modules(model, [&](const std::string&, auto& node) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(node)>, LowRank>)
      node.reset(at::kFloat, generator);
  });
  if (morphvlm::detail::is_first(processes)) std::cerr << to_string(source_rows(model, sources));
  with_base(model, a, device, [&](auto& kept) { train_model(kept, a, tokenizer, processes); });
}

void check_base(const Arguments& a) {
  expect(a.base == "plain" || a.base == "nf4", "--base: expected plain or nf4, found \"", a.base, '"');
  const bool is_special = a.shard_base || a.stream_base || a.base != "plain";
  expect(!is_special || a.adapter == "LoRA<Attn>",
         "--base nf4, --shard_base, --stream_base: expected "
         "--adapter LoRA<Attn>, found \"",
         a.adapter, '"');
  expect(!a.shard_base || (!a.stream_base && a.base == "plain"),
         "--shard_base: expected neither --base nf4 nor --stream_base beside it");
}

void run(const Arguments& a) {
  expect(a.batch > 0, "--batch: expected 1 or more, found ", a.batch);
  expect(a.train.steps > 0, "--train.steps: expected 1 or more, found ", a.train.steps);
  check_base(a);
  set_float32_matmul_precision(a.float32_matmul_precision);
  const auto device = device_named(a.device, process_place().local_rank);  // before anything is read
  const ModelDirectory folder = open_model_directory(a.model);
  const Tokenizer tokenizer = experiments::open_tokenizer(a.tokenizer, folder);
  const auto group = communicator_from_environment();
  Communicator* const processes = group.get();
  std::optional<ShardGroup> shards;
  if (a.shard_base && processes != nullptr) shards.emplace(*processes);
  std::optional<WeightStream> weights;
  if (a.stream_base && device.is_cuda()) weights.emplace();
  if (morphvlm::detail::is_first(processes)) {
    expect_writable_directory(a.out / "adapter");
    std::filesystem::create_directories(a.out);
    write_file(a.out / "train.json", to_json(a).dump(2) + "\n");
  }
  experiments::with_parts(folder, [&]<VisionTower V, LanguageModel L>() {
    const auto train_with = [&]<AdapterPolicy P>(std::type_identity<P>) {
      load_and_train<V, L, P>(folder, a, tokenizer, device, processes);
    };
    if (a.adapter == "NoAdapter") return train_with(std::type_identity<NoAdapter>{});
    if (a.adapter == "LoRA<Attn>") return train_with(std::type_identity<LoRA<Attn>>{});
    if (a.adapter == "LoRA<Attn, CrossMlp>") return train_with(std::type_identity<LoRA<Attn, CrossMlp>>{});
    fail("--adapter: expected LoRA<Attn>, LoRA<Attn, CrossMlp> or NoAdapter, found \"", a.adapter,
         "\"; another placement is one line in experiments/train.cpp");
  });
}

// The file that --config names comes first, whatever the order of the flags.
Arguments read_config(int argc, char** argv) {
  Arguments out;
  for (const auto& word : experiments::joined_arguments(argc, argv)) {
    constexpr std::string_view kFlag = "--config=";
    if (!word.starts_with(kFlag)) continue;
    const std::string file = word.substr(kFlag.size());
    update_from_json(out, read_json(file), file);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  keep_freed_memory();
  Arguments arguments = read_config(argc, argv);
  const auto rest = experiments::read_arguments(arguments, argc, argv);
  if (!rest.empty() || arguments.model.empty() || arguments.data.data.empty() || arguments.out.empty()) {
    std::cerr << kUsage;
    return 2;
  }
  if (const auto status = experiments::launch(arguments.processes, argv)) return *status;
  run(arguments);
  return 0;
} catch (const Interrupted& e) {
  std::cerr << "train: " << e.what() << '\n';
  return e.exit_code();
} catch (const std::exception& e) {
  std::cerr << "train: " << e.what() << '\n';
  return 1;
}
