// Causal self-attention, rotary positions, masks and the cache against transformers' LLaMA (tests/golden).
#include "morphvlm/nn/self_attention.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/nn/causal_mask.hpp"
#include "tests/support/layer_case.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::self_attention_test {
namespace {

using ::testing::HasSubstr;
using testing::LayerCase;
using testing::message_of;

TEST(Rope, AnyPositionsAsTransformers) {
  const LayerCase c{"rope"};
  const auto table =
      rope_table(c["positions"], c.config().at("head_dim"), c.config().at("theta"), at::kFloat);
  EXPECT_CLOSE(apply_rope(c["q"], table), c["q_out"], 1e-5);
  EXPECT_CLOSE(apply_rope(c["k"], table), c["k_out"], 1e-5);
}

TEST(Rope, OnlyTheDistanceOfQueryAndKeyCounts) {
  const LayerCase c{"rope"};
  const auto rotated = [&](const Tensor& x, std::int64_t first) {
    return apply_rope(x.to(at::kDouble),
                      rope_table(token_positions(first, 7, {}, at::kCPU), 14, 1e4, at::kDouble));
  };
  const auto products = [&](std::int64_t first) {
    return rotated(c["q"], first).matmul(rotated(c["k"], first).transpose(-1, -2));
  };
  EXPECT_CLOSE(products(1000), products(0), 1e-9);
  EXPECT_GT(testing::relative_error(rotated(c["q"], 1000), rotated(c["q"], 0)), 0.1);
}

TEST(CausalMask, KeysNotAfterTheQueryAndNotPadding) {
  const Tensor padding = at::tensor({0, 1, 1, 1, 1, 0}, at::kLong).reshape({2, 3});
  const Tensor expected = at::tensor({1, 0, 0, 0, 1, 0, 0, 1, 1,  //
                                      1, 0, 0, 1, 1, 0, 1, 1, 1})
                              .to(at::kBool)
                              .reshape({2, 1, 3, 3});
  EXPECT_TRUE(causal_mask(0, 3, padding, at::kCPU).equal(expected)) << causal_mask(0, 3, padding, at::kCPU);
  // New tokens behind a cache see the rows' ends of the same matrix.
  EXPECT_TRUE(causal_mask(1, 2, padding, at::kCPU).equal(expected.slice(2, 1)));
  EXPECT_TRUE(causal_mask(0, 3, {}, at::kCPU)
                  .equal(at::tensor({1, 0, 0, 1, 1, 0, 1, 1, 1}).to(at::kBool).reshape({1, 1, 3, 3})));
  EXPECT_FALSE(causal_mask(5, 1, {}, at::kCPU).defined());
}

TEST(TokenPositions, CountRealTokensOnly) {
  const LayerCase c{"gqa_attention"};
  EXPECT_TRUE(token_positions(0, 8, c["mask"], at::kCPU).equal(c["positions"]));
  EXPECT_TRUE(token_positions(5, 3, c["mask"], at::kCPU).equal(c["positions"].slice(1, 5)));
  EXPECT_TRUE(token_positions(2, 3, {}, at::kCPU).equal(at::tensor({2, 3, 4}, at::kLong).unsqueeze(0)));
  EXPECT_THAT(message_of([&] { token_positions(5, 4, c["mask"], at::kCPU); }),
              HasSubstr("expected 9 columns (cache and new tokens), found 8"));
}

// A token that goes to a place of a cache of fixed length is as one behind a cache that grows.
TEST(FixedCache, PositionsAndMaskAreThoseOfACacheThatGrows) {
  const LayerCase c{"gqa_attention"};
  const Tensor mask = c["mask"];
  const auto length = mask.size(1);
  for (std::int64_t now = 0; now < length; ++now) {
    const Tensor place = at::tensor({now}, at::kLong), seen = mask.slice(1, 0, now + 1);
    EXPECT_TRUE(token_positions(place, {}).equal(token_positions(now, 1, {}, at::kCPU))) << now;
    const Tensor real = mask.slice(1, now, now + 1).to(at::kBool);  // where padding stands is of no matter
    EXPECT_TRUE(token_positions(place, mask)
                    .masked_select(real)
                    .equal(token_positions(now, 1, seen, at::kCPU).masked_select(real)))
        << now;
    const Tensor all = causal_mask(place, length, {});
    EXPECT_EQ(all.sizes(), at::IntArrayRef({1, 1, 1, length}));
    EXPECT_TRUE(all.slice(3, 0, now + 1).all().item<bool>()) << now;
    EXPECT_FALSE(all.slice(3, now + 1).any().item<bool>()) << now;
    EXPECT_TRUE(causal_mask(place, length, mask)
                    .squeeze(1)
                    .squeeze(1)
                    .equal(all.view({1, length}).logical_and(mask.to(at::kBool))))
        << now;
  }
}

// Grouped queries, left and right padding.
struct GqaAttention : ::testing::Test {
  LayerCase c{"gqa_attention"};
  SelfAttention<> attention = c.load(SelfAttention<>::init(sizes(), testing::on_meta()));
  Tensor mask = c["mask"];
  Tensor real = mask.unsqueeze(-1).to(at::kFloat);

  SelfAttentionConfig sizes() const {
    const Json& config = c.config();
    return {.dim = 36,
            .heads = config.at("heads"),
            .kv_heads = config.at("kv_heads"),
            .head_dim = config.at("head_dim")};
  }
  DecoderContext context(std::int64_t past, std::int64_t time, at::ScalarType dtype = at::kFloat) const {
    const Tensor seen = mask.slice(1, 0, past + time);
    return {.mask = causal_mask(past, time, seen, at::kCPU),
            .rope = rope_table(token_positions(past, time, seen, at::kCPU), sizes().head_dim,
                               c.config().at("rope_theta"), dtype)};
  }
  Tensor in_pieces(const std::vector<std::int64_t>& lengths, LayerCache& cache) const {
    std::vector<Tensor> out;
    std::int64_t past = 0;
    for (const auto time : lengths) {
      out.push_back(attention(c["x"].slice(1, past, past + time), context(past, time), &cache));
      past += time;
    }
    return at::cat(out, 1);
  }
};

TEST_F(GqaAttention, AsTransformers) {
  const Tensor x = c.input("x"), y = attention(x, context(0, 8)).mul(real);
  EXPECT_CLOSE(y, c["y"], 1e-5);
  c.expect_gradients(y, {{"x", x}}, attention);
}

TEST_F(GqaAttention, CachedDecodingEqualsTheFullPass) {
  for (const auto& lengths :
       std::vector<std::vector<std::int64_t>>{{1, 1, 1, 1, 1, 1, 1, 1}, {3, 5}, {4, 1, 3}, {8}}) {
    LayerCache cache;
    EXPECT_CLOSE(in_pieces(lengths, cache).mul(real), c["y"], 1e-5);
    EXPECT_EQ(cache.k.sizes(), at::IntArrayRef({3, 2, 8, 6}));
    EXPECT_EQ(cache.v.sizes(), cache.k.sizes());
  }
}

TEST_F(GqaAttention, ACacheOfSelectedRowsContinuesThoseRows) {
  KvCache whole{.layers = {LayerCache{}, LayerCache{}}};
  EXPECT_EQ(whole.length(), 0);
  in_pieces({5}, whole.layers[1]);
  EXPECT_EQ(whole.length(), 5);
  const Tensor rows = at::tensor({1, 0, 1}, at::kLong);
  KvCache chosen = whole.select(rows);
  // Layer 0 was skipped and stays empty.
  EXPECT_FALSE(chosen.layers[0].k.defined());
  EXPECT_EQ(KvCache{}.select(rows).length(), 0);

  mask = mask.index_select(0, rows);
  const Tensor x = c["x"].index_select(0, rows).slice(1, 5);
  EXPECT_CLOSE(attention(x, context(5, 3), &chosen.layers[1]), c["y"].index_select(0, rows).slice(1, 5),
               1e-5);
}

TEST_F(GqaAttention, NoTokenSeesALaterOne) {
  const Tensor before = attention(c["x"], context(0, 8));
  Tensor changed = c["x"].clone();
  changed.slice(1, 6).add_(1);
  const Tensor after = attention(changed, context(0, 8));
  EXPECT_TRUE(after.slice(1, 0, 6).equal(before.slice(1, 0, 6)));
  EXPECT_FALSE(after.slice(1, 6).equal(before.slice(1, 6)));
}

TEST_F(GqaAttention, Bf16ActivationsOverFp32Masters) {
  const Tensor y = attention(c["x"].to(at::kBFloat16), context(0, 8, at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_CLOSE(y.to(at::kFloat).mul(real), c["y"], 1e-2);
  backward(y.to(at::kFloat).mul(c["dy"]).mul(real).sum());
  EXPECT_CLOSE(attention.q_proj.weight.grad(), c["grad/q_proj.weight"], 3e-2);
  EXPECT_EQ(attention.q_proj.weight.grad().scalar_type(), at::kFloat);
}

TEST(SelfAttention, HeadsThatCannotShareKeysEvenlyAreRefused) {
  const SelfAttentionConfig sizes{.dim = 8, .heads = 8, .kv_heads = 3, .head_dim = 1};
  EXPECT_THAT(message_of([&] { SelfAttention<>::init(sizes, Init{}); }),
              HasSubstr("8 query heads cannot share 3 key/value heads evenly"));
  EXPECT_THAT(message_of([] { SelfAttention<>::init({.dim = 8, .heads = 8, .head_dim = 1}, Init{}); }),
              HasSubstr("cannot share 0 key/value heads"));
}

TEST(SelfAttention, BiasesOnlyWhereAskedFor) {
  const SelfAttentionConfig sizes{.dim = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .bias = true};
  EXPECT_EQ(parameter_count(SelfAttention<>::init(sizes, testing::on_meta()), "*.bias"), 8 + 4 + 4 + 8);
}

}  // namespace
}  // namespace morphvlm::self_attention_test
