#include "morphvlm/formats/safetensors.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::safetensors_test {
namespace {

using testing::contents;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::le;
using testing::put;
using testing::ScratchFolder;

std::string file_of(std::string_view header, std::size_t data_bytes) {
  return le(std::uint64_t{header.size()}) + std::string(header) + std::string(data_bytes, '\1');
}

// The message that opening such a file ends in.
std::string refusal(const std::string& bytes) {
  const ScratchFolder folder;
  const auto path = put(folder / "bad.safetensors", bytes);
  const auto message = testing::error_text([&] { load_safetensors(path); });
  EXPECT_THAT(message, HasSubstr("bad.safetensors"));
  return message;
}
std::string refusal(std::string_view header, std::size_t data_bytes) {
  return refusal(file_of(header, data_bytes));
}

bool same(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.equal(b);
}

// The values that tests/golden/safetensors_py.py puts there.
Tensor golden_bits(const std::string& key, at::IntArrayRef shape, at::ScalarType dtype, int width) {
  Tensor t = at::empty(shape, at::kLong);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const std::uint64_t bits = split_mix(fnv1a(key) + static_cast<std::uint64_t>(i)) >> (64 - width);
    t.data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(bits);
  }
  return t.to(dtype);
}

TEST(Safetensors, ReadsWhatThePythonLibraryWrites) {
  const auto file = open_safetensors(testing::golden_path("safetensors_py.safetensors"));
  EXPECT_THAT(file.header.metadata, ElementsAre(std::pair<const std::string, std::string>("format", "pt")));
  EXPECT_EQ(file.header.entries.size(), 11U);
  auto floats = [&](const char* key, at::IntArrayRef shape, at::ScalarType dtype) {
    return testing::formula_input(key, shape).to(dtype);
  };
  EXPECT_TRUE(same(file.tensor("f32"), floats("f32", {3, 5}, at::kFloat)));
  EXPECT_TRUE(same(file.tensor("f16"), floats("f16", {4, 3}, at::kHalf)));
  EXPECT_TRUE(same(file.tensor("bf16"), floats("bf16", {2, 7}, at::kBFloat16)));
  EXPECT_TRUE(same(file.tensor("f64"), floats("f64", {5}, at::kDouble)));
  EXPECT_TRUE(same(file.tensor("scalar"), floats("scalar", {}, at::kFloat)));
  EXPECT_TRUE(same(file.tensor("empty"), floats("empty", {0, 3}, at::kFloat)));
  EXPECT_TRUE(same(file.tensor("nested.name/with \"quotes\" and é"), floats("nested", {2}, at::kFloat)));
  EXPECT_TRUE(same(file.tensor("i64"), golden_bits("i64", {2, 3}, at::kLong, 64)));
  EXPECT_TRUE(same(file.tensor("i32"), golden_bits("i32", {3}, at::kInt, 32)));
  EXPECT_TRUE(same(file.tensor("u8"), golden_bits("u8", {3, 3}, at::kByte, 8)));
  EXPECT_TRUE(same(file.tensor("bool"), golden_bits("bool", {7}, at::kBool, 1)));
  EXPECT_ERROR(file.tensor("f33"), HasSubstr("safetensors_py.safetensors: tensor \"f33\" is missing"));
}

TEST(Safetensors, TensorsAreTheFileItself) {
  const ScratchFolder folder;
  Tensor t;
  {
    save_safetensors(folder / "a", {{"t", at::arange(6, at::kFloat)}});
    const auto file = open_safetensors(folder / "a");
    t = file.tensor("t");
    EXPECT_EQ(t.const_data_ptr(), file.map->bytes.data() + file.data_begin);
  }
  t.add_(1);  // copy-on-write
  EXPECT_TRUE(same(t, at::arange(1, 7, at::kFloat)));
  EXPECT_TRUE(same(load_safetensors(folder / "a")[0].second, at::arange(6, at::kFloat)));
}

TEST(Safetensors, RoundTripOfEveryDtypeAlignedAndContiguous) {
  const ScratchFolder folder;
  StateDict given = {{"scalar", at::tensor(2.5F)},
                     {"empty", at::empty({0, 3})},
                     {"transposed", at::arange(6, at::kFloat).view({2, 3}).t()},
                     {"with grad", at::ones({2}).set_requires_grad(true)}};
  for (const auto& [name, dtype] : detail::kSafetensorsTypes) {
    given.emplace_back(name, at::arange(-1, 2, at::kInt).to(dtype));
  }
  save_safetensors(folder / "a", given, {{"k", "v \"é\""}});
  const auto file = open_safetensors(folder / "a");
  EXPECT_EQ(file.data_begin % 8, 0U);
  EXPECT_EQ(file.header.metadata.at("k"), "v \"é\"");
  EXPECT_EQ(file.header.entries.size(), given.size());
  for (const auto& entry : file.header.entries) {
    EXPECT_EQ(entry.begin % c10::elementSize(entry.dtype), 0U) << entry.name;
  }
  for (const auto& [name, t] : given) EXPECT_TRUE(same(file.tensor(name), t)) << name;
}

TEST(Safetensors, KeepsTheGivenOrderWithinAnElementSize) {
  const ScratchFolder folder;
  save_safetensors(folder / "a",
                   {{"z", at::ones({1})}, {"h", at::ones({1}, at::kHalf)}, {"a", at::ones({1})}});
  std::vector<std::string> names;
  for (const auto& [name, t] : load_safetensors(folder / "a")) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("z", "a", "h"));
}

TEST(Safetensors, AFileWithoutTensorsIsAFile) {
  const ScratchFolder folder;
  save_safetensors(folder / "a", {});
  EXPECT_TRUE(load_safetensors(folder / "a").empty());
}

TEST(Safetensors, ReadsUnalignedData) {
  const ScratchFolder folder;
  const auto path = put(folder / "a", file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                              R"("f":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                              0) +
                                          "\7" + le(1.5F));
  EXPECT_TRUE(same(open_safetensors(path).tensor("f"), at::tensor({1.5F})));
}

TEST(SafetensorsSave, RefusesWhatCannotBeSavedAndWritesNothing) {
  const ScratchFolder folder;
  const Tensor one = at::ones({1});
  EXPECT_ERROR(save_safetensors(folder / "a", {{"x", one}, {"x", one}}),
               HasSubstr("x: this name is reserved or given twice"));
  EXPECT_ERROR(save_safetensors(folder / "a", {{"__metadata__", one}}), HasSubstr("reserved"));
  EXPECT_ERROR(save_safetensors(folder / "a", {{"x", Tensor()}}), HasSubstr("x: undefined"));
  EXPECT_ERROR(save_safetensors(folder / "a", {{"x", at::empty({2}, at::kMeta)}}),
               HasSubstr("tensors with memory"));
  EXPECT_ERROR(save_safetensors(folder / "a", {{"x", at::empty({2}, at::kComplexFloat)}}),
               HasSubstr("ComplexFloat"));
  EXPECT_ERROR(save_safetensors(folder / "a", {{"\xff", one}}), HasSubstr("a: cannot be written"),
               HasSubstr("UTF-8"));
  EXPECT_TRUE(folder.names().empty());
}

TEST(SafetensorsHostile, Truncated) {
  EXPECT_THAT(refusal("abc"),
              HasSubstr("truncated: the header's length at byte 0 needs 8 bytes, the file has 3 left"));
  EXPECT_THAT(refusal(le(std::uint64_t{50}) + "{}"),
              HasSubstr("truncated: the header at byte 8 needs 50 bytes"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7),
              HasSubstr("truncated: tensor \"t\" ends at 8, the file has 7 bytes of data"));
}

TEST(SafetensorsHostile, EveryCutOfAGoodFile) {
  const ScratchFolder folder;
  save_safetensors(folder / "good", {{"t", at::ones({3})}, {"u", at::ones({2}, at::kByte)}}, {{"k", "v"}});
  const auto good = contents(folder / "good");
  for (std::size_t size = 1; size < good.size(); ++size) {
    EXPECT_ERROR(load_safetensors(put(folder / "cut", good.substr(0, size))), HasSubstr("cut: "));
  }
}

TEST(SafetensorsHostile, NeverCrashesOnAnyChangedByte) {
  const ScratchFolder folder;
  save_safetensors(folder / "good", {{"t", at::ones({3})}, {"u", at::ones({2}, at::kBool)}}, {{"k", "v"}});
  const auto good = contents(folder / "good");
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char byte : {"\0\"{9"[i % 4], '\xff'}) {
      auto changed = good;
      changed[i] = byte;
      const auto path = put(folder / "changed", changed);
      const auto message = testing::error_text([&] { load_safetensors(path); });
      EXPECT_THAT(message, ::testing::AnyOf("", HasSubstr("changed"))) << i;
    }
  }
}

TEST(SafetensorsHostile, OversizedHeader) {
  EXPECT_THAT(refusal(le(std::uint64_t{100'000'001}) + "{}"), HasSubstr("the format allows 100000000"));
  EXPECT_THAT(refusal(le(~std::uint64_t{0}) + "{}"), HasSubstr("the format allows 100000000"));
}

TEST(SafetensorsHostile, NotJson) {
  EXPECT_THAT(refusal(" {}", 0), HasSubstr("the header does not begin with '{'"));
  EXPECT_THAT(refusal("[]", 0), HasSubstr("the header does not begin with '{'"));
  EXPECT_THAT(refusal("", 0), HasSubstr("the header does not begin with '{'"));
  EXPECT_THAT(refusal("{} x", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\"a\xff\":1}", 0), HasSubstr("UTF-8"));
}

TEST(SafetensorsHostile, DeepNesting) {
  EXPECT_THAT(refusal(R"({"t":)" + std::string(100'000, '['), 0), HasSubstr("\"t\": unexpected list"));
  EXPECT_THAT(refusal(R"({"t":{"shape":)" + std::string(100'000, '['), 0), HasSubstr("unexpected list"));
  EXPECT_THAT(refusal(R"({"t":{"shape":{)", 0), HasSubstr("unexpected nested object"));
}

TEST(SafetensorsHostile, DuplicateKeys) {
  const std::string t = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(refusal("{" + t + "," + t + "}", 1), HasSubstr("\"t\" appears twice"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("\"t\": \"dtype\" appears twice"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"a":"1","a":"2"}})", 0), HasSubstr("\"a\" appears twice"));
}

TEST(SafetensorsHostile, WrongFields) {
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[1]}})", 1),
              HasSubstr("expected dtype, shape and data_offsets"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[1],"x":1}})", 1), HasSubstr("unknown field \"x\""));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1),
              HasSubstr("expected 2 numbers, found 3"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":1}})", 0), HasSubstr("unexpected number 1"));
  EXPECT_THAT(refusal(R"({"t":{"shape":[true]}})", 0), HasSubstr("unexpected true"));
  EXPECT_THAT(refusal(R"({"t":{"shape":[null]}})", 0), HasSubstr("unexpected null"));
  EXPECT_THAT(refusal(R"({"t":{"shape":[1.5]}})", 0), HasSubstr("unexpected 1.5"));
  EXPECT_THAT(refusal(R"({"t":{"shape":["1"]}})", 0), HasSubstr("unexpected text \"1\""));
  EXPECT_THAT(refusal(R"({"t":"x"})", 0), HasSubstr("unexpected text"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"a":1}})", 0), HasSubstr("unexpected number"));
}

TEST(SafetensorsHostile, UnknownDtypeIsNamed) {
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("\"t\": dtype \"F8_E4M3\" is not supported"));
}

TEST(SafetensorsHostile, BadShapes) {
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1),
              HasSubstr("shape: negative number -1"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", 1),
              HasSubstr("18446744073709551615 is too large"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
              HasSubstr("[4294967296, 4294967296] has more elements than can be counted"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0),
              HasSubstr("more elements than can be counted"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", 0),
              HasSubstr("more elements than can be counted"));
}

TEST(SafetensorsHostile, OffsetsThatDoNotFitTheShape) {
  EXPECT_THAT(refusal(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
              HasSubstr("Float [2] needs 8 bytes, data_offsets are [0, 4]"));
  EXPECT_THAT(refusal(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})", 2),
              HasSubstr("data_offsets are [2, 1]"));
}

TEST(SafetensorsHostile, Overlap) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                      R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                      6),
              HasSubstr("tensor \"b\" begins at 2 and overlaps the one that ends at 4"));
}

TEST(SafetensorsHostile, Hole) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
                      5),
              HasSubstr("a hole of 1 bytes before tensor \"b\""));
}

TEST(SafetensorsHostile, TrailingBytes) {
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3),
              HasSubstr("1 bytes after the last tensor"));
}

TEST(SafetensorsHostile, ABoolOfAnotherValue) {
  EXPECT_THAT(refusal(file_of(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 0) + "\2"),
              HasSubstr("tensor \"a\": a BOOL is neither 0 nor 1"));
}

}  // namespace
}  // namespace morphvlm::safetensors_test
