// Padding, labels and batches on rows written by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "morphvlm/data/collate.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::collate_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Rows = std::vector<std::vector<std::int64_t>>;

constexpr std::int64_t kMedia = 90, kEnd = 91, kPad = 0, kNone = kIgnoredLabel;

Rows rows_of(const Tensor& t) {
  Rows out;
  for (std::int64_t r = 0; r < t.size(0); ++r) {
    const Tensor row = t.select(0, r).to(at::kLong).contiguous();
    out.emplace_back(row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + row.numel());
  }
  return out;
}

Tensor tensor_of(const Rows& rows) {
  std::vector<Tensor> out;
  for (const auto& row : rows) out.push_back(at::tensor(row, at::kLong));
  return at::stack(out);
}

TEST(MediaCounts, AreThoseOfThePicturesRowByRow) {
  const std::vector<TokenIds> rows = {{kMedia, 1}, {1, kMedia}, {kMedia, kMedia}};
  const std::vector<std::int64_t> pictures = {1, 1, 2}, one = {1};
  EXPECT_NO_THROW(expect_media_counts(rows, kMedia, pictures, "train"));
  EXPECT_NO_THROW(expect_media_counts(std::span(rows).first(2), kMedia, one, "train"));
  EXPECT_THAT(testing::message_of([&] { expect_media_counts(rows, kMedia, one, "train"); }),
              "train: row 2: expected as many media tokens (id 90) as pictures, 1, found 2");
  EXPECT_THAT(testing::message_of([&] {
                expect_media_counts(rows, kMedia, std::vector<std::int64_t>{1, 2, 2}, "x");
              }),
              "x: row 1: expected as many media tokens (id 90) as pictures, 2, found 1");
}

TEST(PadRows, OnEitherSide) {
  const std::vector<TokenIds> rows = {{1, 2, 3}, {4}, {}};
  const auto right = pad_rows(rows, 9, Padding::right);
  EXPECT_EQ(rows_of(right.ids), (Rows{{1, 2, 3}, {4, 9, 9}, {9, 9, 9}}));
  EXPECT_EQ(rows_of(right.mask), (Rows{{1, 1, 1}, {1, 0, 0}, {0, 0, 0}}));
  const auto left = pad_rows(rows, 9, Padding::left);
  EXPECT_EQ(rows_of(left.ids), (Rows{{1, 2, 3}, {9, 9, 4}, {9, 9, 9}}));
  EXPECT_EQ(rows_of(left.mask), (Rows{{1, 1, 1}, {0, 0, 1}, {0, 0, 0}}));
}

TEST(PadRows, RowsWithoutTokens) {
  const auto empty = pad_rows(std::vector<TokenIds>(2), 9, Padding::left);
  EXPECT_EQ(empty.ids.sizes(), (std::vector<std::int64_t>{2, 0}));
  EXPECT_EQ(empty.mask.sizes(), empty.ids.sizes());
}

TEST(OpenFlamingoLabels, CountBetweenImageAndEndOfChunk) {
  const Rows ids = {// one image, and nothing after its chunk but padding that looks like a word
                    {kMedia, 1, 2, kEnd, 5, 5, 5, 5},
                    // text before the first image
                    {1, 2, kMedia, 3, kEnd, 0, 0, 0},
                    // two images; between the end of a chunk and the next image nothing counts
                    {kMedia, 1, kEnd, 2, kMedia, 3, 4, kEnd},
                    // an end before any image, and an image whose chunk is not ended
                    {7, kEnd, 8, kMedia, 1, 2, 3, 4},
                    // no image at all
                    {1, 2, 3, kEnd, 4, 5, 6, 7}};
  const Rows mask = {{1, 1, 1, 1, 0, 0, 0, 0},
                     {1, 1, 1, 1, 1, 0, 0, 0},
                     {1, 1, 1, 1, 1, 1, 1, 1},
                     {1, 1, 1, 1, 1, 1, 1, 0},
                     {1, 1, 1, 1, 1, 1, 1, 1}};
  const Rows expected = {{kNone, 1, 2, kEnd, kNone, kNone, kNone, kNone},
                         {kNone, kNone, kNone, 3, kEnd, kNone, kNone, kNone},
                         {kNone, 1, kEnd, kNone, kNone, 3, 4, kEnd},
                         {kNone, kNone, kNone, kNone, 1, 2, 3, kNone},
                         {kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone}};
  EXPECT_EQ(rows_of(openflamingo_labels(tensor_of(ids), tensor_of(mask), kMedia, kEnd)), expected);
}

TEST(OpenFlamingoLabels, TwoImagesInARow) {
  const Rows ids = {{kMedia, kMedia, 1, kEnd, 2, kMedia, 3, kEnd}};
  const Rows expected = {{kNone, kNone, 1, kEnd, kNone, kNone, 3, kEnd}};
  const Tensor t = tensor_of(ids);
  EXPECT_EQ(rows_of(openflamingo_labels(t, at::ones_like(t), kMedia, kEnd)), expected);
}

TEST(Collate, WholeTextsSuperviseTheAnswers) {
  const std::vector<VqaTokens> rows = {{{1, 2}, {kMedia, 3}, {4, kEnd}}, {{}, {kMedia}, {5, 6, kEnd}}};
  const Batch batch = collate(rows, kPad);
  EXPECT_EQ(rows_of(batch.text.ids), (Rows{{1, 2, kMedia, 3, 4, kEnd}, {kMedia, 5, 6, kEnd, kPad, kPad}}));
  EXPECT_EQ(rows_of(batch.text.attention_mask), (Rows{{1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 0, 0}}));
  EXPECT_EQ(rows_of(batch.labels),
            (Rows{{kNone, kNone, kNone, kNone, 4, kEnd}, {kNone, 5, 6, kEnd, kNone, kNone}}));
}

TEST(Collate, QueriesLeaveTheAnswersOut) {
  const std::vector<VqaTokens> rows = {{{1, 2}, {kMedia, 3}, {4, kEnd}}, {{}, {kMedia}, {5, 6, kEnd}}};
  const TextInput text = collate_queries(rows, kPad);
  EXPECT_EQ(rows_of(text.ids), (Rows{{1, 2, kMedia, 3}, {kPad, kPad, kPad, kMedia}}));
  EXPECT_EQ(rows_of(text.attention_mask), (Rows{{1, 1, 1, 1}, {0, 0, 0, 1}}));
}

TEST(CollateShared, EqualPrefixesStandOnce) {
  const std::vector<VqaTokens> rows = {{{1, 2, 3}, {kMedia, 7}, {4, kEnd}},
                                       {{1}, {kMedia, 7}, {5, 5, kEnd}},
                                       {{1, 2, 3}, {kMedia, 8, 9}, {6, kEnd}}};
  const SharedBatch batch = collate_shared(rows, kPad, true);
  EXPECT_EQ(rows_of(batch.text.prefix.ids), (Rows{{1, 2, 3}, {kPad, kPad, 1}}));
  EXPECT_EQ(rows_of(batch.text.prefix.attention_mask), (Rows{{1, 1, 1}, {0, 0, 1}}));
  EXPECT_EQ(rows_of(batch.text.rows.unsqueeze(0)), (Rows{{0, 1, 0}}));
  EXPECT_EQ(batch.owner, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(rows_of(batch.text.rest.ids), (Rows{{kMedia, 7, 4, kPad}, {kMedia, 7, 5, 5}, {kMedia, 8, 9, 6}}));
  EXPECT_EQ(rows_of(batch.text.rest.attention_mask),
            (Rows{{1, 1, 1, 1, 1, 1, 0}, {0, 0, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}}));
  EXPECT_EQ(rows_of(batch.targets),
            (Rows{{kNone, 4, kEnd, kNone}, {kNone, 5, 5, kEnd}, {kNone, kNone, 6, kEnd}}));
}

TEST(CollateShared, ImageFirstHasEmptyPrefixes) {
  const std::vector<VqaTokens> rows = {{{}, {kMedia, 7}, {4, kEnd}}, {{}, {kMedia, 8}, {5, kEnd}}};
  const SharedBatch batch = collate_shared(rows, kPad, true);
  EXPECT_EQ(batch.text.prefix.ids.sizes(), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(rows_of(batch.text.rows.unsqueeze(0)), (Rows{{0, 0}}));
  EXPECT_EQ(rows_of(batch.text.rest.ids), (Rows{{kMedia, 7, 4}, {kMedia, 8, 5}}));
  EXPECT_EQ(rows_of(batch.text.rest.attention_mask), (Rows{{1, 1, 1}, {1, 1, 1}}));
}

// Asking runs the layers below the first gated block once per beginning, over its owner's whole query: rows
// with other words after the image must not be taken for it.
TEST(CollateShared, QueriesShareABeginningOnlyIfTheyAreEqual) {
  const std::vector<VqaTokens> rows = {
      {{1}, {kMedia, 7}, {}}, {{1}, {kMedia, 8}, {}}, {{2}, {kMedia, 8}, {}}, {{1}, {kMedia, 7}, {}}};
  const SharedBatch batch = collate_shared(rows, kPad, false);
  EXPECT_EQ(rows_of(batch.text.prefix.ids), (Rows{{1}, {1}, {2}}));
  EXPECT_EQ(rows_of(batch.text.rows.unsqueeze(0)), (Rows{{0, 1, 2, 0}}));
  EXPECT_EQ(batch.owner, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_FALSE(batch.targets.defined());
}

TEST(CollateShared, QueriesMustEndTogether) {
  const std::vector<VqaTokens> rows = {{{1}, {kMedia, 7}, {4}}, {{1}, {kMedia, 7, 8}, {4}}};
  EXPECT_THAT(testing::message_of([&] { collate_shared(rows, kPad, false); }),
              AllOf(HasSubstr("2 and 3 tokens")));
  EXPECT_EQ(collate_shared(rows, kPad, true).owner.size(), 1u);
}

}  // namespace
}  // namespace morphvlm::collate_test
