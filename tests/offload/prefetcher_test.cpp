// Fetching ahead: what is foreseen, what is done about what was not, and whose memory is used again.
#include "morphvlm/offload/prefetcher.hpp"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace morphvlm::prefetcher_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Letters by name; notes down whose fetching was started and waited for.
struct Letters {
  static constexpr std::string_view kNames = "abcdef";
  std::vector<char> started = {}, waited = {};
  Prefetcher<char> ahead;

  explicit Letters(std::int64_t count)
      : ahead(count, [this](char name) {
          started.push_back(name);
          return Prefetcher<char>::Flight{
              .all = at::empty({name}, at::TensorOptions(at::kByte).device(at::kMeta)),
              .wait = [this, name] { waited.push_back(name); }};
        }) {}

  // Fetches the letters; returns whose fetching was started meanwhile.
  std::vector<char> use(std::string_view word) {
    started.clear();
    waited.clear();
    for (const char c : word) {
      const Tensor all = ahead.fetch(&kNames[kNames.find(c)], c);
      EXPECT_EQ(all.numel(), c);  // its own and no other
      EXPECT_THAT(waited, ::testing::Contains(c));
    }
    return started;
  }
};

TEST(Prefetcher, FetchesWhatIsAskedForWhileItKnowsNothing) {
  Letters letters(2);
  EXPECT_THAT(letters.use("abcd"), ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_THAT(letters.waited, ElementsAre('a', 'b', 'c', 'd'));
}

TEST(Prefetcher, KnowsWhatComesNextFromThenOn) {
  Letters letters(2);
  letters.use("abcddcba");
  letters.use("abcddcba");
  // Two are on their way already, and at the end those of the next round.
  EXPECT_THAT(letters.use("abcddcba"), ElementsAre('c', 'd', 'd', 'c', 'b', 'a', 'a', 'b'));
  EXPECT_THAT(letters.waited, ElementsAre('a', 'b', 'c', 'd', 'd', 'c', 'b', 'a'));
}

TEST(Prefetcher, LooksNoFurtherThanItIsTold) {
  Letters letters(0);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(letters.use("abc"), ElementsAre('a', 'b', 'c'));
}

TEST(Prefetcher, WaitsForWhatWasForeseenWronglyBeforeItGoesOn) {
  Letters letters(2);
  for (int i = 0; i < 3; ++i) letters.use("abcd");
  // 'a' and 'b' are on their way.
  EXPECT_EQ(letters.use("e").front(), 'e');
  EXPECT_THAT(letters.waited, ElementsAre('a', 'b', 'e'));
}

TEST(Prefetcher, WhatIsOnItsWayHasArrivedWhenItEnds) {
  std::vector<char> waited;
  {
    Prefetcher<char> ahead(2, [&](char name) {
      return Prefetcher<char>::Flight{.wait = [&waited, name] { waited.push_back(name); }};
    });
    for (int i = 0; i < 3; ++i)
      for (const char& c : Letters::kNames) ahead.fetch(&c, c);
    waited.clear();
  }
  EXPECT_THAT(waited, ElementsAre('a', 'b'));
}

TEST(BufferPool, AreUsedAgainOnceNobodyReadsThem) {
  BufferPool buffers;
  const void* first = nullptr;
  {
    const Tensor buffer = buffers.take(100, c10::kCPU);
    EXPECT_EQ(buffer.numel(), 100);
    first = buffer.const_data_ptr();
    EXPECT_NE(buffers.take(50, c10::kCPU).const_data_ptr(), first) << "somebody reads it";
  }
  const Tensor smaller = buffers.take(40, c10::kCPU);  // the buffer of 50 fits better
  EXPECT_NE(smaller.const_data_ptr(), first);
  EXPECT_EQ(buffers.take(80, c10::kCPU).const_data_ptr(), first);
  EXPECT_EQ(buffers.take(80, c10::kMeta).device().type(), c10::kMeta);
}

}  // namespace
}  // namespace morphvlm::prefetcher_test
