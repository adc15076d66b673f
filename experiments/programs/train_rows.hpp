// Rows that `train` teaches, with the latents of their pictures, which are computed once where they stay.
#pragma once

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "experiments/programs/bad_rows.hpp"
#include "experiments/programs/model_input.hpp"
#include "experiments/programs/train_task.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/data/feature_rows.hpp"
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
  /// Rows that cannot be used go to `bad`: by their text, or by a picture that cannot be read, as far as
  /// pictures are read here. `where` is the data's name.
  TrainRows(const Model& model, std::vector<TrainRow> rows, const TrainRowsConfig& c,
            const std::filesystem::path& cache, const std::string& where, BadRows& bad)
      : rows_(std::move(rows)), preprocess_(c.preprocess), precision_(c.float32_matmul_precision) {
    take_out(where, bad, [&](const TrainRow& row) { return what_is_wrong(model, row); });
    expect_rows(where);
    if (rows_.front().image.empty()) return;
    index_pictures();
    std::vector<std::string> wrong(pictures_.size());
    if (c.frozen_latents && std::ssize(pictures_) <= kMostCachedPictures) {
      FeatureRows made = cached_feature_rows(cache, cache_key(model), picture_names(), {.title = "pictures"},
                                             [&](const auto& some) { return some_latents(model, some); });
      latents_ = made.features;
      latents_at_ = std::move(made.at);
      wrong = std::move(made.wrong);
    } else if (bad.skips()) {
      // The batches would find them one by one, and none can be left out by then.
      for (std::size_t i = 0; i < pictures_.size(); ++i) wrong[i] = error_of_reading(pictures_[i]);
    }
    std::int64_t i = 0;
    take_out(where, bad, [&](const TrainRow&) {
      return wrong[static_cast<std::size_t>(picture_of_[static_cast<std::size_t>(i++)])];
    });
    expect_rows(where);
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
    if (latents_.defined()) {
      for (auto& picture : at) picture = latents_at_[static_cast<std::size_t>(picture)];
      return latents_.index_select(0, at::tensor(at)).to(device_of(model.perceiver));
    }
    std::vector<std::filesystem::path> paths;
    for (const auto i : at) paths.push_back(pictures_[static_cast<std::size_t>(i)]);
    return model.resample(picture_features(model, paths, 1, preprocess_));
  }

 private:
  // Why a row's text is none for this model; empty: it is one.
  static std::string what_is_wrong(const Model& model, const TrainRow& row) {
    const auto places = std::count(row.text.ids.begin(), row.text.ids.end(), model.config.media_token_id);
    const std::int64_t pictures = row.image.empty() ? 0 : 1;
    if (places != pictures)
      return "its text has " + std::to_string(places) + " <image> tokens, but it has " +
             std::to_string(pictures) + " pictures";
    const auto most = most_positions(model);
    if (most && std::ssize(row.text.ids) > *most)
      return "its text has " + std::to_string(row.text.ids.size()) + " tokens, but the model has " +
             std::to_string(*most) + " positions (--data.max_tokens)";
    return {};
  }

  static std::string error_of_reading(const std::filesystem::path& picture) {
    try {
      read_image(picture);
      return {};
    } catch (const Error& e) {
      return e.what();
    }
  }

  // Takes out the rows, with what is known of them, that `why` has a reason for.
  template <class Why>
  void take_out(const std::string& where, BadRows& bad, Why&& why) {
    std::vector<TrainRow> rows;
    std::vector<std::int64_t> pictures;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const std::string reason = why(rows_[i]);
      if (!reason.empty()) {
        bad.add(where, rows_[i].id, reason);
        continue;
      }
      rows.push_back(std::move(rows_[i]));
      if (!picture_of_.empty()) pictures.push_back(picture_of_[i]);
    }
    rows_ = std::move(rows);
    picture_of_ = std::move(pictures);
  }

  void expect_rows(const std::string& where) const {
    expect(!rows_.empty(), where, ": all rows are bad, so there is none to train on");
  }

  void index_pictures() {
    std::map<std::filesystem::path, std::int64_t> index;
    for (const auto& row : rows_) {
      const auto [it, fresh] = index.try_emplace(row.image, std::ssize(pictures_));
      if (fresh) pictures_.push_back(row.image);
      picture_of_.push_back(it->second);
    }
  }

  Tensor some_latents(const Model& model, std::span<const std::size_t> some) const {
    at::NoGradGuard no_grad;
    std::vector<std::filesystem::path> paths;
    for (const auto i : some) paths.push_back(pictures_[i]);
    return model.resample(picture_features(model, paths, 1, preprocess_)).cpu();
  }

  std::string cache_key(const Model& model) const {
    return std::to_string(fnv1a(weights_fingerprint(model.vision_encoder) +
                                weights_fingerprint(model.perceiver) + to_json(preprocess_).dump() +
                                precision_));
  }

  // A picture that was changed is another one.
  std::vector<std::string> picture_names() const {
    std::vector<std::string> names;
    for (const auto& path : pictures_) {
      std::error_code gone;
      const auto size = std::filesystem::file_size(path, gone);
      const auto time = std::filesystem::last_write_time(path, gone);
      names.push_back(path.string() + ' ' + std::to_string(size) + ' ' +
                      std::to_string(time.time_since_epoch().count()));
    }
    return names;
  }

  std::vector<TrainRow> rows_;
  ClipPreprocess preprocess_;
  std::string precision_;
  std::vector<std::filesystem::path> pictures_ = {};
  std::vector<std::int64_t> picture_of_ = {};
  Tensor latents_ = {};
  std::vector<std::int64_t> latents_at_ = {};  // of each picture: its row
};

}  // namespace morphvlm::experiments
