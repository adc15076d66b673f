// Reading a text's beginning once, and its lower layers once per data set, changes nothing.
#include <gtest/gtest.h>

#include <set>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/data/ungated_hidden_cache.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::ungated_hidden_cache_test {
namespace {

using Model = testing::TinyVlm<LoRA<CrossAttn, CrossMlp>>;
constexpr std::int64_t kMedia = testing::kTinyMedia, kEnd = testing::kTinyEnd;

const std::vector<VqaTokens> kQuestionFirst = {{{3, 4, 5}, {kMedia, 6}, {7, kEnd}},
                                               {{8}, {kMedia, 6}, {9, 9, 2, kEnd}},
                                               {{3, 4, 5}, {kMedia, 6, 7}, {11, kEnd}},
                                               {{3, 4, 5}, {kMedia, 6}, {7, kEnd}}};
const std::vector<VqaTokens> kImageFirst = {{{}, {kMedia, 6}, {7, kEnd}},
                                            {{}, {kMedia, 8, 9, 6}, {9, kEnd}},
                                            {{}, {kMedia, 6}, {10, kEnd}},
                                            {{}, {kMedia, 3}, {7, kEnd}}};

struct UngatedHiddenCacheTest : ::testing::TestWithParam<const std::vector<VqaTokens>*> {
  const std::vector<VqaTokens>& rows = *GetParam();
  Model model = testing::tiny_model<Model>(11);
  Tensor latents;

  void SetUp() override {
    testing::wake_adapters(model, 12);
    set_trainable_parts(model, {.adapters = true});
    latents = model.resample(model.encode_vision(testing::tiny_pixels(13, 4)));
  }

  // Every row alone, all that is read of it, cut where `rest` begins: the way without any sharing.
  Tensor row_by_row(std::size_t r) const {
    const Tensor ids = at::tensor(UngatedHiddenCache::read_text(rows[r]), at::kLong).unsqueeze(0);
    const auto at = static_cast<std::int64_t>(r);
    return model.hidden({.ids = ids}, latents.slice(0, at, at + 1)).slice(1, std::ssize(rows[r].prefix));
  }

  void expect_same(const Tensor& out) const {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const Tensor alone = row_by_row(r);
      const auto at = static_cast<std::int64_t>(r);
      EXPECT_CLOSE(out.slice(0, at, at + 1).slice(1, 0, alone.size(1)), alone, 1e-5) << " row " << r;
    }
  }

  std::vector<Tensor> adapter_gradients(const Tensor& out, const Tensor& weight) {
    std::vector<Tensor> adapters;
    visit(model, [&](const std::string&, const Tensor& t) {
      if (t.requires_grad()) adapters.push_back(t);
    });
    return gradients(out, adapters, weight);
  }
};

TEST_P(UngatedHiddenCacheTest, SharedBeginningsAreTheWholeTexts) {
  expect_same(hidden(model, collate_shared(rows, 0, true).text, latents));
}

TEST_P(UngatedHiddenCacheTest, HiddenWithEntriesIsHiddenWithout) {
  SharedBatch batch = collate_shared(rows, 0, true);
  const Tensor without = hidden(model, batch.text, latents);
  UngatedHiddenCache entries;
  entries.fill(model, rows, batch);
  const Tensor with = hidden(model, batch.text, latents);
  expect_same(with);
  EXPECT_FALSE(batch.text.rest.ungated_hidden.requires_grad());
  // Padding is not compared: it has no entry.
  const Tensor real = batch.text.rest.attention_mask.slice(1, batch.text.prefix.ids.size(1)).unsqueeze(-1);
  const auto expected = adapter_gradients(without, real.expand_as(without).to(at::kFloat));
  const auto found = adapter_gradients(with, real.expand_as(with).to(at::kFloat));
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_CLOSE(found[i], expected[i], 1e-4);
}

TEST_P(UngatedHiddenCacheTest, EachTextIsComputedOnce) {
  SharedBatch batch = collate_shared(rows, 0, true);
  UngatedHiddenCache entries;
  entries.fill(model, rows, batch);
  std::set<TokenIds> distinct;
  for (const auto& row : rows) distinct.insert(UngatedHiddenCache::read_text(row));
  EXPECT_EQ(entries.known.size(), distinct.size());
  // What is known is not computed again, so changed weights below go unnoticed.
  const Tensor before = batch.text.rest.ungated_hidden.clone();
  model.lang_encoder.model.embed_tokens.weight = model.lang_encoder.model.embed_tokens.weight.add(1);
  entries.fill(model, rows, batch);
  EXPECT_TRUE(batch.text.rest.ungated_hidden.equal(before));
}

INSTANTIATE_TEST_SUITE_P(Prompts, UngatedHiddenCacheTest, ::testing::Values(&kQuestionFirst, &kImageFirst));

}  // namespace
}  // namespace morphvlm::ungated_hidden_cache_test
