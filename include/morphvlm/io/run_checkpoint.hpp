// Checkpoints of a run: folders of their own, each whole or not there, of which the newest sound one is
// found.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/zip.hpp"

namespace morphvlm {

/// What a run needs to go on from a step as if it had never stopped.
struct RunCheckpoint {
  std::int64_t step = 0;   ///< optimizer steps done
  double score = 0;        ///< the lower, the better; for keeping the best
  Json state = {};         ///< what is not a tensor
  StateDict tensors = {};  ///< parameters, moments, history, ...
};

/// What find_checkpoint found.
struct FoundCheckpoint {
  std::optional<RunCheckpoint> newest = {};  ///< none: the folder has no checkpoint
  /// A checkpoint that was passed over.
  struct Damaged {
    std::int64_t step = 0;    ///< by its folder's name
    std::string reason = {};  ///< an Error's message
  };
  std::vector<Damaged> damaged = {};  ///< newer ones that are not whole
};

/// Which checkpoints stay when a new one comes.
struct KeepCheckpoints {
  std::int64_t last = 2;  ///< the newest; at least 1
  bool best = true;       ///< and the one with the lowest score
};

/// Their help and ranges.
template <>
inline constexpr auto field_notes<KeepCheckpoints> =
    std::to_array<FieldNote>({{"last", "how many of the newest checkpoints stay", at_least(1)},
                              {"best", "whether the best one stays too"}});

namespace detail {

inline constexpr const char *kRunState = "state.json", *kRunTensors = "tensors.safetensors",
                            *kRunComplete = "complete.json";

inline std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step) {
  const std::string digits = std::to_string(step);
  return folder / ("step-" + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits);
}

// Steps of the folders called as checkpoints are, the latest first.
inline std::vector<std::int64_t> checkpoint_steps(const std::filesystem::path& folder) {
  std::vector<std::int64_t> steps;
  if (!std::filesystem::exists(folder)) return steps;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("step-") || !entry.is_directory()) continue;
    std::int64_t step = 0;
    const auto* const end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + 5, end, step);
    if (error == std::errc{} && at == end && checkpoint_path(folder, step).filename() == name)
      steps.push_back(step);
  }
  std::ranges::sort(steps, std::greater{});
  return steps;
}

inline std::uint32_t file_checksum(const std::filesystem::path& path) { return crc32(map_file(path)->bytes); }

// An Error unless the folder's marker of completion is there and the files are those that it vouches for.
inline Json read_complete_checkpoint(const std::filesystem::path& folder) {
  const auto marker = (folder / kRunComplete).string();
  const Json sums = read_json(marker);
  for (const auto* name : {kRunState, kRunTensors}) {
    const auto expected = json_get<std::uint32_t>(sums, name, marker), found = file_checksum(folder / name);
    expect(expected == found, (folder / name).string(), ": damaged: expected the checksum ", expected,
           ", found ", found);
  }
  return read_json(folder / kRunState);
}

// The score that a checkpoint was saved with; nothing where it cannot be read.
inline std::optional<double> checkpoint_score(const std::filesystem::path& path) {
  try {
    return json_get<double>(read_json(path / kRunState), "score", path.string());
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Removed under another name, so that no reader finds a part of it.
inline void remove_checkpoint(const std::filesystem::path& path) {
  const auto aside = sibling(path);
  rename_path(path, aside);
  std::filesystem::remove_all(aside);
}

}  // namespace detail

/// Writes a checkpoint to folder/step-N: aside, synced, renamed, with checksums. When that fails, those that
/// were there are as they were.
inline void save_checkpoint(const std::filesystem::path& folder, const RunCheckpoint& c) {
  write_directory(detail::checkpoint_path(folder, c.step), [&](const std::filesystem::path& fresh) {
    save_safetensors(fresh / detail::kRunTensors, c.tensors);
    const Json state{{"step", c.step}, {"score", c.score}, {"state", c.state}};
    write_file(fresh / detail::kRunState, state.dump() + "\n");
    Json sums = Json::object();
    for (const auto* name : {detail::kRunState, detail::kRunTensors})
      sums[name] = detail::file_checksum(fresh / name);
    write_file(fresh / detail::kRunComplete, sums.dump() + "\n");
  });
}

/// The newest checkpoint in `folder` that is whole; damaged ones are passed over and told. Its tensors are
/// copies, so that the folder may go. Error: there are checkpoints, but none is whole.
inline FoundCheckpoint find_checkpoint(const std::filesystem::path& folder) {
  FoundCheckpoint found;
  for (const auto step : detail::checkpoint_steps(folder)) {
    const auto path = detail::checkpoint_path(folder, step);
    try {
      const Json stored = detail::read_complete_checkpoint(path);
      const auto where = (path / detail::kRunState).string();
      found.newest = {.step = json_get<std::int64_t>(stored, "step", where),
                      .score = json_get<double>(stored, "score", where),
                      .state = json_get<Json>(stored, "state", where),
                      .tensors = load_safetensors(path / detail::kRunTensors)};
      for (auto& [name, t] : found.newest->tensors) t = t.clone();
      return found;
    } catch (const Error& e) {
      found.damaged.push_back({step, e.what()});
    }
  }
  std::string reasons;
  for (const auto& d : found.damaged) reasons += "\n  " + d.reason;
  expect(reasons.empty(), folder.string(), ": no checkpoint is whole:", reasons);
  return found;
}

/// Takes checkpoints that are not whole out of the way, as step-N.damaged, for somebody to look at.
inline void set_damaged_aside(const std::filesystem::path& folder, const FoundCheckpoint& found) {
  for (const auto& d : found.damaged) {
    const auto path = detail::checkpoint_path(folder, d.step);
    const std::filesystem::path aside = path.string() + ".damaged";
    std::filesystem::remove_all(aside);
    detail::rename_path(path, aside);
  }
}

/// Removes the checkpoints that `keep` does not name.
inline void prune_checkpoints(const std::filesystem::path& folder, const KeepCheckpoints& keep) {
  const auto steps = detail::checkpoint_steps(folder);
  const auto last = std::min(std::ssize(steps), std::max<std::int64_t>(keep.last, 1));
  std::optional<std::pair<double, std::int64_t>> best;
  for (const auto step : steps) {
    const auto score = detail::checkpoint_score(detail::checkpoint_path(folder, step));
    if (keep.best && score && (!best || *score < best->first)) best = {*score, step};
  }
  for (const auto step : std::span(steps).subspan(static_cast<std::size_t>(last)))
    if (!best || step != best->second) detail::remove_checkpoint(detail::checkpoint_path(folder, step));
}

/// Sole use of a folder of checkpoints while it lives: two runs would remove each other's. Error: somebody
/// else has it. What a killed writer left unfinished there is removed.
struct CheckpointLock {
  /// Takes the folder, which is made where there is none.
  explicit CheckpointLock(const std::filesystem::path& folder) : lock_(open(folder)) {
    expect(::flock(lock_.fd, LOCK_EX | LOCK_NB) == 0, folder.string(),
           ": another run keeps its checkpoints here; choose another folder");
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".morphvlm-") && name.ends_with(".tmp")) std::filesystem::remove_all(entry.path());
    }
  }

 private:
  static int open(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    const auto path = folder / ".lock";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) detail::fail_errno(path, "cannot be opened");
    return fd;
  }
  detail::Descriptor lock_;
};

}  // namespace morphvlm
