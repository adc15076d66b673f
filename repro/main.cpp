// Runs the paper's rows: repro [--only=T1] [--out=runs] [--fresh] [--t1.seed=1 ...]
#include <iostream>
#include <span>

#include "morphvlm/core/config.hpp"
#include "repro/table1.hpp"

namespace {

struct Arguments {
  std::string only = "";  // prefix of the rows to run
  std::filesystem::path out = "runs";
  bool fresh = false;  // forget finished stages
  morphvlm::experiments::AokvqaFinetune t1 = morphvlm::experiments::aokvqa_finetune_mini();
};

void print(const morphvlm::repro::Row& row) {
  std::cout << '\n' << row.id << ": " << row.claim << '\n';
  for (const auto& check : row.checks) {
    std::cout << "  " << to_string(check.outcome) << ": " << check.what << " (" << check.detail << ")\n";
  }
  std::cout << "  verdict on the claim: " << to_string(row.verdict) << ". " << row.evidence << '\n';
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  const std::vector<const char*> words(argv + 1, argv + argc);
  const auto rest = morphvlm::apply_flags(arguments, words);
  morphvlm::expect(rest.empty(), "unexpected argument ", rest.empty() ? "" : rest.front(),
                   "; flags are --only=T1, --out=FOLDER, --fresh and --t1.<field>=<value>");
  morphvlm::expect(std::string_view("T1.aokvqa").starts_with(arguments.only), "--only=", arguments.only,
                   ": no such row; there is T1.aokvqa");
  arguments.t1.out = arguments.out / "t1-mini";
  if (arguments.fresh) std::filesystem::remove_all(arguments.t1.out);
  const auto row = morphvlm::repro::aokvqa_row(
      arguments.t1, std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/baselines");
  morphvlm::save_report(row.report, arguments.t1.out / "report.json");
  morphvlm::save_page(row.page, arguments.t1.out / "report.html");
  std::cout << to_text(row.table);
  print(row.row);
  std::cout << "\nreport: " << (arguments.t1.out / "report.html").string() << '\n';
  return morphvlm::repro::exit_code({row.row});
} catch (const std::exception& e) {
  std::cerr << "repro: " << e.what() << '\n';
  return 1;
}
