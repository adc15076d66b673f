// What each batch of a training run lost and cost, a line each: {"batch", "data", "also", "flops"}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "experiments/training_cost.hpp"
#include "morphvlm/core/json_lines.hpp"

namespace morphvlm::experiments {

/// The log; with an empty path it costs nothing. Losses travel to the host for it.
class BatchLog {
 public:
  /// `model` is the one that will be trained.
  template <class Model>
  BatchLog(const Model& model, std::filesystem::path path) : path_(std::move(path)) {
    if (path_.empty()) return;
    bool plain = true;
    visit(model, [&](const std::string&, const Tensor& t) { plain &= t.is_floating_point(); });
    if (plain) cost_ = TrainingCost::of_model(model);
  }

  /// One batch of the first kind of data and, where there is one, of the second. Weights that are packed are
  /// not counted, and then nothing is: `flops` is left out.
  void write(std::int64_t index, const std::vector<std::pair<Batch, Tensor>>& kinds) {
    if (path_.empty()) return;
    // A run that goes on writes over what an interrupted one did after its last checkpoint.
    if (!lines_) lines_.emplace(path_, index);
    Json line{{"batch", index}, {"data", kinds.front().second.item<double>()}};
    if (kinds.size() > 1) line["also"] = kinds.back().second.item<double>();
    if (cost_) {
      double flops = 0;
      for (const auto& [batch, loss] : kinds) flops += cost_->of(batch);
      line["flops"] = flops;
    }
    lines_->write(line);
  }

 private:
  std::filesystem::path path_;
  std::optional<TrainingCost> cost_ = {};
  std::optional<JsonLines> lines_ = {};
};

}  // namespace morphvlm::experiments
