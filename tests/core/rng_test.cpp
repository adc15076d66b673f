#include "morphvlm/core/rng.hpp"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "morphvlm/core/reflect.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm::rng_test {
namespace {

using ::testing::ElementsAre;

// Values of the published algorithms: the first outputs of SplitMix64 from seeds 0 and 1234567, and FNV-1a's
// test vectors.
TEST(Rng, SplitMixIsThePublishedOne) {
  EXPECT_EQ(split_mix(0), 0xE220A8397B1DCDAFULL);
  EXPECT_EQ(split_mix(0x9E3779B97F4A7C15ULL), 0x6E789E6AA1B965F4ULL);
  EXPECT_EQ(split_mix(1234567), 6457827717110365317ULL);
}

TEST(Rng, Fnv1aIsThePublishedOne) {
  EXPECT_EQ(fnv1a(""), 0xCBF29CE484222325ULL);
  EXPECT_EQ(fnv1a("a"), 0xAF63DC4C8601EC8CULL);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171F73967E8ULL);
  EXPECT_EQ(fnv1a("pixels"), 0xFBA4FEE2053034ACULL);
  // Bytes above 127 count as bytes, whether char is signed or not.
  EXPECT_EQ(fnv1a("\xff"), (0xCBF29CE484222325ULL ^ 0xFF) * 0x100000001B3ULL);
}

TEST(Shuffled, IsAPermutation) {
  for (const std::int64_t n : {0, 1, 2, 100}) {
    auto order = shuffled(n, 3, 4);
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order.size(), static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TEST(Shuffled, SeedAndEpochDecideIt) {
  EXPECT_EQ(shuffled(1000, 1, 2), shuffled(1000, 1, 2));
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::uint64_t epoch = 0; epoch < 10; ++epoch) orders.insert(shuffled(50, seed, epoch));
  }
  EXPECT_EQ(orders.size(), 100U);
}

TEST(Shuffled, EveryOrderIsAsLikely) {
  std::vector<int> counts(6);
  for (std::uint64_t epoch = 0; epoch < 6000; ++epoch) {
    const auto order = shuffled(3, 7, epoch);
    ++counts[static_cast<std::size_t>(order[0] * 2 + (order[1] > order[2]))];
  }
  // 1000 expected, standard deviation 29.
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(CounterRng, IsAStreamDecidedByItsSeed) {
  CounterRng a{5}, b{5}, c{6};
  const auto first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
  EXPECT_NE(first, a.next());
  std::set<std::uint64_t> below;
  for (int i = 0; i < 1000; ++i) below.insert(a.below(10));
  EXPECT_EQ(below.size(), 10U);
  EXPECT_EQ(*below.rbegin(), 9U);
}

TEST(Generator, ASeedDecidesTheDraws) {
  auto draw = [](std::uint64_t seed) {
    return at::empty({100}, at::kFloat).normal_(0, 1, make_generator(seed));
  };
  EXPECT_TRUE(draw(3).equal(draw(3)));
  EXPECT_FALSE(draw(3).equal(draw(4)));
}

struct Inner {
  int a = 1;
};
struct Fields {
  int count = 3;
  Inner inner = {};
  std::vector<int> list = {};
  const char* text = "x";
};
class Closed {
 public:
  explicit Closed(int v) : value_(v) {}
  int value_;
};
struct Nothing {};

static_assert(Reflectable<Fields> && field_count<Fields> == 4);
static_assert(!Reflectable<Closed> && !Reflectable<Nothing> && !Reflectable<int> &&
              !Reflectable<std::array<int, 3>>);
static_assert(!Reflectable<std::vector<int>> && !Reflectable<std::string>);

TEST(Reflect, NamesAndFieldsInTheOrderOfDeclaration) {
  Fields fields;
  std::vector<std::string> names;
  for_each_field(fields, [&](std::string_view name, auto& field) {
    names.emplace_back(name);
    if constexpr (std::is_same_v<decltype(field), int&>) field = 7;
  });
  EXPECT_THAT(names, ElementsAre("count", "inner", "list", "text"));
  EXPECT_EQ(fields.count, 7);
  EXPECT_EQ(fields.inner.a, 1);
}

TEST(Reflect, AConstAggregateGivesConstFields) {
  const Fields fields;
  int seen = 0;
  for_each_field(fields, [&](std::string_view, auto& field) {
    static_assert(std::is_const_v<std::remove_reference_t<decltype(field)>>);
    ++seen;
  });
  EXPECT_EQ(seen, 4);
}

}  // namespace
}  // namespace morphvlm::rng_test
