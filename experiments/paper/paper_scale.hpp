// The experiments at paper scale. Each program that is run is kept when it has ended, so that an interrupted
// suite goes on where it was; `train` goes on within a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "experiments/mini/biogpt_convergence.hpp"
#include "experiments/mini/lr_schedules.hpp"
#include "experiments/mini/small_world_config.hpp"
#include "experiments/paper/paper_scale_config.hpp"
#include "morphvlm/core/json.hpp"

namespace morphvlm::experiments {

/// Folders of the assets. Language models that the paper swaps in may come without flamingo/: the suite then
/// trains blocks for them on COCO's captions.
inline constexpr const char *kOpenFlamingo = "of3b", *kOpenLlama = "open_llama_3b", *kBioGpt = "biogpt_large";

/// Why an experiment that needs these folders cannot run; empty where it can.
std::string reason_to_skip(const PaperScale& scale, std::initializer_list<const char*> folders);

/// What `evaluate` said.
struct PaperAnswers {
  Json scores = {};               ///< the task's, in %
  std::int64_t questions = 0;     ///< that were asked
  std::vector<double> each = {};  ///< each question's score, where the task has such
  double seconds = 0;             ///< loading included
};

/// A question to a model folder.
struct PaperQuestion {
  std::filesystem::path model = {};
  std::filesystem::path adapter = {};  ///< empty: none
  std::string task = {};
  std::string data = {};  ///< a folder of the assets
  std::int64_t shots = 0;
  std::int64_t limit = 0;
};

/// Asks, unless that is done; `name` is that of its folder under `out`. Errors: the program's status.
PaperAnswers ask(const PaperScale& scale, const std::string& name, const PaperQuestion& question);

/// What `train` did.
struct PaperRun {
  std::filesystem::path adapter = {};
  std::filesystem::path blocks = {};  ///< flamingo/, where blocks were trained
  FinetuneRun run = {};
};

/// Trains a model folder, unless that is done. `flags` come on top of the model, the folder and the device.
PaperRun train(const PaperScale& scale, const std::string& name, const std::filesystem::path& model,
               std::vector<std::string> flags);

/// Whether a model folder of the assets has resampler and gated blocks.
bool has_own_blocks(const PaperScale& scale, const std::string& model);

/// A model folder of the assets with blocks: its own, or trained on COCO's captions before.
std::filesystem::path with_blocks(const PaperScale& scale, const std::string& model);

/// T1.baseline: VQAv2 with 0, 2, 4 and 8 demonstrations (`kShots`).
std::vector<PaperAnswers> baseline_on_paper(const PaperScale& scale);

/// T1.aokvqa: VQAv2 before and after fine-tunings on A-OKVQA, one a seed.
struct AokvqaOnPaper {
  PaperAnswers before = {};
  bool with_captions = false;  ///< COCO's captions were learned with it, as in the paper
  std::vector<PaperAnswers> after = {};
  std::vector<PaperRun> runs = {};
};
AokvqaOnPaper aokvqa_on_paper(const PaperScale& scale);

/// F2.loss: every schedule with every warm-up and seed, as at mini scale. `setting` gets what it was.
LrSchedulesResult schedules_on_paper(const PaperScale& scale, LrSchedules& setting);

/// F3.loss: fine-tunings with and without feed-forward adapters, one a seed.
struct PlacementOnPaper {
  std::vector<PaperRun> all = {}, attention = {};
};
PlacementOnPaper placement_on_paper(const PaperScale& scale);

/// F4: BioGPT-Large on A-OKVQA with PubMedQA and on A-OKVQA alone, as at mini scale. `setting` gets what it
/// was.
BioGPTConvergenceResult biogpt_on_paper(const PaperScale& scale, BioGPTConvergence& setting);

/// C.2.bias: VL-StereoSet.
PaperAnswers bias_on_paper(const PaperScale& scale);

}  // namespace morphvlm::experiments
