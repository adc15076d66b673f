// Files of torch.save against what torch put into them (tests/golden/torch_files.py), and files that are
// refused.
#include "morphvlm/io/torch_pickle.hpp"

#include <gtest/gtest.h>

#include <random>

#include "morphvlm/core/json.hpp"
#include "tests/io/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm {
namespace {

using testing::contents;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::le;
using testing::put;
using testing::ScratchFolder;

std::filesystem::path fixture(const std::string& name) { return golden_path("torch_files") / name; }

void expect_written(const StateDict& found) {
  const Json expected = read_json(fixture("expected.json"));
  const std::map<std::string, at::ScalarType> types{
      {"float32", at::kFloat}, {"float64", at::kDouble}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16},
      {"int64", at::kLong},    {"uint8", at::kByte},     {"bool", at::kBool}};
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, t] : found) {
    const Json& e = expected.at(name);
    EXPECT_EQ(t.scalar_type(), types.at(e.at("dtype"))) << name;
    EXPECT_EQ(t.sizes().vec(), e.at("shape").get<std::vector<std::int64_t>>()) << name;
    const auto values = e.at("values").get<std::vector<double>>();
    const Tensor flat = t.to(at::kDouble).reshape({-1}).contiguous();
    ASSERT_EQ(flat.numel(), std::ssize(values)) << name;
    for (std::int64_t i = 0; i < flat.numel(); ++i)
      EXPECT_EQ(flat.const_data_ptr<double>()[i], values[static_cast<std::size_t>(i)]) << name << ' ' << i;
  }
}

TEST(TorchFile, PresentFormat) { expect_written(load_torch(fixture("plain.pt"))); }
TEST(TorchFile, OlderFormat) { expect_written(load_torch(fixture("legacy.pt"))); }
TEST(TorchFile, NewerPickleProtocol) { expect_written(load_torch(fixture("protocol4.pt"))); }

TEST(TorchFile, ModulesAndParameters) {
  for (const auto* name : {"module.bin", "parameters.pth"}) {
    const StateDict dict = load_torch(fixture(name));
    ASSERT_EQ(dict.size(), 2u) << name;
    EXPECT_EQ(dict[0].first, "weight");
    EXPECT_TRUE(dict[0].second.equal(testing::formula_input("weight", {2, 3}))) << name;
    EXPECT_TRUE(dict[1].second.equal(testing::formula_input("bias", {2}))) << name;
  }
}

TEST(TorchFile, TrainingCheckpoint) {
  const TorchFile file = open_torch(fixture("training.pt"));
  const StateDict dict = torch_state_dict(file, "model_state_dict");
  ASSERT_EQ(dict.size(), 2u);
  EXPECT_EQ(dict[0].first, "module.weight");
  EXPECT_EQ(file.document.root->find("epoch")->integer, 3);
  EXPECT_ERROR(torch_state_dict(file, "state_dict"),
               HasSubstr("expected a dict called \"state_dict\"; the file's keys: epoch, model_state_dict"));
  EXPECT_ERROR(torch_state_dict(file), HasSubstr("no tensor; its keys: epoch, "));
}

TEST(TorchFile, OutlivesItsHandle) {
  const ScratchFolder folder;
  std::filesystem::copy_file(fixture("plain.pt"), folder / "copy.pt");
  const StateDict dict = load_torch(folder / "copy.pt");
  std::filesystem::remove(folder / "copy.pt");
  expect_written(dict);
}

// Cut anywhere, a file ends in an Error and never in tensors of something else.
TEST(TorchFile, TruncatedAnywhere) {
  const ScratchFolder folder;
  for (const auto* name : {"plain.pt", "legacy.pt", "training.pt"}) {
    const std::string whole = contents(fixture(name));
    for (std::size_t size = 1; size < whole.size(); size += 1 + size % 3) {
      const auto path = put(folder / "cut.pt", whole.substr(0, size));
      EXPECT_ERROR(load_torch(path), HasSubstr("cut.pt")) << name << " cut at " << size;
    }
  }
}

// Bytes changed at random: an Error or tensors within the file, nothing else (the sanitizers watch).
TEST(TorchFile, DamagedAnywhere) {
  const ScratchFolder folder;
  std::mt19937 random(7);
  for (const auto* name : {"plain.pt", "legacy.pt"}) {
    const std::string whole = contents(fixture(name));
    for (int i = 0; i < 400; ++i) {
      std::string damaged = whole;
      for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
      const auto path = put(folder / "damaged.pt", damaged);
      try {
        for (const auto& [key, t] : load_torch(path)) EXPECT_TRUE(t.to(at::kDouble).sum().defined());
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr("damaged.pt"));
      }
    }
  }
}

/// A pickle by its bytes, read as if it were a file's.
PickleDocument read(const std::string& bytes) {
  static std::string kept;
  kept = bytes;
  return read_pickle({std::as_writable_bytes(std::span(kept)), "test.pt"});
}

std::string text(const std::string& s) { return "\x8c" + std::string(1, static_cast<char>(s.size())) + s; }

TEST(Pickle, NamesThatAreNotOnTheListAreRefusedByName) {
  EXPECT_ERROR(read("\x80\x02"
                    "cos\nsystem\nX\x02" +
                    std::string(3, '\0') + "ls\x85R."),
               HasSubstr("it asks for os.system"), HasSubstr("nothing has been called"));
  EXPECT_ERROR(read(text("builtins") + text("eval") + "\x93."), HasSubstr("builtins.eval"));
  EXPECT_ERROR(read("ctorch\nload\n."), HasSubstr("torch.load"));
  EXPECT_ERROR(read("ctorch._utils\n_rebuild_tensor_v2.__globals__\n."), HasSubstr("not on the list"));
}

TEST(Pickle, InstructionsThatAreNotOnTheListAreRefusedByName) {
  const std::map<std::string, std::string> refused{
      {"\x81", "NEWOBJ"}, {"\x92", "NEWOBJ_EX"}, {"i", "INST"},   {"o", "OBJ"},       {"\x82", "EXT1"},
      {"\x83", "EXT2"},   {"\x84", "EXT4"},      {"P", "PERSID"}, {"\xff", "unknown"}};
  for (const auto& [op, name] : refused)
    EXPECT_ERROR(read("N" + op + "x\n."), HasSubstr("instruction " + name + " (")) << name;
}

TEST(Pickle, WhatDoesNotFitIsRefused) {
  EXPECT_ERROR(read("."), HasSubstr("finds nothing to work on"));
  EXPECT_ERROR(read("(N."), HasSubstr("values are left over"));
  EXPECT_ERROR(read("NN."), HasSubstr("values are left over"));
  EXPECT_ERROR(read("t."), HasSubstr("finds no mark"));
  EXPECT_ERROR(read("](0."), HasSubstr("finds nothing"));  // what is below a mark is another value's
  EXPECT_ERROR(read("}NN)b."), HasSubstr("BUILD"), HasSubstr("on None is refused"));
  EXPECT_ERROR(read("K\x01)R."), HasSubstr("expects a name and a tuple, found an int and a tuple"));
  EXPECT_ERROR(read("h\x05."), HasSubstr("memo 5"), HasSubstr("was never filled"));
  EXPECT_ERROR(read("}(Nu."), HasSubstr("SETITEMS"), HasSubstr("does not fit a dict"));
  EXPECT_ERROR(read("NNa."), HasSubstr("APPEND"), HasSubstr("does not fit None"));
  EXPECT_ERROR(read("K\x01K\x02\x93."), HasSubstr("STACK_GLOBAL expects two strings"));
  EXPECT_ERROR(read("c" + std::string(5000, 'a')), HasSubstr("a name of more than 4,096 bytes"));
}

TEST(Pickle, CountsThatTheBytesDoNotHaveAreRefused) {
  EXPECT_ERROR(read("X" + le<std::uint32_t>(100) + "abc."), HasSubstr("truncated: pickled string"));
  EXPECT_ERROR(read("\x8d" + le<std::uint64_t>(1ULL << 60) + "abc."),
               HasSubstr("a string of 1152921504606846976"));
  EXPECT_ERROR(read("\x8b" + le<std::uint32_t>(0xffffffffU) + "."), HasSubstr("a string of 4294967295"));
  EXPECT_ERROR(read(std::string(1 << 17, '(')), HasSubstr("nested deeper than 65536"));
  EXPECT_ERROR(read("K"), HasSubstr("truncated"));
}

// A list of a thousand, copied into a dict again and again: linear bytes would ask for quadratic memory.
TEST(Pickle, BombsStopAtTheLimitOfValues) {
  std::string bomb = "](";
  for (int i = 0; i < 20000; ++i) bomb += "NN\x86";
  bomb += "eq";
  bomb += '\0';
  bomb += "0ccollections\nOrderedDict\nq\x01";
  bomb += "0";
  for (int i = 0; i < 1000; ++i) bomb += std::string("h\x01h", 3) + '\0' + "\x85R0";
  EXPECT_ERROR(read(bomb + "N."), HasSubstr("more than 8388608 values"));
  EXPECT_ERROR(read(std::string((1 << 23) + 1, 'N')), HasSubstr("more than 8388608 values"));
}

TEST(Pickle, ReadsNumbersAsPythonDoes) {
  EXPECT_EQ(read("\x8a\x01\xff.").root->integer, -1);
  EXPECT_EQ(read("\x8a" + std::string(1, '\0') + ".").root->integer, 0);
  EXPECT_EQ(read("\x8a\x08" + le<std::int64_t>(-5000000000) + ".").root->integer, -5000000000);
  EXPECT_EQ(read("J" + le<std::int32_t>(-7) + ".").root->integer, -7);
  EXPECT_EQ(read("G\x3f\xf8" + std::string(6, '\0') + ".").root->real, 1.5);
  EXPECT_EQ(read("\x88.").root->integer, 1);
  const auto list = read(
      "](K\x01K\x02"
      "e.");
  ASSERT_EQ(list.root->items.size(), 2u);
  EXPECT_EQ(list.root->items[1]->integer, 2);
}

TEST(TorchFile, NoTensorReachesBeyondItsStorage) {
  TorchFile file{.where = "test.pt"};
  std::vector<std::byte> memory(24);
  const ScratchFolder folder;
  file.map = map_file(put(folder / "x", "x"));
  file.storages["0"] = memory;
  const auto rebuild = [&](const std::string& offset, const std::string& size, const std::string& stride,
                           const std::string& elements = "K\x06") {
    file.document =
        read("ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" +
             text("0") + text("cpu") + elements + "tQ" + offset + size + stride + "\x89Nt" + "R.");
    return detail::rebuild_tensor(file, *file.document.root, "w");
  };
  EXPECT_EQ(rebuild(std::string("K\0", 2), "K\x02K\x03\x86", "K\x03K\x01\x86").numel(), 6);
  const std::string zero("K\0", 2);
  EXPECT_ERROR(rebuild("K\x01", "K\x02K\x03\x86", "K\x03K\x01\x86"), HasSubstr("beyond its storage of 6"));
  EXPECT_ERROR(rebuild(zero, "K\x07\x85", "K\x01\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, "J" + le<std::int32_t>(-1) + "\x85", "K\x01\x85"), HasSubstr("integers from 0"));
  const std::string huge = "\x8a\x08" + le<std::int64_t>(INT64_MAX);
  EXPECT_ERROR(rebuild(huge, "K\x02\x85", "K\x01\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", huge + "\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, huge + huge + "\x86", zero + zero + "\x86"), HasSubstr("do not go together"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", ")"), HasSubstr("do not go together"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", "K\x01\x85", "K\x07"),
               HasSubstr("expected 7 elements of 4 bytes, found 24"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", "K\x01\x85", huge), HasSubstr("elements of 4 bytes"));
}

}  // namespace
}  // namespace morphvlm
