// What was recorded of a row, seed by seed (repro/baselines/<row>.json), and whether a run agrees with it.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "repro/suite.hpp"

namespace morphvlm::repro {

/// One recording: every seed's numbers under one recipe.
struct Recording {
  Json recipe = Json::object();  ///< the experiment's parameters but for folders and the number of seeds
  std::vector<SeedValues> seeds = {};
  Machine machine = {};
  std::string commit = {};
  std::string date = {};
};

/// What decides a row's numbers: its parameters without what names folders or counts seeds.
Json recipe_of(const Json& parameters);

/// All recordings of a row; none where there is no file. Errors name file and key.
std::vector<Recording> read_recordings(const std::filesystem::path& folder, const std::string& row);

/// Puts the result's numbers into the row's file, in the place of an earlier recording of the same recipe on
/// the same kind of machine.
void record(const std::filesystem::path& folder, const RowResult& result);

/// Compares the result with the recording of its recipe and kind of machine, number by number: with three
/// seeds or more on either side by Welch's t-test over seeds (two-sided, 5 % over all numbers of the row
/// together), with fewer, or where nothing varies, within 5 % of the recorded mean. Skipped without such a
/// recording.
std::vector<Check> check_recording(const std::filesystem::path& folder, const RowResult& result);

/// Two-sided p of Welch's t-test for equal means; 1 where both sides do not vary and are equal, 0 where they
/// do not vary and differ.
double welch_p(std::span<const double> a, std::span<const double> b);

}  // namespace morphvlm::repro
