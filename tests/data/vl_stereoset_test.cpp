// VLStereoSet's file, and tables as such.
#include "morphvlm/data/vl_stereoset.hpp"

#include <gtest/gtest.h>

#include "morphvlm/data/missing_images.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::vl_stereoset_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
using Strings = std::vector<std::string>;

const std::string kHeader =
    "\xEF\xBB\xBF"
    "bias_type,target,context,stereotype,anti-stereotype,unrelated,label,Imaeg URL,\r\n";

TEST(CsvTable, QuotesLinesAndMarks) {
  const auto rows = parse_csv(
      "\xEF\xBB\xBF"
      "a,\"b, \"\"c\"\"\nd\",\r\n\r\n,x\n\"last\"",
      "t.csv");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].fields, (Strings{"a", "b, \"c\"\nd", ""}));
  EXPECT_EQ(rows[1].fields, (Strings{"", "x"}));
  EXPECT_EQ(rows[1].line, 4);
  EXPECT_EQ(rows[2].fields, Strings{"last"});
  EXPECT_ERROR(parse_csv("a\n\"b", "t.csv"), HasSubstr("t.csv: line 2: a quote is not closed"));
  EXPECT_ERROR(parse_csv("\"b\"c", "t.csv"), HasSubstr("text after a closing quote"));
}

TEST(VlStereoSetFile, WithItsMarkItsMisspeltColumnAndPicturesByRow) {
  const ScratchFolder folder;
  put(folder / "1.png", "x");
  const auto file =
      put(folder / "v.csv",
          kHeader +
              "race,Ethiopian,\"They, "
              "all,\",s,a,u,0,http://x/1.jpg,\r\ngender,nurse,c,s2,a2,u2,1,http://x/2.jpg,\r\n");
  const auto data = read_vl_stereoset(file, folder.path);
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0].context, "They, all,");
  EXPECT_EQ(data[0].statements, (std::array<std::string, 3>{"s", "a", "u"}));
  EXPECT_FALSE(data[0].anti_stereotypical_image);
  EXPECT_TRUE(data[1].anti_stereotypical_image);
  EXPECT_EQ(data[0].image, folder / "0.jpg");
  EXPECT_EQ(data[1].image, folder / "1.png");
  EXPECT_EQ(missing_images(data), std::vector{folder / "0.jpg"});
  auto kept = data;
  EXPECT_EQ(drop_missing_images(kept).size(), 1u);
  EXPECT_EQ(kept.size(), 1u);
  EXPECT_ERROR(expect_images(data, "VLStereoSet"), HasSubstr("VLStereoSet: 1 images are missing: "));
  EXPECT_NO_THROW(expect_images(kept, "VLStereoSet"));
}

TEST(VlStereoSetFile, WhatIsWrongIsNamed) {
  const ScratchFolder folder;
  const auto read = [&](const std::string& text) {
    return read_vl_stereoset(put(folder / "v.csv", text), folder.path);
  };
  EXPECT_ERROR(read("bias_type,target\na,b\n"), HasSubstr("column \"context\" is missing"));
  EXPECT_ERROR(read(kHeader), HasSubstr("at least one record"));
  EXPECT_ERROR(read(kHeader + "race,t,c,s,a,u,2,url,\n"),
               HasSubstr("line 2: column \"label\": expected 0 or 1"));
  EXPECT_ERROR(read(kHeader + "age,t,c,s,a,u,1,url,\n"), HasSubstr("column \"bias_type\""));
  EXPECT_ERROR(read(kHeader + "race,t,c,,a,u,1,url,\n"), HasSubstr("column \"stereotype\" is empty"));
  EXPECT_ERROR(read(kHeader + "race,t\n"), HasSubstr("2 fields"));
  EXPECT_ERROR(read(kHeader + "race,caf\xE9,c,s,a,u,1,url,\n"),
               HasSubstr("v.csv: line 2: expected UTF-8 text"), HasSubstr("Windows-1252"));
  EXPECT_ERROR(read("\xFF\xFE" + kHeader), HasSubstr("found UTF-16 text"));
}

// As the official file has it in one row: something in the column without a name.
TEST(VlStereoSetFile, WhatStandsInTheColumnWithoutNameIsPassedOver) {
  const ScratchFolder folder;
  const auto data = read_vl_stereoset(
      put(folder / "v.csv", kHeader + "race,t,c,s,a,u,1,https://x/p.jpg?a=1,x\r\n"), folder.path);
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(data[0].url, "https://x/p.jpg?a=1");
}

}  // namespace
}  // namespace morphvlm::vl_stereoset_test
