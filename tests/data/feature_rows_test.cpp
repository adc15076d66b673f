#include "morphvlm/data/feature_rows.hpp"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/files.hpp"

namespace morphvlm::feature_rows_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScratchFolder;
using Names = std::vector<std::string>;

// Features that are told by the name, and which of them were made.
struct Features : ::testing::Test {
  ScratchFolder folder;
  std::filesystem::path file = folder / "features.safetensors";
  Names made = {};

  FeatureRows read(const Names& names, const std::string& bad = "", const std::string& key = "k") {
    made.clear();
    return cached_feature_rows(file, key, names, {.at_once = 2}, [&](std::span<const std::size_t> some) {
      std::vector<Tensor> rows;
      for (const auto i : some) {
        expect(names[i] != bad, "cannot read ", bad);
        rows.push_back(at::full({1, 3}, names[i].front(), at::kFloat));
      }
      for (const auto i : some) made.push_back(names[i]);
      return at::cat(rows);
    });
  }

  static void expect_right(const FeatureRows& rows, const Names& names) {
    ASSERT_EQ(rows.at.size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (rows.at[i] < 0) continue;
      EXPECT_TRUE(rows.features.select(0, rows.at[i]).equal(at::full({3}, names[i].front(), at::kFloat)))
          << names[i];
    }
  }
};

TEST_F(Features, AreMadeOnceForEachKey) {
  const Names names{"a", "b", "c"};
  expect_right(read(names), names);
  EXPECT_EQ(made, names);
  expect_right(read(names), names);
  EXPECT_THAT(made, ElementsAre());
  expect_right(read(names, "", "other"), names);
  EXPECT_EQ(made, names);
}

TEST_F(Features, WhatIsThereStaysWhenOthersAreAskedFor) {
  read({"a", "b", "c"});
  const Names names{"d", "c", "a", "e"};
  const FeatureRows rows = read(names);
  expect_right(rows, names);
  EXPECT_THAT(made, ElementsAre("d", "e"));
  EXPECT_EQ(rows.features.size(0), 4);
  expect_right(read(names), names);
  EXPECT_THAT(made, ElementsAre());
}

TEST_F(Features, OneThatCannotBeMadeCostsNoOther) {
  const Names names{"a", "b", "c", "d", "e"};
  const FeatureRows rows = read(names, "d");
  expect_right(rows, names);
  EXPECT_EQ(rows.at[3], -1);
  EXPECT_EQ(rows.wrong[3], "cannot read d");
  EXPECT_EQ(rows.wrong[2], "");
  EXPECT_EQ(rows.features.size(0), 4);
  // Mended, it is the only one that is made.
  const FeatureRows again = read(names);
  expect_right(again, names);
  EXPECT_THAT(made, ElementsAre("d"));
  EXPECT_THAT(again.at, ::testing::Each(::testing::Ge(0)));
}

TEST_F(Features, OnlyBadOnesLeaveNoFile) {
  const FeatureRows rows = read({"a"}, "a");
  EXPECT_THAT(rows.at, ElementsAre(-1));
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(Features, AFileOfAnotherFormIsReplacedAndOneThatIsNoneIsNamed) {
  save_safetensors(file, {{"features", at::full({2}, 1, at::kFloat)}});
  expect_right(read({"a"}), {"a"});
  EXPECT_THAT(made, ElementsAre("a"));
  save_safetensors(file, {{"features", at::full({2}, 1, at::kFloat)}}, {{"key", "k"}});
  EXPECT_ERROR(read({"a"}), HasSubstr(file.string()), HasSubstr("remove the file"));
  testing::put(file, "not a cache at all, but long enough");
  EXPECT_ERROR(read({"a"}), HasSubstr(file.string()));
}

}  // namespace
}  // namespace morphvlm::feature_rows_test
