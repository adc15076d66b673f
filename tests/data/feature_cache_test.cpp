// Features are computed once for each key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/rng.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::feature_cache_test {
namespace {

using testing::ScratchFolder;

struct TwoTensors {
  Tensor first = {}, second = {};
};

TwoTensors module(at::ScalarType dtype = at::kFloat) {
  auto generator = make_generator(3);
  return {at::empty({4, 6}, at::kFloat).normal_(0, 1, generator).to(dtype),
          at::empty({5}, at::kFloat).normal_(0, 1, generator).to(dtype)};
}

TEST(WeightsFingerprint, ChangesWithOneBit) {
  auto m = module();
  const auto before = weights_fingerprint(m);
  EXPECT_EQ(weights_fingerprint(module()), before);
  auto* bits = reinterpret_cast<std::uint32_t*>(m.first.mutable_data_ptr<float>()) + 23;
  *bits ^= 1;
  EXPECT_NE(weights_fingerprint(m), before);
  *bits ^= 1;
  EXPECT_EQ(weights_fingerprint(m), before);
}

TEST(WeightsFingerprint, DependsOnNamesShapesAndDtypes) {
  const auto m = module();
  const auto before = weights_fingerprint(m);
  EXPECT_NE(weights_fingerprint(TwoTensors{m.second, m.first}), before);
  EXPECT_NE(weights_fingerprint(TwoTensors{m.first.view({6, 4}), m.second}), before);
  EXPECT_NE(weights_fingerprint(TwoTensors{m.first, Tensor{}}), before);
  EXPECT_NE(weights_fingerprint(module(at::kBFloat16)), before);
  // A view is what it shows, not how it is stored.
  EXPECT_EQ(weights_fingerprint(TwoTensors{m.first.t().contiguous().t(), m.second}), before);
}

TEST(CachedFeatures, AreComputedOnceForEachKey) {
  const ScratchFolder folder;
  int computed = 0;
  const auto features = [&](const std::string& key, float value) {
    return cached_features(folder / "features.safetensors", key, [&] {
      ++computed;
      return at::full({3, 2}, value, at::kFloat);
    });
  };
  EXPECT_TRUE(features("a", 1).equal(at::full({3, 2}, 1, at::kFloat)));
  EXPECT_EQ(computed, 1);
  EXPECT_TRUE(features("a", 2).equal(at::full({3, 2}, 1, at::kFloat)));
  EXPECT_EQ(computed, 1);
  const Tensor old = features("a", 2);
  EXPECT_TRUE(features("b", 3).equal(at::full({3, 2}, 3, at::kFloat)));
  EXPECT_EQ(computed, 2);
  // The older tensor keeps the file it came from.
  EXPECT_TRUE(old.equal(at::full({3, 2}, 1, at::kFloat)));
  EXPECT_TRUE(features("b", 4).equal(at::full({3, 2}, 3, at::kFloat)));
  EXPECT_EQ(computed, 2);
}

TEST(CachedFeatures, AFileWithoutAKeyIsReplaced) {
  const ScratchFolder folder;
  save_safetensors(folder / "f", {{"features", at::zeros({2}, at::kFloat)}});
  EXPECT_TRUE(cached_features(folder / "f", "", [] {
                return at::ones({2}, at::kFloat);
              }).equal(at::ones({2}, at::kFloat)));
}

TEST(CachedFeatures, AFileOfAnotherKindIsAnErrorThatNamesIt) {
  const ScratchFolder folder;
  const auto path = testing::put(folder / "features.safetensors", "not a cache at all, but long enough");
  EXPECT_ERROR(cached_features(path, "a", [] { return at::ones({2}, at::kFloat); }),
               ::testing::HasSubstr(path.string()));
}

}  // namespace
}  // namespace morphvlm::feature_cache_test
