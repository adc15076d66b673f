#include "repro/settings.hpp"

#include <algorithm>
#include <vector>

#include "morphvlm/core/config.hpp"

namespace morphvlm::repro {

namespace {

void set_seeds(Settings& s, std::int64_t seeds) {
  s.baseline.seeds = s.schedules.seeds = s.placement.seeds = s.biogpt.seeds = s.vision.seeds = seeds;
  s.aokvqa.tuning_seeds = s.on_paper.seeds = seeds;
}

template <class F>
void for_each_world(Settings& s, F&& f) {
  f(s.baseline.world);
  f(s.schedules.world);
  f(s.placement.world);
  f(s.biogpt.world);
  f(s.vision.world);
  f(s.bias.world);
}

void set_steps(experiments::FlamingoStage& stage, std::int64_t steps, std::int64_t full_steps) {
  stage.train.steps = steps;
  stage.full_steps = full_steps;
}

// The recipe, which both sizes share, so that what one has finished the other keeps.
Settings recipe(std::int64_t seeds) {
  Settings s;
  set_seeds(s, seeds);
  s.vision.seeds = std::min<std::int64_t>(seeds, 3);
  s.aokvqa.test_questions = 1000;
  set_steps(s.aokvqa.pretrain, 300, 12);
  set_steps(s.aokvqa.finetune, 30, 6);
  s.aokvqa.control = s.aokvqa.finetune;
  return s;
}

constexpr std::int64_t kReducedSeeds = 1, kFullSeeds = 5;

Settings smoke() {
  Settings s;
  set_seeds(s, 1);
  for_each_world(s, [](experiments::SmallWorldConfig& w) {
    w.vision.tower.train.steps = 2;
    w.language.steps = 2;
    w.flamingo.steps = 3;
  });
  s.schedules.train.steps = s.placement.train.steps = s.biogpt.train.steps = 6;
  s.vision.train.steps = 3;
  s.vision.samples = s.baseline.samples = 8;
  s.bias.pictures = 24;
  s.on_device = {.device = "cpu", .sizes = experiments::Sizes::small, .steps = 3, .rows = 2};
  s.on_paper = {.device = "cpu",
                .seeds = 1,
                .questions = 4,
                .batch = 2,
                .blocks_steps = 4,
                .steps = 4,
                .figure_steps = 4};
  auto& t1 = s.aokvqa;
  t1.test_questions = 40;
  t1.vision.tower.train.steps = t1.vision.perceiver.train.steps = 3;
  for (auto* stage : {&t1.pretrain, &t1.finetune, &t1.control}) {
    set_steps(*stage, 4, 1);
    stage->questions = 2;
  }
  return s;
}

}  // namespace

std::string_view size_name(const Settings& s) { return s.full ? "full" : s.smoke ? "smoke" : "reduced"; }

Settings read_settings(std::span<const char* const> flags, std::string_view always_only) {
  // Twice: what the size sets must not overwrite what is asked for by name.
  Settings first;
  const auto rest = apply_flags(first, flags);
  expect(rest.empty(), "unexpected argument ", rest.empty() ? "" : rest.front(),
         "; flags are --scale=mini|device|paper, --full, --smoke, --only=ROWS, --seeds=N, --fresh, --record, "
         "--out=FOLDER, "
         "--docs=FOLDER and --<experiment>.<field>=<value>");
  expect(!first.full || !first.smoke, "--full and --smoke exclude each other");
  expect(first.seeds >= 0, "--seeds: expected 1 or more, found ", first.seeds);
  Settings s = first.smoke ? smoke() : recipe(first.full ? kFullSeeds : kReducedSeeds);
  if (first.seeds > 0) set_seeds(s, first.seeds);
  s.only = always_only;
  apply_flags(s, flags);
  if (s.scale != Scale::mini) s.out /= morphvlm::detail::enum_name(s.scale);
  for_each_world(s, [&](experiments::SmallWorldConfig& w) { w.out = s.out / "small"; });
  s.aokvqa.out = s.out / "t1-mini";
  s.on_paper.out = s.out;
  return s;
}

bool is_chosen(std::string_view id, std::string_view only) {
  if (only.empty()) return true;
  // By hand: clang 14 cannot take libstdc++'s views apart.
  for (std::size_t begin = 0; begin <= only.size();) {
    const auto end = std::min(only.find(',', begin), only.size());
    const auto prefix = only.substr(begin, end - begin);
    if (!prefix.empty() && id.starts_with(prefix)) return true;
    begin = end + 1;
  }
  return false;
}

std::filesystem::path report_folder(const Settings& s, const std::filesystem::path& source) {
  if (!s.docs.empty()) return s.docs;
  return s.only.empty() && !s.smoke && s.scale == Scale::mini ? source / "docs" : s.out;
}

}  // namespace morphvlm::repro
