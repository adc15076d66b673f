#include "morphvlm/formats/gguf.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include "tests/formats/files.hpp"
#include "tests/formats/gguf_parts.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::gguf_test {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using testing::le;
using testing::Parts;
using testing::put;
using testing::ScratchFolder;

std::string refusal(const std::string& bytes) {
  const ScratchFolder folder;
  const auto path = put(folder / "bad.gguf", bytes);
  const auto message = testing::error_text([&] { open_gguf(path); });
  EXPECT_THAT(message, HasSubstr("bad.gguf: "));
  return message;
}
std::string refusal(const Parts& parts) { return refusal(parts.bytes()); }

GgufFile open(const Parts& parts) {
  const ScratchFolder folder;
  return open_gguf(put(folder / "a.gguf", parts.bytes()));
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

struct GgufGolden : ::testing::TestWithParam<const char*> {
  GgufFile file = open_gguf(testing::golden_path(GetParam()));
  testing::Golden expected = testing::open_golden("gguf_expected");
};

TEST_P(GgufGolden, TensorsEqualTheReferenceBitwise) {
  ASSERT_EQ(file.tensors.size(), expected.tensors.size());
  for (const auto& [name, want] : expected.tensors) {
    EXPECT_TRUE(same_bits(file.tensor(name), want)) << name;
    EXPECT_TRUE(same_bits(file.tensor(name, at::kBFloat16), want.to(at::kBFloat16))) << name;
    EXPECT_TRUE(same_bits(file.tensor(name, at::kHalf), want.to(at::kHalf))) << name;
    const auto info = std::ranges::find(file.tensors, name, &GgufTensor::name);
    EXPECT_EQ(info->type->name, expected.meta["kinds"][name].get<std::string>());
  }
}

TEST_P(GgufGolden, MetadataOfEveryTypeIsRead) {
  const Json& want = expected.meta["metadata"];
  for (const char* key : {"test.i8", "test.i16", "test.i32", "test.i64"}) {
    EXPECT_EQ(file.get<std::int64_t>(key), want[key].get<std::int64_t>()) << key;
  }
  for (const char* key : {"test.u8", "test.u16", "test.u32", "test.u64"}) {
    EXPECT_EQ(file.get<std::uint64_t>(key), want[key].get<std::uint64_t>()) << key;
  }
  EXPECT_EQ(file.get<float>("test.f32"), want["test.f32"].get<float>());
  EXPECT_EQ(file.get<double>("test.f64"), want["test.f64"].get<double>());
  EXPECT_TRUE(file.get<bool>("test.true"));
  EXPECT_FALSE(file.get<bool>("test.false"));
  EXPECT_EQ(file.get<std::string>("test.string"), want["test.string"].get<std::string>());
  EXPECT_THAT(file.get<std::vector<std::string_view>>("test.strings"),
              ElementsAreArray(want["test.strings"].get<std::vector<std::string>>()));
  EXPECT_THAT(file.get<std::vector<std::int32_t>>("test.ints"), ElementsAre(1, -2, 2000000000));
  EXPECT_THAT(file.get<std::vector<float>>("test.floats"), ElementsAre(0.5F, -1.25F, 1e10F));
  EXPECT_THAT(file.get<std::vector<bool>>("test.bools"), ElementsAre(true, false, true));
}

TEST_P(GgufGolden, EveryCutIsRefused) {
  const auto good = testing::contents(testing::golden_path(GetParam()));
  const auto& last = *std::ranges::max_element(file.tensors, {}, &GgufTensor::offset);
  const auto used = static_cast<std::size_t>(last.data.data() + last.data.size() - file.map->bytes.data());
  const ScratchFolder folder;
  for (std::size_t size = 1; size < used; size += size < 300 ? 1 : 37) {
    EXPECT_ERROR(open_gguf(put(folder / "cut", good.substr(0, size))), HasSubstr("cut: "));
  }
}

TEST_P(GgufGolden, NeverCrashesOnAnyChangedByte) {
  const auto good = testing::contents(testing::golden_path(GetParam()));
  const auto head = static_cast<std::size_t>(file.tensors[0].data.data() - file.map->bytes.data());
  const ScratchFolder folder;
  for (std::size_t i = 0; i < head; ++i) {
    auto changed = good;
    changed[i] = "\x00\x01\x7f\xff"[i % 4];
    const auto path = put(folder / "changed", changed);
    const auto message = testing::error_text([&] {
      const auto opened = open_gguf(path);
      for (const auto& t : opened.tensors) {
        if (can_dequantize(t.type->id)) opened.tensor(t);
      }
    });
    EXPECT_THAT(message, ::testing::AnyOf("", HasSubstr("changed: "))) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, GgufGolden, ::testing::Values("gguf_v2.gguf", "gguf_v3.gguf"),
                         [](const auto& p) { return std::string(p.param, 5, 2); });

TEST(Gguf, TensorOfTheStoredDtypeIsTheFileItself) {
  const auto file = open(Parts().floats("t", {3, 2}));
  const Tensor t = file.tensor("t");
  EXPECT_EQ(t.const_data_ptr(), file.tensors[0].data.data());
  EXPECT_TRUE(t.equal(at::arange(6, at::kFloat).view({2, 3})));
}

TEST(Gguf, GettersCheckTypeAndRange) {
  const auto file = open(Parts()
                             .key("u32", GgufType::u32, std::uint32_t{300})
                             .key("i8", GgufType::i8, std::int8_t{-3})
                             .key("f32", GgufType::f32, 0.5F)
                             .key("text", "x")
                             .key("empty", ""));
  EXPECT_EQ(file.get<std::string_view>("empty"), "");
  EXPECT_EQ(file.get<std::uint16_t>("u32"), 300);
  EXPECT_ERROR(file.get<std::uint8_t>("u32"), HasSubstr("a.gguf: metadata key \"u32\": 300 does not fit"));
  EXPECT_ERROR(file.get<std::uint64_t>("i8"), HasSubstr("-3 does not fit"));
  EXPECT_ERROR(file.get<int>("f32"), HasSubstr("expected an integer, found f32"));
  EXPECT_ERROR(file.get<float>("u32"), HasSubstr("expected a float, found u32"));
  EXPECT_ERROR(file.get<bool>("u32"), HasSubstr("expected a bool, found u32"));
  EXPECT_ERROR(file.get<std::string>("u32"), HasSubstr("expected a string, found u32"));
  EXPECT_ERROR(file.get<std::vector<int>>("text"), HasSubstr("expected an array, found string"));
  EXPECT_ERROR(file.get<int>("absent"), HasSubstr("a.gguf: metadata key \"absent\" is missing"));
  EXPECT_EQ(file.get_or<int>("absent", 7), 7);
  EXPECT_EQ(file.get_or<int>("u32", 7), 300);
}

std::string array_of(GgufType item, std::uint64_t count) { return le(item) + le(count); }

TEST(Gguf, ReadsNestedArrays) {
  const auto inner = array_of(GgufType::u8, 2) + "\1\2" + array_of(GgufType::u8, 1) + "\3";
  const auto file = open(Parts().raw_key("a", GgufType::array, array_of(GgufType::array, 2) + inner));
  EXPECT_THAT(file.get<std::vector<std::vector<int>>>("a"), ElementsAre(ElementsAre(1, 2), ElementsAre(3)));
}

TEST(Gguf, HonoursTheAlignment) {
  Parts parts;
  parts.alignment = 8;
  parts.key("general.alignment", GgufType::u32, std::uint32_t{8});
  parts.tensor("a", {2}, 0, 0).tensor("b", {1}, 0, 8);
  parts.data = le(1.0F) + le(2.0F) + le(3.0F);
  const auto file = open(parts);
  EXPECT_TRUE(file.tensor("a").equal(at::tensor({1.0F, 2.0F})));
  EXPECT_TRUE(file.tensor("b").equal(at::tensor({3.0F})));
}

TEST(Gguf, ATypeThatCannotBeDecodedLeavesTheMetadataReadable) {
  Parts parts;
  parts.key("k", "v").tensor("blk.0.ffn_up.weight", {256}, 12, 0);
  parts.data.resize(144);
  const auto file = open(parts);
  EXPECT_EQ(file.get<std::string>("k"), "v");
  EXPECT_ERROR(file.tensor("blk.0.ffn_up.weight"),
               HasSubstr("a.gguf: tensor \"blk.0.ffn_up.weight\": quantisation Q4_K is not supported"));
}

TEST(Gguf, NamesWhatIsMissingOrCannotBeGiven) {
  const auto file = open(Parts().floats("t", {3}));
  EXPECT_ERROR(file.tensor("u"), HasSubstr("a.gguf: tensor \"u\" is missing"));
  EXPECT_ERROR(file.tensor("t", at::kLong), HasSubstr("cannot be read as Long"));
}

TEST(GgufHostile, NotGguf) {
  Parts parts;
  parts.magic = "GGML";
  EXPECT_THAT(refusal(parts), HasSubstr("not a GGUF file"));
  EXPECT_THAT(refusal("GG"), HasSubstr("truncated: the magic number"));
}

TEST(GgufHostile, OtherVersions) {
  Parts parts;
  parts.version = 1;
  EXPECT_THAT(refusal(parts), HasSubstr("GGUF version 1; versions 2 and 3 are supported"));
  parts.version = 0x03000000;
  EXPECT_THAT(refusal(parts), HasSubstr("big-endian"));
}

TEST(GgufHostile, CountsBeyondTheFile) {
  Parts parts;
  parts.tensor_count = std::uint64_t{1} << 60;
  EXPECT_THAT(refusal(parts),
              HasSubstr("1152921504606846976 tensors cannot be in the 8 bytes that are left"));
  parts = {};
  parts.key_count = ~std::uint64_t{0};
  EXPECT_THAT(refusal(parts), HasSubstr("18446744073709551615 metadata keys cannot be in the 0 bytes"));
}

TEST(GgufHostile, StringsBeyondTheFile) {
  Parts parts;
  parts.keys.push_back(le(~std::uint64_t{0}) + "abcdefgh");
  EXPECT_THAT(refusal(parts),
              HasSubstr("a metadata key at byte 32 needs 18446744073709551615 bytes, the file has 8 left"));
  EXPECT_THAT(refusal(Parts().raw_key("k", GgufType::text, le(std::uint64_t{9}) + "abc")),
              HasSubstr("a string at byte 45 needs 9 bytes, the file has 3 left"));
}

TEST(GgufHostile, ArraysBeyondTheFile) {
  EXPECT_THAT(refusal(Parts().raw_key("k", GgufType::array, array_of(GgufType::u64, std::uint64_t{1} << 61))),
              HasSubstr("2305843009213693952 array elements cannot be in the 0 bytes"));
}

TEST(GgufHostile, DeepNesting) {
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += array_of(GgufType::array, 1);
  EXPECT_THAT(refusal(Parts().raw_key("k", GgufType::array, nested)),
              HasSubstr("key \"k\": arrays nested deeper than 8"));
}

TEST(GgufHostile, UnknownValueTypesAndBools) {
  EXPECT_THAT(refusal(Parts().raw_key("k", static_cast<GgufType>(13), std::string(16, '\0'))),
              HasSubstr("key \"k\": unknown value type 13"));
  EXPECT_THAT(refusal(Parts().raw_key("k", GgufType::boolean, "\2")), HasSubstr("a bool is neither 0 nor 1"));
}

TEST(GgufHostile, DuplicateNames) {
  EXPECT_THAT(refusal(Parts().key("k", "1").key("k", "2")), HasSubstr("metadata key \"k\" appears twice"));
  EXPECT_THAT(refusal(Parts().floats("t", {1}).floats("t", {1})), HasSubstr("tensor \"t\" appears twice"));
}

TEST(GgufHostile, BadAlignment) {
  for (const std::uint32_t bad : {0U, 24U}) {
    EXPECT_THAT(refusal(Parts().key("general.alignment", GgufType::u32, bad)),
                HasSubstr("expected a power of two"));
  }
  Parts parts = Parts().tensor("t", {1}, 0, 4);
  parts.data.resize(64);
  EXPECT_THAT(refusal(parts), HasSubstr("tensor \"t\": offset 4 is not a multiple of the alignment 32"));
}

TEST(GgufHostile, UnknownQuantisation) {
  Parts parts = Parts().tensor("blk.0.attn_q.weight", {32}, 77, 0);
  EXPECT_THAT(refusal(parts), HasSubstr("tensor \"blk.0.attn_q.weight\": unknown quantisation type 77"));
}

TEST(GgufHostile, BadShapes) {
  EXPECT_THAT(refusal(Parts().tensor("t", {1, 1, 1, 1, 1}, 0, 0)), HasSubstr("tensor \"t\": 5 dimensions"));
  EXPECT_THAT(refusal(Parts().tensor("t", {-4}, 0, 0)), HasSubstr("tensor \"t\": negative dimension -4"));
  EXPECT_THAT(refusal(Parts().tensor("t", {1L << 32, 1L << 32}, 0, 0)),
              HasSubstr("more elements than can be counted"));
  EXPECT_THAT(refusal(Parts().tensor("t", {1L << 61}, 0, 0)), HasSubstr("more bytes than can be counted"));
  EXPECT_THAT(refusal(Parts().tensor("t", {33}, 8, 0)),
              HasSubstr("rows of 33 elements are not made of whole Q8_0 blocks of 32"));
}

TEST(GgufHostile, DataBeyondTheFile) {
  Parts parts = Parts().floats("t", {8});
  parts.data.resize(31);
  EXPECT_THAT(refusal(parts),
              HasSubstr("tensor \"t\": truncated: 32 bytes at offset 0, the file has 31 bytes of data"));
  parts = Parts().tensor("t", {8}, 0, ~std::uint64_t{31});
  parts.data.resize(64);
  EXPECT_THAT(refusal(parts), HasSubstr("truncated: 32 bytes at offset 18446744073709551584"));
}

TEST(GgufHostile, Overlap) {
  Parts parts = Parts().tensor("a", {16}, 0, 0).tensor("b", {1}, 0, 32);
  parts.data.resize(64);
  EXPECT_THAT(refusal(parts), HasSubstr("tensor \"b\" overlaps tensor \"a\""));
}

}  // namespace
}  // namespace morphvlm::gguf_test
