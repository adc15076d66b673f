// Runs the paper's rows: repro [--only=F2] [--out=runs] [--fresh] [--t1.seed=1 ...] [--f3.seeds=5 ...]
#include <iostream>
#include <span>

#include "morphvlm/core/config.hpp"
#include "repro/figure2.hpp"
#include "repro/figure3.hpp"
#include "repro/table1.hpp"

namespace {

struct Arguments {
  std::string only = "";  // prefix of the rows to run
  std::filesystem::path out = "runs";
  bool fresh = false;  // forget finished stages
  morphvlm::experiments::AokvqaFinetune t1 = morphvlm::experiments::aokvqa_finetune_mini();
  morphvlm::experiments::LoraPlacement f3 = {};
};

void print(const morphvlm::repro::Row& row) {
  std::cout << '\n' << row.id << ": " << row.claim << '\n';
  for (const auto& check : row.checks) {
    std::cout << "  " << to_string(check.outcome) << ": " << check.what << " (" << check.detail << ")\n";
  }
  std::cout << "  verdict on the claim: " << to_string(row.verdict) << ". " << row.evidence << '\n';
}

std::vector<morphvlm::repro::RowRunner> rows_of(Arguments& arguments) {
  namespace repro = morphvlm::repro;
  const std::filesystem::path source = MORPHVLM_SOURCE_DIR;
  arguments.t1.out = arguments.out / "t1-mini";
  arguments.f3.world.out = arguments.out / "f3-loss" / "small";
  return {
      {"F2.lr", arguments.out / "f2-lr",
       [=] { return repro::learning_rate_row(repro::published_schedules(), source / "repro/published"); }},
      {"F3.loss", arguments.out / "f3-loss",
       [=, &arguments] {
         return repro::placement_loss_row(arguments.f3, run(arguments.f3), source / "repro/published");
       }},
      {"F3.memory", arguments.out / "f3-memory",
       [=] { return repro::placement_memory_row(source / "repro/published"); }},
      {"T1.aokvqa", arguments.t1.out,
       [=, &arguments] { return repro::aokvqa_row(arguments.t1, source / "repro/baselines"); }}};
}

// Keeps a row's report and prints it.
morphvlm::repro::Row show(morphvlm::repro::RowResult result, const std::filesystem::path& folder) {
  result.report.machine = morphvlm::this_machine();
  result.report.commit = morphvlm::git_commit(MORPHVLM_SOURCE_DIR);
  result.report.date = morphvlm::utc_now();
  morphvlm::save_report(result.report, folder / "report.json");
  morphvlm::save_page(result.page, folder / "report.html");
  std::cout << to_text(result.table);
  print(result.row);
  std::cout << "\nreport: " << (folder / "report.html").string() << "\n\n";
  return result.row;
}

}  // namespace

int main(int argc, char** argv) try {
  namespace repro = morphvlm::repro;
  Arguments arguments;
  const std::vector<const char*> words(argv + 1, argv + argc);
  const auto rest = morphvlm::apply_flags(arguments, words);
  morphvlm::expect(
      rest.empty(), "unexpected argument ", rest.empty() ? "" : rest.front(),
      "; flags are --only=T1, --out=FOLDER, --fresh, --t1.<field>=<value> and --f3.<field>=<value>");
  const auto rows = rows_of(arguments);
  std::vector<repro::Row> done;
  for (const auto& row : rows) {
    if (!row.id.starts_with(arguments.only)) continue;
    if (arguments.fresh) std::filesystem::remove_all(row.folder);
    done.push_back(show(row.run(), row.folder));
  }
  std::string known;
  for (const auto& row : rows) known += (known.empty() ? "" : ", ") + row.id;
  morphvlm::expect(!done.empty(), "--only=", arguments.only, ": no such row; there are ", known);
  return repro::exit_code(done);
} catch (const std::exception& e) {
  std::cerr << "repro: " << e.what() << '\n';
  return 1;
}
