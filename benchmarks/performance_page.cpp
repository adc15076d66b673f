// Benchmark results as a page: performance_page --results RAW_FOLDER takes Google Benchmark's JSON files in,
// keeps their numbers with commit, machine and date in benchmarks/results, and writes docs/performance.md and
// its charts.
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/programs/program.hpp"
#include "morphvlm/core/format.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/report/bars.hpp"
#include "morphvlm/report/machine.hpp"
#include "morphvlm/report/statistics.hpp"
#include "morphvlm/report/table.hpp"
#include "morphvlm/report/wrap_markdown.hpp"

namespace {

using namespace morphvlm;
namespace fs = std::filesystem;

const fs::path kSource = MORPHVLM_SOURCE_DIR;

// One line of a benchmark: its name without Google Benchmark's suffixes, and its numbers.
struct Entry {
  std::string name;
  std::map<std::string, double> values = {};

  double operator[](const std::string& key) const {
    const auto it = values.find(key);
    return it == values.end() ? std::nan("") : it->second;
  }
};

std::string plain_name(const std::string& name) {
  return name.substr(0, std::min(name.find("/iterations:"), name.find("/manual_time")));
}

// Entries of a raw file, or of a kept one.
std::vector<Entry> read_entries(const fs::path& file) {
  std::vector<Entry> out;
  const Json all = read_json(file);
  for (const Json& run : json_get<Json>(all, "benchmarks", file.string())) {
    if (run.contains("error_occurred")) continue;
    Entry e{.name = plain_name(json_get<std::string>(run, "name", file.string()))};
    for (const auto& [key, value] : run.items()) {
      if (value.is_number()) e.values[key] = value.get<double>();
    }
    out.push_back(std::move(e));
  }
  return out;
}

constexpr std::string_view kOnCuda = "cuda/";

// What is kept of a raw file, of its cases on a card or of the others: nothing that names a machine's folders
// or its host.
void keep(const fs::path& raw, const fs::path& kept, bool on_cuda, const std::string& commit) {
  Json entries = Json::array();
  for (const auto& e : read_entries(raw)) {
    if (e.name.starts_with(kOnCuda) != on_cuda) continue;
    Json one{{"name", e.name}};
    for (const auto& [key, value] : e.values) {
      if (key != "family_index" && key != "per_family_instance_index" && key != "repetition_index" &&
          key != "threads" && key != "repetitions")
        one[key] = value;
    }
    entries.push_back(one);
  }
  if (entries.empty()) return;
  const std::string where = raw.string();
  const Json context = json_get<Json>(read_json(raw), "context", where);
  const auto text = [&](const char* key) { return json_get<std::string>(context, key, where); };
  Json all{{"commit", commit},       {"date", text("date")},
           {"cpu", text("cpu")},     {"cores", std::stoi(text("cores"))},
           {"torch", text("torch")}, {"benchmarks", entries}};
  if (on_cuda) all["gpu"] = text("gpu");
  if (context.contains("compiler")) all["compiler"] = text("compiler");
  write_file(kept, all.dump(1) + '\n');
}

std::string provenance(const fs::path& file) {
  const Json all = read_json(file);
  const auto text = [&](const char* key) { return json_get<std::string>(all, key, file.string()); };
  return "Commit " + text("commit").substr(0, 12) + ", " + text("date").substr(0, 10) + ", " +
         (all.contains("gpu") ? text("gpu") + ", " : "") + text("cpu") + ", " +
         std::to_string(json_get<int>(all, "cores", file.string())) + " cores, LibTorch " + text("torch") +
         (all.contains("compiler") ? ", " + text("compiler") : "") + ".";
}

std::string chart(const std::string& name, const BarPlot& plot) {
  fs::create_directories(kSource / "docs/performance");
  write_file(kSource / "docs/performance" / (name + ".svg"), to_svg(plot));
  return "\n![" + plot.title + "](performance/" + name + ".svg)\n\n";
}

// One more group of two bars, named in words.
void add_pair(BarPlot& plot, std::string label, double first, double second) {
  for (char& c : label) c = c == '/' || c == '_' ? ' ' : c;
  plot.groups.push_back(std::move(label));
  plot.series[0].values.push_back(first);
  plot.series[1].values.push_back(second);
}

std::string step_section(const fs::path& file) {
  Table table{.columns = {"case", "s", "floor s", "TFLOP", "GFLOP/s", "one product, GFLOP/s", "page faults"}};
  BarPlot plot{.title = "Seconds of a training step, LoRA<Attn>",
               .y_label = "s",
               .series = {{"a step"}, {"its products at the machine's best"}},
               .digits = 2,
               .width = 760};
  for (const auto& e : read_entries(file)) {
    const double seconds = e["TFLOP"] * 1e12 / e["FLOP/s"];
    table.rows.push_back({e.name, fixed(seconds, 2), fixed(e["floor_s"], 2), fixed(e["TFLOP"], 3),
                          fixed(e["FLOP/s"] / 1e9, 0), fixed(e["floor_FLOP/s"] / 1e9, 0),
                          fixed(e["page_faults"], 0)});
    if (!e.name.ends_with("/LoRA<Attn>")) continue;
    add_pair(plot, e.name.substr(0, e.name.rfind('/')), seconds, e["floor_s"]);
  }
  table.notes = {
      "Batch 8 of 32 tokens and an image each (SmolLM2-135M), 2 of 64 (full/: OpenLLaMA-3B), ViT-L/14, LoRA "
      "of rank 16. The floor is what the step's operations take at the rate of one product of the batch with "
      "the model's widest matrix, measured in the same process; that matrix stays in the cache, the model's "
      "do not. fp32/high: with float32_matmul_precision \"high\", by which a product with a frozen weight is "
      "three of BFloat16; the floor is a third of their rate."};
  return "## A training step\n" + provenance(file) + chart("step", plot) + to_markdown(table);
}

std::string memory_section(const fs::path& file) {
  Table table{
      .columns = {"case", "trained", "kept MiB", "planned peak MiB", "measured MiB", "planned / measured"}};
  BarPlot plot{.title = "Peak of a step, SmolLM2 in bf16",
               .y_label = "MiB",
               .series = {{"planned"}, {"measured"}},
               .digits = 0,
               .width = 760};
  for (const auto& e : read_entries(file)) {
    const bool measured = std::isfinite(e["measured_MiB"]);
    table.rows.push_back({e.name, with_commas(std::llround(e["trainable"])), fixed(e["kept_MiB"], 0),
                          fixed(e["plan_MiB"], 0), measured ? fixed(e["measured_MiB"], 0) : "not measured",
                          measured ? fixed(e["plan/measured"], 3) : ""});
    if (!e.name.starts_with("smollm2/bf16/")) continue;
    add_pair(plot, e.name.substr(std::string("smollm2/bf16/").size()), e["plan_MiB"], e["measured_MiB"]);
  }
  table.notes = {
      "Measured by LibTorch's allocator, weights included. Rows named plan/ are what a card would need, by "
      "the plan alone: no card was there to measure."};
  return "## Memory\n" + provenance(file) + chart("memory", plot) + to_markdown(table);
}

std::string decode_section(const fs::path& file) {
  Table table{
      .columns = {"case", "tokens/s", "GB a token", "GB/s", "one row's product, GB/s", "tokens/s at that"}};
  BarPlot plot{.title = "Decoding",
               .y_label = "tokens/s",
               .series = {{"here"}, {"at the rate of one row's product"}},
               .width = 760};
  for (const auto& e : read_entries(file)) {
    table.rows.push_back({e.name, fixed(e["tokens/s"], 1), fixed(e["GB/token"], 3), fixed(e["GB/s"], 1),
                          fixed(e["read_GB/s"], 1), fixed(e["floor_tokens/s"], 1)});
    add_pair(plot, e.name, e["tokens/s"], e["floor_tokens/s"]);
  }
  return "## Decoding\n" + provenance(file) + chart("decode", plot) + to_markdown(table);
}

std::string compile_section(const fs::path& file) {
  const std::string kWithPch = "/pch";
  std::map<std::string, Entry> entries;
  for (const auto& e : read_entries(file)) entries[e.name] = e;
  Table table{.columns = {"a unit that", "s", "GiB", "s with a precompiled header", "GiB"}};
  BarPlot plot{.title = "Seconds of compiling one unit",
               .y_label = "s",
               .series = {{"plainly"}, {"with a precompiled header"}},
               .digits = 1,
               .width = 560};
  const std::map<std::string, std::string> what{
      {"torch.h", "includes LibTorch's torch/torch.h, no more"},
      {"model", "composes a model (morphvlm/vlm.hpp) and runs it"},
      {"train", "trains one: the README's program (morphvlm/morphvlm.hpp)"}};
  for (const std::string name : {"torch.h", "model", "train"}) {
    if (!entries.contains(name)) continue;
    const auto &plain = entries[name], &pch = entries[name + kWithPch];
    const auto cell = [](double value, int digits) {
      return std::isfinite(value) ? fixed(value, digits) : "";
    };
    table.rows.push_back({what.at(name), cell(plain["real_time"], 1), cell(plain["GiB"], 2),
                          cell(pch["real_time"], 1), cell(pch["GiB"], 2)});
    add_pair(plot, name, plain["real_time"], pch["real_time"]);
  }
  table.notes = {"One compiler at a time, -O2, no debug information."};
  return "## Compiling\n" + provenance(file) + chart("compile_time", plot) + to_markdown(table);
}

// The cases on a card, of one kind: `columns` are counters with a factor and digits.
struct Column {
  const char* counter;
  const char* title;
  double factor;
  int digits;
};

std::string cuda_table(const fs::path& file, const std::string& title, const std::vector<Column>& columns,
                       const std::string& note) {
  Table table{.columns = {"case"}, .notes = {note}};
  for (const auto& c : columns) table.columns.emplace_back(c.title);
  for (const auto& e : read_entries(file)) {
    table.rows.push_back({e.name.substr(kOnCuda.size())});
    for (const auto& c : columns) {
      const double value = e[c.counter] * c.factor;
      table.rows.back().push_back(std::isfinite(value) ? fixed(value, c.digits) : "");
    }
  }
  return "## " + title + "\n" + provenance(file) + "\n\n" + to_markdown(table);
}

std::string cuda_step_section(const fs::path& file) {
  return cuda_table(file, "A training step on a card",
                    {{"real_time", "s", 1, 4},
                     {"floor_s", "floor s", 1, 4},
                     {"TFLOP", "TFLOP", 1, 2},
                     {"FLOP/s", "TFLOP/s", 1e-12, 0},
                     {"floor_FLOP/s", "one product, TFLOP/s", 1e-12, 0},
                     {"tokens/s", "tokens/s", 1, 0},
                     {"MFU_4N", "MFU, %", 100, 1}},
                    "MFU: four operations to a token and parameter of the layers it passes, over one product "
                    "of 8192 x 8192 matrices in the same process.");
}

std::string cuda_memory_section(const fs::path& file) {
  return cuda_table(file, "Memory on a card",
                    {{"trainable", "trained", 1, 0},
                     {"plan_MiB", "planned peak MiB", 1, 0},
                     {"measured_MiB", "measured MiB", 1, 0},
                     {"plan/measured", "planned / measured", 1, 3},
                     {"reserved_MiB", "held by the allocator, MiB", 1, 0},
                     {"step_s", "s a step", 1, 3}},
                    "Measured by LibTorch's allocator, weights included.");
}

std::string cuda_decode_section(const fs::path& file) {
  return cuda_table(file, "Decoding on a card",
                    {{"tokens/s", "tokens/s", 1, 1},
                     {"GB/token", "GB a token", 1, 3},
                     {"GB/s", "GB/s", 1, 0},
                     {"read_GB/s", "a copy, GB/s", 1, 0},
                     {"floor_tokens/s", "tokens/s at that", 1, 1}},
                    "A copy counts bytes read and bytes written.");
}

// What a comparison with another program ran on.
std::string machine_of(const Json& entry) {
  const auto text = [&](const char* key) { return entry.at(key).get<std::string>(); };
  return (entry.contains("gpu") ? text("gpu") + ", " : "") + text("cpu") + ", " +
         std::to_string(entry.at("cores").get<int>()) + " cores";
}

// Of one comparison with another program.
std::string provenance(const Json& entry) {
  const auto text = [&](const char* key) { return entry.at(key).get<std::string>(); };
  return "Commit " + text("commit").substr(0, 12) + ", " + text("date") + ", " + machine_of(entry) + ".";
}

// The words that a comparison was asked for with.
std::string work_of(const Json& entry) {
  std::string work;
  for (const Json& word : entry.at("arguments")) work += (work.empty() ? "" : " ") + word.get<std::string>();
  return work;
}

// A comparison's rows, one for each quantity.
void add_peer_rows(Table& table, const Json& entry) {
  const auto of = [&](const char* side, const char* key) {
    std::vector<double> values;
    for (const Json& run : entry.at("runs").at(side)) values.push_back(run.at(key).get<double>());
    std::ranges::sort(values);
    return quantile(values, 0.5);
  };
  const int digits = entry.contains("gpu") ? 3 : 2;
  const std::string rounds = std::to_string(entry.at("runs").at("peer").size());
  struct Quantity {
    const char *key, *name;
    bool is_rate;
  };
  for (const auto& [key, name, is_rate] :
       {Quantity{"step_s", "s a step", false}, Quantity{"peak_rss_gib", "GiB resident at most", false},
        Quantity{"peak_cuda_gib", "GiB of the card at most", false},
        Quantity{"tokens_per_s", "tokens/s decoding", true}}) {
    if (!entry.at("runs").at("peer").at(0).contains(key)) continue;
    if (entry.contains("gpu") && std::string_view(key) == "peak_rss_gib") continue;
    const double ours = of("morphvlm", key), theirs = of("peer", key);
    table.rows.push_back({work_of(entry), entry.at("commit").get<std::string>().substr(0, 12),
                          entry.at("date").get<std::string>(), rounds, name, fixed(ours, digits),
                          fixed(theirs, digits), fixed(is_rate ? ours / theirs : theirs / ours, 1) + " x"});
  }
}

// The newest comparison of each work.
std::string peer_table(const fs::path& file, const std::string& title) {
  Table table{.columns = {"work", "commit", "date", "rounds", "", "here", "OpenFlamingo + PEFT", "ratio"},
              .align = {Align::left, Align::left, Align::left, Align::right, Align::left, Align::right,
                        Align::right, Align::right}};
  const Json all = read_json(file);
  std::set<std::string> machines;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto is_same = [&](const Json& later) { return work_of(later) == work_of(all[i]); };
    if (std::any_of(all.begin() + static_cast<std::ptrdiff_t>(i) + 1, all.end(), is_same)) continue;
    add_peer_rows(table, all[i]);
    machines.insert(machine_of(all[i]));
  }
  std::string where;
  for (const auto& machine : machines) where += (where.empty() ? "" : "; ") + machine;
  return "## " + title + "\nMedians of alternating rounds, on " + where +
         ". The same work in turn: random weights, ViT-L/14, LoRA of rank 16 on all attention, a gated block "
         "every four layers, one image a row, four supervised tokens. With --cached_latents the frozen "
         "tower's output was kept here; the peer has no such cache.\n\n" +
         to_markdown(table);
}

// Tokens a second of each side over the rounds of the newest comparison.
std::string llama_cpp_section(const fs::path& file) {
  const Json all = read_json(file);
  const Json& entry = all.back();
  Table table{.columns = {"", "tokens/s", "least", "most"},
              .align = {Align::left, Align::right, Align::right, Align::right}};
  for (const auto& [name, rates] : entry.at("runs").items()) {
    auto values = rates.get<std::vector<double>>();
    std::ranges::sort(values);
    table.rows.push_back(
        {name, fixed(quantile(values, 0.5), 1), fixed(values.front(), 1), fixed(values.back(), 1)});
  }
  table.notes = {
      "SmolLM2-135M's sizes on both sides, all cores, batch 1. Here with a gated block every four layers, "
      "which is a sixth more to read and compute, and random weights; there " +
      entry.at("model").get<std::string>() + " and the same in BF16, the language model alone."};
  return "## Beside llama.cpp\nMedians of " + std::to_string(entry.at("runs").front().size()) +
         " alternating rounds. " + provenance(entry) + "\n\n" + to_markdown(table);
}

void write_page(const fs::path& raw) {
  const fs::path results = kSource / "benchmarks/results";
  fs::create_directories(results);
  const std::string commit = git_commit(kSource);  // what is written next counts as a change
  for (const std::string name :
       {"adapter_speed.json", "adapter_memory.json", "decode.json", "compile_time.json"}) {
    if (raw.empty() || !fs::exists(raw / name)) continue;
    keep(raw / name, results / name, false, commit);
    keep(raw / name, results / ("cuda_" + name), true, commit);
  }
  const bool has_card = fs::exists(results / "cuda_adapter_speed.json");
  std::string page =
      "# Performance\n"
      "Written by `./morph bench --record` from benchmarks/results; never edited. Numbers hold for the "
      "machine named above each table, ratios carry further. What was not measured is not here" +
      std::string(has_card ? "" : ": there is no CUDA row yet") + ".\n\n";
  const auto add = [&](const char* name, std::string (*section)(const fs::path&)) {
    if (fs::exists(results / name)) page += section(results / name) + '\n';
  };
  add("peer.json", [](const fs::path& f) { return peer_table(f, "Beside the Python stack"); });
  add("adapter_speed.json", step_section);
  add("adapter_memory.json", memory_section);
  add("decode.json", decode_section);
  add("llama_cpp.json", llama_cpp_section);
  add("compile_time.json", compile_section);
  add("cuda_peer.json",
      [](const fs::path& f) { return peer_table(f, "Beside the Python stack, on a card"); });
  add("cuda_adapter_speed.json", cuda_step_section);
  add("cuda_adapter_memory.json", cuda_memory_section);
  add("cuda_decode.json", cuda_decode_section);
  page +=
      "## Running it\n"
      "`./morph bench` runs the quick cases, `--full` those that need 10 GiB, `--record` keeps the results "
      "of all and writes this page. `./morph bench --peer PYTHON --lm open_llama_3b --dtype bf16 --batch 2 "
      "--seq 64` runs a step here and in Python in turn; that Python needs open_flamingo 2.0.1, peft, "
      "open_clip_torch and transformers. `--record benchmarks/results/peer.json` after it keeps the "
      "result. `./morph bench --llama_cpp FOLDER` decodes here and with the llama-bench in that folder in "
      "turn; `--record benchmarks/results/llama_cpp.json` keeps it.\n";
  write_file(kSource / "docs/performance.md", wrap_markdown(page));
}

struct Arguments {
  fs::path results;
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> = std::to_array<FieldNote>(
    {{"results", "a folder of fresh results to keep; empty: the page is written anew"}});

int main(int argc, char** argv) {
  return experiments::program<Arguments>(
      {.name = "performance_page", .purpose = "Writes docs/performance.md from benchmarks/results."}, argc,
      argv, [](const Arguments& arguments) { write_page(arguments.results); });
}
