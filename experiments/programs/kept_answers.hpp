// The answers that `evaluate` has so far, kept beside its --out until the scores are written, so that a run
// that ended early goes on from them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/json_lines.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/writable_file.hpp"
#include "morphvlm/train/run_state.hpp"

namespace morphvlm::experiments {

/// OUT.part (of other ranks OUT.part-1, ...): a line {"identity": {...}}, then a line {"row", "answer"} for
/// each answer.
class KeptAnswers {
 public:
  /// Takes up what an earlier run of the same `identity` has kept. Nothing is kept where `out` is empty, a
  /// device or a pipe. Errors: there are answers and `resume` was not asked for; they are of another run.
  KeptAnswers(const std::filesystem::path& out, const Json& identity, bool resume, std::size_t rows,
              Communicator* processes)
      : out_(out.empty() || is_device_or_pipe(out) ? std::filesystem::path() : out),
        identity_(identity),
        answers_(rows) {
    // Rank 0 reads, since files of several machines are not everywhere. A mark tells "" from no answer.
    std::vector<std::string> marked(rows);
    if (morphvlm::detail::is_first(processes) && !out_.empty()) take_up(resume, marked);
    for (std::size_t i = 0; i < rows; ++i) own_rows_.push_back(!marked[i].empty());
    take(marked, processes);
    const auto rank = processes == nullptr ? 0 : processes->rank();
    if (out_.empty()) return;
    own_ = part(rank);
    // On a machine of its own rank 0 has not seen it.
    if (rank != 0) std::filesystem::remove(own_);
  }

  /// The answer to a row, if it is known.
  const std::optional<std::string>& operator[](std::size_t row) const { return answers_[row]; }

  /// Keeps an answer. An Error where the disk does not take it.
  void add(std::size_t row, const std::string& answer) {
    answers_[row] = answer;
    own_rows_[row] = true;
    if (own_.empty()) return;
    if (!lines_) {
      std::filesystem::create_directories(std::filesystem::absolute(own_).parent_path());
      const bool begun = std::filesystem::exists(own_);
      lines_.emplace(own_, std::numeric_limits<std::int64_t>::max());
      if (!begun) lines_->write(Json{{"identity", identity_}});
    }
    lines_->write(Json{{"row", row}, {"answer", answer}});
  }

  /// Lets all processes know what each has got.
  void join(Communicator* processes) {
    std::vector<std::string> marked(answers_.size());
    for (std::size_t i = 0; i < marked.size(); ++i)
      if (own_rows_[i]) marked[i] = '=' + *answers_[i];
    take(marked, processes);
  }

  /// Removes the files: the results are where they belong. All processes call it, after rank 0 has written
  /// them.
  void remove(Communicator* processes) {
    if (processes != nullptr) {
      Tensor together = at::zeros({1});
      processes->sum(together);
    }
    lines_.reset();
    std::error_code gone;
    if (!own_.empty()) std::filesystem::remove(own_, gone);
  }

 private:
  // Each text is one process's.
  void take(std::vector<std::string>& marked, Communicator* processes) {
    join_texts(marked, processes);
    for (std::size_t i = 0; i < marked.size(); ++i)
      if (!marked[i].empty()) answers_[i] = marked[i].substr(1);
  }

  std::filesystem::path part(std::int64_t rank) const {
    auto name = out_;
    return name += rank == 0 ? std::string(".part") : ".part-" + std::to_string(rank);
  }

  // Those of all ranks that an earlier run had.
  std::vector<std::filesystem::path> parts() const {
    std::vector<std::filesystem::path> found;
    const auto folder = std::filesystem::absolute(out_).parent_path();
    const std::string name = part(0).filename().string();
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string other = entry.path().filename().string();
      const bool is_part =
          other == name || (other.starts_with(name + "-") &&
                            other.find_first_not_of("0123456789", name.size() + 1) == std::string::npos);
      if (is_part) found.push_back(entry.path());
    }
    return found;
  }

  void take_up(bool resume, std::vector<std::string>& marked) {
    const auto files = parts();
    if (files.empty()) return;
    expect(resume, files.front().string(),
           ": holds answers of a run that did not come to its end; go on from it "
           "(--resume) or remove it");
    for (const auto& file : files) read(file, marked);
    // Into one file, whatever the number of processes was.
    std::string lines = Json{{"identity", identity_}}.dump() + '\n';
    for (std::size_t i = 0; i < marked.size(); ++i)
      if (!marked[i].empty()) lines += Json{{"row", i}, {"answer", marked[i].substr(1)}}.dump() + '\n';
    write_file(part(0), lines);
    for (const auto& file : files)
      if (file.filename() != part(0).filename()) std::filesystem::remove(file);
  }

  void read(const std::filesystem::path& file, std::vector<std::string>& marked) const {
    const std::string text = read_text_file(file);
    // The writer may have been killed within its last line.
    std::istringstream lines(text.substr(0, text.rfind('\n') + 1));
    std::int64_t number = 0;
    for (std::string line; std::getline(lines, line);) {
      const std::string where = file.string() + ": line " + std::to_string(++number);
      const Json json = parse_json(line, where);
      if (number == 1) {
        const Json theirs = json_get<Json>(json, "identity", where);
        expect(theirs == identity_, file.string(),
               ": holds answers of another run:", morphvlm::detail::config_differences(theirs, identity_));
        continue;
      }
      const auto row = json_get<std::int64_t>(json, "row", where);
      expect(row >= 0 && row < std::ssize(marked), where, ": row: expected 0 to ", std::ssize(marked) - 1,
             ", found ", row);
      marked[static_cast<std::size_t>(row)] = '=' + json_get<std::string>(json, "answer", where);
    }
  }

  std::filesystem::path out_, own_ = {};
  Json identity_;
  std::vector<std::optional<std::string>> answers_;
  std::vector<bool> own_rows_ = {};  // of those: what this process got, or rank 0 took up
  std::optional<JsonLines> lines_ = {};
};

}  // namespace morphvlm::experiments
