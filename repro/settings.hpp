// What the suite runs: the settings of all experiments, at three scales and in three sizes.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "experiments/device/device_scale_config.hpp"
#include "experiments/device/pubmedqa_12gb.hpp"
#include "experiments/mini/aokvqa_finetune.hpp"
#include "experiments/mini/baseline_vqav2.hpp"
#include "experiments/mini/bias_vl_stereoset.hpp"
#include "experiments/mini/biogpt_convergence.hpp"
#include "experiments/mini/lora_placement.hpp"
#include "experiments/mini/lr_schedules.hpp"
#include "experiments/mini/vision_swap.hpp"
#include "experiments/paper/paper_scale_config.hpp"
#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/field_notes.hpp"

namespace morphvlm::repro {

/// At which scale the experiments run: small models that are trained on a CPU, the paper's models with random
/// weights on a card, or with their real weights and data.
enum class Scale { mini, device, paper };

/// Every field is a flag: `--full`, `--only=F3`, `--schedules.seeds=3`.
struct Settings {
  Scale scale = Scale::mini;
  std::string only = "";  ///< beginnings of the ids of rows to run, separated by commas; empty: all
  std::filesystem::path out = "runs";
  std::filesystem::path docs = "";  ///< where the joint report goes; empty: see report_folder
  std::int64_t seeds = 0;           ///< of every row; 0: as many as the size has
  bool full = false;                ///< all seeds
  bool smoke = false;               ///< a few steps of everything: that it runs, not what it learns
  bool fresh = false;               ///< finished work of the rows that are run is done again
  bool record = false;              ///< keep each seed's numbers in repro/baselines
  experiments::BaselineVqav2 baseline = {};
  experiments::AokvqaFinetune aokvqa = experiments::aokvqa_finetune_mini();
  experiments::LrSchedules schedules = {};
  experiments::LoraPlacement placement = {};
  experiments::BioGPTConvergence biogpt = {};
  experiments::Pubmedqa12Gb memory = {};
  experiments::VisionSwap vision = {};
  experiments::BiasVlStereoset bias = {};
  experiments::DeviceScale on_device = {};  ///< all rows at device scale
  experiments::PaperScale on_paper = {};    ///< all rows at paper scale
};

/// "full", "smoke" or "reduced".
std::string_view size_name(const Settings& settings);

/// The flags on top of the size that they name. `always_only`, unless empty, is what --only is when it is not
/// given. Errors: an argument that is no flag, an unknown flag, --full with --smoke.
Settings read_settings(std::span<const char* const> flags, std::string_view always_only = "");

/// True if `id` begins as one of the prefixes in `only`.
bool is_chosen(std::string_view id, std::string_view only);

/// Where the joint report goes: `docs` if it is set, `source`/docs after a reduced or full run of all rows at
/// mini scale, `out` after any other run.
std::filesystem::path report_folder(const Settings& settings, const std::filesystem::path& source);

}  // namespace morphvlm::repro

namespace morphvlm {
template <>
inline constexpr std::array<std::pair<repro::Scale, std::string_view>, 3> enum_names<repro::Scale>{
    {{repro::Scale::mini, "mini"}, {repro::Scale::device, "device"}, {repro::Scale::paper, "paper"}}};

/// Their help and ranges.
template <>
inline constexpr auto field_notes<repro::Settings> = std::to_array<FieldNote>(
    {{"scale", "small models on a CPU, the paper's with random weights on a card, or with their real ones"},
     {"only", "beginnings of the ids of rows to run, separated by commas"},
     {"out", "where runs are kept"},
     {"docs", "where the joint report goes"},
     {"seeds", "of every row; 0: as many as the size has", at_least(0)},
     {"full", "all seeds"},
     {"smoke", "a few steps of everything: that it runs, not what it learns"},
     {"fresh", "finished work of the rows that are run is done again"},
     {"record", "keep each seed's numbers in repro/baselines"},
     {"baseline", "of T1.baseline (experiments/mini/baseline_vqav2.hpp)"},
     {"aokvqa", "of T1.aokvqa (experiments/mini/aokvqa_finetune.hpp)"},
     {"schedules", "of F2 (experiments/mini/lr_schedules.hpp)"},
     {"placement", "of F3 (experiments/mini/lora_placement.hpp)"},
     {"biogpt", "of T1.bio and F4 (experiments/mini/biogpt_convergence.hpp)"},
     {"memory", "of C.1 (experiments/device/pubmedqa_12gb.hpp)"},
     {"vision", "of C.2.swap (experiments/mini/vision_swap.hpp)"},
     {"bias", "of C.2.bias (experiments/mini/bias_vl_stereoset.hpp)"},
     {"on_device", "of --scale device (experiments/device/device_scale_config.hpp)"},
     {"on_paper", "of --scale paper (experiments/paper/paper_scale_config.hpp)"}});
}  // namespace morphvlm
