#include "morphvlm/data/json_rows.hpp"

#include <gtest/gtest.h>

#include "tests/formats/files.hpp"

namespace morphvlm::json_rows_test {
namespace {

using ::testing::HasSubstr;

/// The list "rows" of `text`, one row behind the other.
std::string rows_of(std::string_view text) {
  std::string out;
  for_each_json_row(text, "rows", "f", [&](const Json& row, std::size_t index, const std::string& where) {
    EXPECT_EQ(where, "f: row " + std::to_string(index));
    out += row.dump() + ';';
  });
  return out;
}

TEST(JsonRows, FindsTheListAmongOtherKeys) {
  EXPECT_EQ(rows_of(R"({"rows":[1,"a",[2,{"rows":[3]}],{"k":"}]"},null]})"),
            R"(1;"a";[2,{"rows":[3]}];{"k":"}]"};null;)");
  EXPECT_EQ(rows_of("\n{ \"info\" : {\"rows\": [9]} ,\t\"x\\\"\": \"a,]\\\\\", \"rows\" : [ 1.5 , true ] , "
                    "\"y\": 2 }\r\n"),
            "1.5;true;");
  EXPECT_EQ(rows_of(R"({"rows":[]})"), "");
  EXPECT_EQ(rows_of(R"({"rows":["\\","\"",""]})"), R"("\\";"\"";"";)");
}

TEST(JsonRows, RefusesWhatHasNoSuchList) {
  for (const char* text : {"{}", "[]", "7", R"({"row":[1]})", R"({"rows":{"a":1}})", R"({"rows":3})"})
    EXPECT_ERROR(rows_of(text), HasSubstr("f: expected an object with a list \"rows\"")) << text;
  EXPECT_ERROR(rows_of(R"({"rows":[1],"rows":[2]})"), HasSubstr("f: key \"rows\" appears twice"));
  EXPECT_ERROR(rows_of(R"({"a":1,"rows":[1],"a":1})"), HasSubstr("f: key \"a\" appears twice"));
}

// Every text that is cut or has a character too many is refused, as by the parser of whole files.
TEST(JsonRows, RefusesWhatIsNotJson) {
  const std::string good = R"({"a":{"b":[1,"]"]},"rows":[{"k":"v"},[1,2],"s"],"z":null})";
  ASSERT_NO_THROW(rows_of(good));
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_THROW(rows_of(good.substr(0, n)), Error) << good.substr(0, n);
    for (const char extra : {',', ':', '{', '}', ']', '"', 'x'}) {
      std::string bad = good;
      bad.insert(n, 1, extra);
      if (Json::accept(bad)) continue;  // inside a string
      EXPECT_THROW(rows_of(bad), Error) << bad;
    }
  }
  for (const char* text : {"", " ", R"({"rows":[1]}x)", R"({"rows":[1]}{})", R"({"rows":[1,]})",
                           R"({"rows":[,1]})", R"({"rows":[1 2]})", R"({"rows":[1],})", R"({rows:[1]})",
                           R"({1:[1]})", R"({"rows":["a"b]})", R"({"a":01,"rows":[]})", "{\"rows\":[1]}\\0"})
    EXPECT_ERROR(rows_of(text), HasSubstr("not valid JSON")) << text;
  EXPECT_ERROR(rows_of(R"({"rows":[1,{]})"), HasSubstr("f: row 1: not valid JSON"));
  EXPECT_ERROR(rows_of("{\"rows\":[" + std::string(99, '[')), HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace morphvlm::json_rows_test
