// Rows of tokens to padded tensors with masks and labels.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/vqa_text.hpp"
#include "morphvlm/vlm/shared_prefix.hpp"

namespace morphvlm {

/// Which side of a row is filled up.
enum class Padding { left, right };

/// Padded ids and their mask.
struct PaddedIds {
  Tensor ids = {};   ///< int64 [rows, longest]
  Tensor mask = {};  ///< int64 [rows, longest], 1 = token, 0 = padding
};

/// Pads rows to the longest.
inline PaddedIds pad_rows(std::span<const TokenIds> rows, std::int64_t pad, Padding side) {
  std::size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  const std::vector<std::int64_t> shape{std::ssize(rows), static_cast<std::int64_t>(longest)};
  PaddedIds out{at::full(shape, pad, at::kLong), at::zeros(shape, at::kLong)};
  auto* ids = out.ids.mutable_data_ptr<std::int64_t>();
  auto* mask = out.mask.mutable_data_ptr<std::int64_t>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto at = r * longest + (side == Padding::left ? longest - rows[r].size() : 0);
    std::ranges::copy(rows[r], ids + at);
    std::fill_n(mask + at, rows[r].size(), 1);
  }
  return out;
}

/// The label of a position that is not supervised (HF's convention).
inline constexpr std::int64_t kIgnoredLabel = -100;

/// Text and what is to be predicted in it.
struct Batch {
  TextInput text = {};  ///< ids and mask, int64 [batch, time]
  Tensor labels = {};   ///< int64 [batch, time], kIgnoredLabel where not supervised

  /// The same on a device.
  Batch to(c10::Device device) const {
    return {text.to(device), labels.defined() ? labels.to(device) : labels};
  }
};

/// OpenFlamingo's labels: ids, but kIgnoredLabel at padding, at `<image>`, before the first `<image>`, and
/// after each
/// `<|endofchunk|>` up to the next `<image>`. What ends a chunk is itself supervised.
inline Tensor openflamingo_labels(const Tensor& ids, const Tensor& mask, std::int64_t media,
                                  std::int64_t eoc) {
  const Tensor position = at::arange(ids.size(1), ids.options()).expand_as(ids);
  // Where the last such token stood, up to and including each position; -1 before the first.
  const auto last = [&](std::int64_t token) {
    return std::get<0>(position.masked_fill(ids.ne(token), -1).cummax(1));
  };
  const Tensor ended = at::cat({at::full({ids.size(0), 1}, -1, ids.options()), last(eoc)}, 1).slice(1, 0, -1);
  const Tensor inside = last(media).gt(ended);
  const Tensor counts = inside.logical_and(ids.ne(media)).logical_and(mask.ne(0));
  return ids.masked_fill(counts.logical_not(), kIgnoredLabel);
}

/// Error that names the first row whose media tokens are not as many as its pictures: `pictures` has a number
/// for each row, or one for all. `where` leads it.
inline void expect_media_counts(std::span<const TokenIds> rows, std::int64_t media,
                                std::span<const std::int64_t> pictures, std::string_view where) {
  expect(pictures.size() == 1 || pictures.size() == rows.size(), where, ": ", rows.size(),
         " rows, but numbers of pictures for ", pictures.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto found = std::ranges::count(rows[r], media);
    const auto wanted = pictures[pictures.size() == 1 ? 0 : r];
    expect(found == wanted, where, ": row ", r, ": expected as many media tokens (id ", media,
           ") as pictures, ", wanted, ", found ", found);
  }
}

/// A training batch of whole texts, right-padded; only the answers are supervised.
inline Batch collate(std::span<const VqaTokens> rows, std::int64_t pad) {
  std::vector<TokenIds> texts;
  for (const auto& row : rows) texts.push_back(whole_text(row));
  const PaddedIds padded = pad_rows(texts, pad, Padding::right);
  Batch batch{{.ids = padded.ids, .attention_mask = padded.mask},
              at::full(padded.ids.sizes(), kIgnoredLabel, at::kLong)};
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto end = std::ssize(texts[r]), begin = end - std::ssize(rows[r].answer);
    const auto row = static_cast<std::int64_t>(r);
    batch.labels.select(0, row).slice(0, begin, end).copy_(padded.ids.select(0, row).slice(0, begin, end));
  }
  return batch;
}

/// Whole queries without answers, left-padded: what `generate` takes.
inline TextInput collate_queries(std::span<const VqaTokens> rows, std::int64_t pad) {
  std::vector<TokenIds> queries;
  for (const auto& row : rows) queries.push_back(whole_text({row.prefix, row.rest, {}}));
  const PaddedIds padded = pad_rows(queries, pad, Padding::left);
  return {.ids = padded.ids, .attention_mask = padded.mask};
}

/// A batch whose equal beginnings are read once. `with_answers` adds the answers but for their last tokens,
/// which are only predicted. Without, targets are undefined, all rests must be of one length, and rows share
/// a beginning only if their rests are equal too: then everything that no image changes is the same for them.
struct SharedBatch {
  SharedPrefix text = {};               ///< B texts with U distinct beginnings
  Tensor targets = {};                  ///< int64 [B, S]: the token after each; kIgnoredLabel: not supervised
  std::vector<std::size_t> owner = {};  ///< of each distinct beginning: the first row that has it
};

/// See SharedBatch.
inline SharedBatch collate_shared(std::span<const VqaTokens> rows, std::int64_t pad, bool with_answers) {
  SharedBatch batch;
  std::map<std::pair<TokenIds, TokenIds>, std::int64_t> index;
  std::vector<TokenIds> prefixes, rests;
  std::vector<std::int64_t> prefix_of;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto [it, fresh] = index.emplace(
        std::pair(rows[r].prefix, with_answers ? TokenIds{} : rows[r].rest), std::ssize(prefixes));
    if (fresh) {
      prefixes.push_back(rows[r].prefix);
      batch.owner.push_back(r);
    }
    prefix_of.push_back(it->second);
    rests.push_back(whole_text({{}, rows[r].rest, with_answers ? rows[r].answer : TokenIds{}}));
    if (with_answers) {
      expect(!rows[r].answer.empty(), "collate: row ", r, " has no answer to train on");
      rests.back().pop_back();
    }
    expect(with_answers || rests[r].size() == rests[0].size(), "collate: queries with ", rests[0].size(),
           " and ", rests[r].size(), " tokens from the image on cannot be decoded together");
  }
  const PaddedIds prefix = pad_rows(prefixes, pad, Padding::left),
                  rest = pad_rows(rests, pad, Padding::right);
  batch.text.rows = at::tensor(prefix_of, at::kLong);
  batch.text.prefix = {.ids = prefix.ids, .attention_mask = prefix.mask};
  batch.text.rest = {.ids = rest.ids,
                     .attention_mask = at::cat({prefix.mask.index_select(0, batch.text.rows), rest.mask}, 1)};
  if (with_answers) {
    batch.targets = at::full(rest.ids.sizes(), kIgnoredLabel, at::kLong);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto begin = std::ssize(rows[r].rest) - 1;
      batch.targets.select(0, static_cast<std::int64_t>(r))
          .slice(0, begin, begin + std::ssize(rows[r].answer))
          .copy_(at::tensor(rows[r].answer, at::kLong));
    }
  }
  return batch;
}

}  // namespace morphvlm
