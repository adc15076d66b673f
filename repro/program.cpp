#include "repro/program.hpp"

#include <array>
#include <iostream>
#include <span>
#include <vector>

#include "experiments/programs/program.hpp"
#include "morphvlm/core/keep_freed_memory.hpp"
#include "repro/reproduction.hpp"
#include "repro/rows.hpp"
#include "repro/run_rows.hpp"

namespace morphvlm::repro {

namespace {

const std::filesystem::path kSource = MORPHVLM_SOURCE_DIR;

// What a recording is made of has to be in the history.
void expect_clean_tree() {
  const std::string commit = git_commit(kSource);
  expect(commit != "unknown", "--record: ", kSource.string(),
         ": expected a git work tree, so that numbers can name their commit");
  expect(commit.find("modified") == std::string::npos, "--record: ", kSource.string(),
         ": expected a clean work tree, found changes; commit them first");
}

int run(std::span<const char* const> flags, std::string_view only) {
  const Settings settings = read_settings(flags, only);
  expect(!settings.record || !settings.smoke, "--record: a smoke run has no numbers worth keeping");
  if (settings.record) expect_clean_tree();
  const auto rows = rows_of(settings, kSource);
  std::cerr << "the " << size_name(settings) << " suite at " << morphvlm::detail::enum_name(settings.scale)
            << " scale" << (settings.smoke ? ": a few steps of everything, to see that it runs\n" : "\n");
  const auto results = run_rows(rows, settings, kSource);
  const auto folder = report_folder(settings, kSource);
  const std::string size(size_name(settings)), scale(morphvlm::detail::enum_name(settings.scale));
  std::string command = "./morph repro";
  if (settings.scale != Scale::mini) command += " --scale " + scale;
  if (settings.full) command += " --full";
  save_reproduction(results, {size, command, scale}, folder);
  std::vector<Row> judged;
  for (const auto& r : results) judged.push_back(r.row);
  std::cout << to_text(summary_table(results)) << "\nreport: " << (folder / "reproduction.html").string()
            << '\n';
  return exit_code(judged);
}

}  // namespace

int program(int argc, char** argv, std::string_view only) noexcept {
  return experiments::guarded("repro", [&] {
    keep_freed_memory();
    if (experiments::asks_for_help(argc, argv)) {
      std::cout << experiments::help_text<Settings>(
          {.name = "repro",
           .purpose =
               "Runs the paper's rows (docs/tutorials/paper.md). A row's settings are the fields of its "
               "config: --schedules.train.lr 0.001."});
      return 0;
    }
    const auto words = experiments::joined_arguments(argc, argv);
    std::vector<const char*> flags;
    for (const auto& word : words) flags.push_back(word.c_str());
    return run(flags, only);
  });
}

}  // namespace morphvlm::repro
