// Rows that `train` teaches, with the latents of their pictures, which are computed once where they stay.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "experiments/model_input.hpp"
#include "experiments/train_task.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/train/loss.hpp"

namespace morphvlm::experiments {

// Latents of more pictures than this are made batch by batch: all of them would not fit into memory.
inline constexpr std::int64_t kMostCachedPictures = 5000;

/// How pictures get into the model.
struct TrainRowsConfig {
  ClipPreprocess preprocess = {};
  std::string float32_matmul_precision = "highest";  ///< that latents are computed in
  bool frozen_latents = true;                        ///< tower and resampler stay as they are
};

/// The rows with what the frozen part of the model makes of their pictures.
template <class Model>
class TrainRows {
 public:
  TrainRows(const Model& model, std::vector<TrainRow> rows, const TrainRowsConfig& c,
            const std::filesystem::path& cache)
      : rows_(std::move(rows)), preprocess_(c.preprocess), precision_(c.float32_matmul_precision) {
    if (rows_.front().image.empty()) return;
    std::map<std::filesystem::path, std::int64_t> index;
    for (const auto& row : rows_) {
      const auto [it, fresh] = index.try_emplace(row.image, std::ssize(pictures_));
      if (fresh) pictures_.push_back(row.image);
      picture_of_.push_back(it->second);
    }
    if (!c.frozen_latents || std::ssize(pictures_) > kMostCachedPictures) return;
    latents_ = cached_features(cache, cache_key(model), [&] { return all_latents(model); });
  }

  std::int64_t size() const { return std::ssize(rows_); }
  const TrainRow& row(std::int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }

  /// Some rows, on the model's device.
  Batch batch(const Model& model, const std::vector<std::int64_t>& chosen) const {
    std::vector<LabelledIds> texts;
    for (const auto i : chosen) texts.push_back(row(i).text);
    return collate_labelled(texts, model.config.eoc_token_id).to(device_of(model.perceiver));
  }

  /// The mean loss of some rows, whose batch this is.
  Tensor loss(const Model& model, const Batch& batch, const std::vector<std::int64_t>& chosen) const {
    return next_token_loss(model, model.hidden(batch.text, latents(model, chosen)), batch.labels);
  }

  /// [rows, 1, l, d] of the rows' pictures; undefined where they have none.
  Tensor latents(const Model& model, const std::vector<std::int64_t>& chosen) const {
    if (pictures_.empty()) return {};
    std::vector<std::int64_t> at;
    for (const auto i : chosen) at.push_back(picture_of_[static_cast<std::size_t>(i)]);
    if (latents_.defined()) return latents_.index_select(0, at::tensor(at)).to(device_of(model.perceiver));
    std::vector<std::filesystem::path> paths;
    for (const auto i : at) paths.push_back(pictures_[static_cast<std::size_t>(i)]);
    return model.resample(picture_features(model, paths, 1, preprocess_));
  }

 private:
  Tensor all_latents(const Model& model) const {
    at::NoGradGuard no_grad;
    Progress progress("pictures", std::ssize(pictures_));
    std::vector<Tensor> parts;
    constexpr std::size_t kAtOnce = 8;
    for (std::size_t i = 0; i < pictures_.size(); i += kAtOnce) {
      const auto some = std::span(pictures_).subspan(i, std::min(kAtOnce, pictures_.size() - i));
      parts.push_back(model.resample(picture_features(model, some, 1, preprocess_)).cpu());
      progress.advance(std::ssize(some));
    }
    return at::cat(parts);
  }

  std::string cache_key(const Model& model) const {
    std::string key = weights_fingerprint(model.vision_encoder) + weights_fingerprint(model.perceiver) +
                      to_json(preprocess_).dump() + precision_;
    for (const auto& path : pictures_)
      key += '\n' + path.string() + ' ' + std::to_string(std::filesystem::file_size(path)) + ' ' +
             std::to_string(std::filesystem::last_write_time(path).time_since_epoch().count());
    return std::to_string(fnv1a(key));
  }

  std::vector<TrainRow> rows_;
  ClipPreprocess preprocess_;
  std::string precision_;
  std::vector<std::filesystem::path> pictures_ = {};
  std::vector<std::int64_t> picture_of_ = {};
  Tensor latents_ = {};
};

}  // namespace morphvlm::experiments
