// Trains a model folder on a data set or on questions of one's own (docs/train.md).
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <utility>

#include "experiments/programs/batch_log.hpp"
#include "experiments/programs/kept_base.hpp"
#include "experiments/programs/launch.hpp"
#include "experiments/programs/program.hpp"
#include "experiments/programs/shown_answers.hpp"
#include "experiments/programs/train_rows.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/core/keep_freed_memory.hpp"
#include "morphvlm/data/row_order.hpp"
#include "morphvlm/distributed/gloo.hpp"
#include "morphvlm/formats/writable_file.hpp"
#include "morphvlm/io/flamingo_checkpoint.hpp"
#include "morphvlm/kernels/cpu/matmul_precision.hpp"
#include "morphvlm/offload/shards.hpp"
#include "morphvlm/offload/streamed.hpp"
#include "morphvlm/train/trainer.hpp"

namespace {

using namespace morphvlm;
using experiments::BadRows;
using experiments::TrainRows;

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
  experiments::TrainDataConfig also = {};  // a second kind of data, if it has any: its loss is added
  std::int64_t also_batch = 8;             // its rows, beside `batch` of the first
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
  bool skip_bad_rows = false;  // rows that cannot be used are left out
  bool log_batches = false;    // losses and operations of each batch, by kind of data; of one process
  std::int64_t processes = 1;  // of this machine, each with a part of the batches of a step
  bool shard_base = false;     // and with a part of the frozen projections
  bool stream_base = false;    // these stay in the host's memory
  std::string float32_matmul_precision = "highest";  // or high: faster where the processor can
  std::string device = "cpu";                        // or cuda, cuda:N
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<CheckpointArguments> = std::to_array<FieldNote>(
    {{"every", "steps from one checkpoint to the next", at_least(1)}, {"keep", "which checkpoints stay"}});

template <>
inline constexpr auto morphvlm::field_notes<Arguments> = std::to_array<FieldNote>(
    {{"config", "a JSON file of these fields; flags go before it"},
     {"model", "the model's folder (docs/models.md)"},
     {"tokenizer", "the tokenizer's folder, if it is not the model's language/"},
     {"out", "the run's folder"},
     {"validation", "a file of lines; the lower the loss on them, the better the checkpoint"},
     {"data", "what is learned"},
     {"also", "a second kind of data, whose loss is added"},
     {"also_batch", "its rows in a batch, beside `batch` of the first", at_least(1)},
     {"adapter", "LoRA<Attn>, LoRA<Attn, CrossMlp>, DoRA<Attn> or NoAdapter"},
     {"base", "plain or nf4: how the frozen projections are kept"},
     {"lora", "the adapters"},
     {"parts", "what is trained"},
     {"recompute", "activations that are computed again"},
     {"batch", "rows of a batch", at_least(1)},
     {"seed", "of the rows' order and of new weights"},
     {"train", "how it is trained"},
     {"checkpoints", "what is kept meanwhile"},
     {"resume", "go on from the newest whole checkpoint"},
     {"skip_bad_rows",
      "leave out and count rows that cannot be used (a picture that cannot be read, a text without its "
      "answer) "
      "instead of ending at the first"},
     {"log_batches", "losses and operations of each batch, in batches.jsonl; of one process"},
     {"processes", "of this machine, each with a part of a step's batches", at_least(1)},
     {"shard_base", "each process holds a part of the frozen projections"},
     {"stream_base", "the frozen projections stay in the host's memory"},
     {"float32_matmul_precision", "highest, high or medium: faster where the processor can"},
     {"device", "cpu, cuda or cuda:N"}});

namespace {

template <class Model>
std::uint64_t hash_of_texts(const TrainRows<Model>& rows) {
  std::uint64_t hash = 0;
  for (std::int64_t i = 0; i < rows.size(); ++i) {
    for (const auto* ids : {&rows.row(i).text.ids, &rows.row(i).text.labels})
      for (const auto id : *ids) hash = split_mix(hash ^ static_cast<std::uint64_t>(id));
    hash = split_mix(hash ^ fnv1a(rows.row(i).image.filename().string()));
  }
  return hash;
}

/// All that decides a run's batches; a checkpoint of other ones is refused.
template <class Model>
Json run_identity(const Arguments& a, const TrainRows<Model>& rows,
                  const std::optional<TrainRows<Model>>& also) {
  Arguments same = a;
  same.config = same.model = same.tokenizer = same.out = same.validation = same.data.data = same.also.data =
      "";
  same.checkpoints = {};
  same.resume = same.skip_bad_rows = same.log_batches = false;
  same.processes = 1;
  same.shard_base = same.stream_base = false;
  same.recompute = {};
  same.device = "cpu";
  Json identity{
      {"arguments", to_json(same)}, {"rows", rows.size()}, {"texts", std::to_string(hash_of_texts(rows))}};
  if (also) identity["also"] = {{"rows", also->size()}, {"texts", std::to_string(hash_of_texts(*also))}};
  return identity;
}

/// The mean loss over all rows, batches shared among the processes: the same number whatever their count.
template <class Model>
double mean_loss(const Model& model, const TrainRows<Model>& rows, std::int64_t batch,
                 Communicator* processes) {
  at::NoGradGuard no_grad;
  const auto batches = (rows.size() + batch - 1) / batch;
  Tensor sums = at::zeros({batches}, at::kDouble);
  for_each_shared(batches, processes, [&](std::int64_t b, bool again) {
    std::vector<std::int64_t> some;
    for (auto i = b * batch; i < std::min(rows.size(), (b + 1) * batch); ++i) some.push_back(i);
    const double loss = rows.loss(model, rows.batch(model, some), some).template item<double>();
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

/// What a model folder's flamingo/ holds, with the resampler and the gated blocks as they were trained.
/// Adapters are left to their own folder.
template <class Model>
std::string save_blocks(const Model& model, const std::filesystem::path& folder) {
  const auto state = openflamingo_state(model);
  write_directory(folder, [&](const std::filesystem::path& fresh) {
    save_safetensors(fresh / "checkpoint.safetensors", state, {{"format", "pt"}});
  });
  return folder.string();
}

template <class Model>
void train_model(Model& model, const Arguments& a, const Tokenizer& tokenizer, Communicator* processes) {
  set_trainable_parts(model, a.parts);
  model.recompute = a.recompute;
  const experiments::TrainRowsConfig pictures{
      .preprocess = experiments::preprocess_of(a.model / "vision", model.config.vision),
      .float32_matmul_precision = a.float32_matmul_precision,
      .frozen_latents = !a.parts.vision && !a.parts.perceiver};
  BadRows bad(a.skip_bad_rows);
  const auto read_rows = [&](std::optional<TrainRows<Model>>& to, const experiments::TrainDataConfig& data,
                             const char* cache) {
    first_then_others(processes, [&] {
      to.emplace(model, experiments::read_train_rows(data, tokenizer, bad), pictures, a.out / cache,
                 data.data.string(), bad);
    });
  };
  std::optional<TrainRows<Model>> read, also, held_out;
  read_rows(read, a.data, "latents.safetensors");
  if (!a.also.data.empty()) read_rows(also, a.also, "also_latents.safetensors");
  const TrainRows<Model>& rows = *read;
  TrainCheckpoints checkpoints{.folder = a.out / "checkpoints",
                               .every = a.checkpoints.every,
                               .keep = a.checkpoints.keep,
                               .resume = a.resume,
                               .identity = run_identity(a, rows, also)};
  std::optional<double> reached;  // on the validation data, by the model as it is
  if (!a.validation.empty()) {
    auto data = a.data;
    data.task = "lines";
    data.data = a.validation;
    read_rows(held_out, data, "validation_latents.safetensors");
    checkpoints.score = [&] {
      reached = mean_loss(model, *held_out, a.batch, processes);
      return *reached;
    };
  }
  if (morphvlm::detail::is_first(processes)) std::cerr << bad.summary();
  const auto show = [&](EventFile& events, std::int64_t step) {
    at::NoGradGuard no_grad;
    constexpr std::int64_t kShown = 4;
    for (std::int64_t i = 0; held_out && i < std::min(kShown, held_out->size()); ++i)
      experiments::show_answer(model, tokenizer, held_out->row(i), held_out->latents(model, {i}), events,
                               step);
  };
  RowOrder order{rows.size(), static_cast<std::uint64_t>(a.seed)};
  RowOrder also_order{also ? also->size() : 1, static_cast<std::uint64_t>(a.seed) + 1};
  const auto describe = [&](std::int64_t index) {
    std::string ids = "questions";
    for (const auto i : order.batch(index, a.batch)) ids += ' ' + rows.row(i).id;
    if (also)
      for (const auto i : also_order.batch(index, a.also_batch)) ids += ' ' + also->row(i).id;
    return ids;
  };
  experiments::BatchLog log(model, a.log_batches ? a.out / "batches.jsonl" : std::filesystem::path());
  const auto loss_of = [&](const Model& m, std::int64_t index) {
    const auto part = [&](const TrainRows<Model>& from, const std::vector<std::int64_t>& chosen) {
      const Batch batch = from.batch(m, chosen);
      return std::pair(batch, from.loss(m, batch, chosen));
    };
    std::vector<std::pair<Batch, Tensor>> kinds{part(rows, order.batch(index, a.batch))};
    if (also) kinds.push_back(part(*also, also_order.batch(index, a.also_batch)));
    log.write(index, kinds);
    return also ? kinds[0].second.add(kinds[1].second) : kinds[0].second;
  };
  const auto history = train(model, a.train, loss_of,
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
  if (a.skip_bad_rows) result["skipped_rows"] = bad.count();
  if (a.parts.perceiver || a.parts.gated_cross_attention)
    result["flamingo"] = save_blocks(model, a.out / "flamingo");
  std::cout << json_text(result, 2) << '\n';
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
  const auto generator = make_generator(split_mix(static_cast<std::uint64_t>(a.seed)));
  const bool draw = !has_blocks(folder) && a.parts.perceiver && a.parts.gated_cross_attention;
  expect(draw || has_blocks(folder), folder.folder.string(),
         ": expected a folder flamingo in it, or --parts.perceiver and --parts.gated_cross_attention, which "
         "train new ones");
  if (draw) config.cross_attention.gates = GatePolicy::trainable;
  Model model = load_model_directory<Model>(folder, config, sources, draw ? generator : at::Generator{});
  init_adapters(model, at::kFloat, generator);  // the files have none
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
  expect(a.lora.init == LoRAInit::kaiming || !a.parts.gated_cross_attention || a.adapter == "NoAdapter",
         "--lora.init pissa: expected no --parts.gated_cross_attention beside it: the folder flamingo would "
         "hold what PiSSA leaves of their weights");
  expect(!a.shard_base || (!a.stream_base && a.base == "plain"),
         "--shard_base: expected neither --base nf4 nor --stream_base beside it");
}

void expect_writable_run(const Arguments& a) {
  expect_writable_directory(a.out / "adapter");
  if (a.parts.perceiver || a.parts.gated_cross_attention) expect_writable_directory(a.out / "flamingo");
  expect_writable_file(a.out / "train.json");
}

void run(const Arguments& a) {
  expect(!a.log_batches || (a.processes == 1 && !is_launched()),
         "--log_batches: expected one process, which sees all batches");
  check_base(a);
  if (process_place().rank == 0) expect_writable_run(a);
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
    write_file(a.out / "train.json", to_json(a).dump(2) + "\n");
  }
  experiments::with_parts(folder, [&]<VisionTower V, LanguageModel L>() {
    const auto train_with = [&]<AdapterPolicy P>(std::type_identity<P>) {
      load_and_train<V, L, P>(folder, a, tokenizer, device, processes);
    };
    if (a.adapter == "NoAdapter") return train_with(std::type_identity<NoAdapter>{});
    if (a.adapter == "LoRA<Attn>") return train_with(std::type_identity<LoRA<Attn>>{});
    if (a.adapter == "DoRA<Attn>") return train_with(std::type_identity<DoRA<Attn>>{});
    if (a.adapter == "LoRA<Attn, CrossMlp>") return train_with(std::type_identity<LoRA<Attn, CrossMlp>>{});
    fail("--adapter: expected LoRA<Attn>, LoRA<Attn, CrossMlp>, DoRA<Attn> or NoAdapter, found \"", a.adapter,
         "\"; another placement is one line in experiments/programs/train.cpp");
  });
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  return experiments::program<Arguments>(
      {.name = "train",
       .purpose =
           "Trains a model folder on a data set or on questions of one's own (docs/train.md). Stopped by "
           "SIGTERM or SIGINT, it\nleaves with status 143 or 130, and --resume goes on from there.",
       .required = {"model", "data.data", "out"}},
      argc, argv, [&](const Arguments& arguments) {
        if (const auto status = experiments::launch(arguments.processes, argv)) return *status;
        run(arguments);
        return 0;
      });
}
