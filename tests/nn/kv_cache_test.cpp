// Caches of fixed length whose rows change places.
#include "morphvlm/nn/kv_cache.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "morphvlm/core/rng.hpp"

namespace morphvlm::kv_cache_test {
namespace {

Tensor normal(std::uint64_t seed) {
  return at::empty({3, 2, 5, 4}, at::kFloat).normal_(0, 1, make_generator(seed));
}

TEST(KvCache, RowsChangePlacesWhereTheyAreInMemory) {
  const Tensor rows = at::tensor({2, 0, 0}, at::kLong);
  KvCache cache{.layers = {{}, {normal(1), normal(2)}}};
  const KvCache chosen = cache.select(rows);
  KvCache fixed = cache.with_room(4);
  const auto* const k = fixed.layers[1].k.const_data_ptr();
  fixed.reorder(rows);
  EXPECT_EQ(fixed.layers[1].k.const_data_ptr(), k);
  EXPECT_EQ(fixed.length(), 9);
  EXPECT_TRUE(fixed.layers[1].k.slice(2, 0, 5).equal(chosen.layers[1].k));
  EXPECT_TRUE(fixed.layers[1].v.slice(2, 0, 5).equal(chosen.layers[1].v));
  EXPECT_FALSE(fixed.layers[0].k.defined());
  cache.reorder(rows);
  EXPECT_TRUE(cache.layers[1].k.equal(chosen.layers[1].k));
}

TEST(KvCache, WhatRowsHaveInCommonStays) {
  const Tensor rows = at::tensor({2, 0, 0}, at::kLong);
  const Tensor before = normal(1);
  KvCache fixed = KvCache{.layers = {{before, normal(2)}}}.with_room(4);
  fixed.reorder(rows, 3);
  const Tensor after = fixed.layers[0].k;
  EXPECT_TRUE(after.slice(2, 0, 3).equal(before.slice(2, 0, 3)));
  EXPECT_TRUE(after.slice(2, 3, 5).equal(before.slice(2, 3).index_select(0, rows)));
}

}  // namespace
}  // namespace morphvlm::kv_cache_test
