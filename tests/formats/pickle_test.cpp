// Pickles made byte by byte: each construct that is refused, and limits.
#include "morphvlm/formats/pickle.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/formats/files.hpp"
#include "tests/formats/pickle_parts.hpp"

namespace morphvlm::pickle_test {
namespace {

using testing::global;
using ::testing::HasSubstr;
using testing::le;
using testing::read;
using testing::text;

TEST(Pickle, NamesThatAreNotOnTheListAreRefusedByName) {
  EXPECT_ERROR(read("\x80\x02"
                    "cos\nsystem\nX\x02" +
                    std::string(3, '\0') + "ls\x85R."),
               HasSubstr("it asks for os.system"), HasSubstr("nothing has been called"));
  EXPECT_ERROR(read(text("builtins") + text("eval") + "\x93."), HasSubstr("builtins.eval"));
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"torch", "load"},
                                                        {"posix", "system"},
                                                        {"subprocess", "Popen"},
                                                        {"builtins", "exec"},
                                                        {"__builtin__", "getattr"},
                                                        {"torch.storage", "_load_from_bytes"},
                                                        {"torch.jit", "load"},
                                                        {"numpy.core.multiarray", "scalar"},
                                                        {"argparse", "Namespace"},
                                                        {"torch._utils", "_rebuild_qtensor"},
                                                        {"collections", "defaultdict"}}) {
    EXPECT_ERROR(read(global(module, name) + "."), HasSubstr("it asks for " + module + '.' + name)) << name;
    EXPECT_ERROR(read(text(module) + text(name) + "\x93."), HasSubstr("it asks for " + module + '.' + name))
        << name;
  }
  EXPECT_ERROR(read("ctorch._utils\n_rebuild_tensor_v2.__globals__\n."), HasSubstr("not on the list"));
}

TEST(Pickle, InstructionsThatAreNotOnTheListAreRefusedByName) {
  const std::map<std::string, std::string> refused{
      {"\x81", "NEWOBJ"}, {"\x92", "NEWOBJ_EX"}, {"i", "INST"},   {"o", "OBJ"},       {"\x82", "EXT1"},
      {"\x83", "EXT2"},   {"\x84", "EXT4"},      {"P", "PERSID"}, {"\xff", "unknown"}};
  for (const auto& [op, name] : refused)
    EXPECT_ERROR(read("N" + op + "x\n."), HasSubstr("instruction " + name + " (")) << name;
}

// A TorchScript archive's modules are their states; of what else is to be made, nothing is.
TEST(Pickle, ModulesOfTorchScriptAreTheirStates) {
  const std::string made = global("__torch__.a.b", "Linear") + ")\x81";
  const auto document = read(made + "}" + text("training") + "\x89" + "sb.");
  ASSERT_EQ(document.root->kind, PickleNode::Kind::module);
  EXPECT_EQ(document.root->text, "__torch__.a.b.Linear");
  ASSERT_EQ(document.root->items.size(), 1u);
  EXPECT_EQ(document.root->items[0]->find("training")->integer, 0);
  EXPECT_TRUE(read(made + ".").root->items.empty());
  EXPECT_ERROR(read(made + "}b}b."), HasSubstr("BUILD"), HasSubstr("on a module is refused"));
  EXPECT_ERROR(read(global("__torch__", "A") + "N\x85\x81."), HasSubstr("instruction NEWOBJ"));
  EXPECT_ERROR(read(global("torch", "Size") + ")\x81."), HasSubstr("instruction NEWOBJ"));
  EXPECT_ERROR(read(global("__torch__", "A") + ")R."), HasSubstr("it calls __torch__.A"));
  EXPECT_ERROR(read(global("__torchx__", "A") + ")\x81."), HasSubstr("not on the list of names"));
}

// A type is a word, nothing to call.
TEST(Pickle, NamesOfTypesAreNotCalled) {
  EXPECT_EQ(read(global("torch", "FloatStorage") + ".").root->text, "torch.FloatStorage");
  EXPECT_ERROR(read(global("torch", "FloatStorage") + "K\x05\x85R."),
               HasSubstr("it calls torch.FloatStorage"), HasSubstr("nothing has been called"));
  EXPECT_ERROR(read(global("torch", "Tensor") + ")R."), HasSubstr("it calls torch.Tensor"));
}

// The state of anything else might be what its class makes of it.
TEST(Pickle, OnlyOrderedDictsHaveAState) {
  const std::string dict = global("collections", "OrderedDict") + ")R";
  EXPECT_EQ(read(dict + "}" + text("_metadata") + "Nsb.").root->kind, PickleNode::Kind::dict);
  for (const std::string& object :
       {std::string("}"), std::string("]"), std::string("N"), global("torch", "FloatStorage"),
        global("torch", "Size") + ")R", global("torch._utils", "_rebuild_parameter") + ")R"})
    EXPECT_ERROR(read(object + "}b."), HasSubstr("BUILD"), HasSubstr("is refused")) << object;
}

TEST(Pickle, ProtocolsAndFrames) {
  EXPECT_EQ(read("\x80\x05N.").root->kind, PickleNode::Kind::none);
  EXPECT_ERROR(read("\x80\x06N."), HasSubstr("protocol 6, expected at most 5"));
  EXPECT_EQ(read("\x95" + le<std::uint64_t>(2) + "N.").root->kind, PickleNode::Kind::none);
  EXPECT_ERROR(read("\x95" + le<std::uint64_t>(3) + "N."), HasSubstr("a frame of 3 bytes"));
  EXPECT_ERROR(read("\x95" + le<std::uint64_t>(UINT64_MAX) + "N."),
               HasSubstr("a frame of 18446744073709551615"));
}

TEST(Pickle, PersistentIdsAreKeptAndMeanNothingByThemselves) {
  const auto id = read(text("os.system") + "Q.");
  EXPECT_EQ(id.root->kind, PickleNode::Kind::persistent);
  EXPECT_ERROR(read("Q."), HasSubstr("BINPERSID"), HasSubstr("finds nothing to work on"));
}

TEST(Pickle, SetsAndBytes) {
  EXPECT_EQ(read("\x8f(K\x01K\x02\x90.").root->items.size(), 2u);
  EXPECT_EQ(read("(K\x01K\x02\x91.").root->kind, PickleNode::Kind::set);
  EXPECT_EQ(read("\x8e" + le<std::uint64_t>(2) + "ab.").root->text, "ab");
  EXPECT_EQ(read("\x96" + le<std::uint64_t>(2) + "ab.").root->kind, PickleNode::Kind::bytes);
  EXPECT_ERROR(read("\x8e" + le<std::uint64_t>(1ULL << 40) + "ab."), HasSubstr("a string of 1099511627776"));
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
  EXPECT_ERROR(read("\x8b" + le<std::uint32_t>(0xffffffffU) + "."),
               HasSubstr("an integer of 4294967295 bytes"));
  EXPECT_ERROR(read("\x8b" + le<std::uint32_t>(256) + std::string(256, 'x') + "."),
               HasSubstr("an integer of 256 bytes"));
  EXPECT_EQ(read("\x8b" + le<std::uint32_t>(255) + std::string(255, 'x') + ".").root->text.size(), 255u);
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
  EXPECT_ERROR(read(bomb + "N."), HasSubstr("more than 4194304 values"));
  EXPECT_ERROR(read(std::string(kMaxPickleValues + 1, 'N')), HasSubstr("more than 4194304 values"));
}

// Lists within lists, with marks or without, and one that contains itself: no recursion, no end of the stack.
TEST(Pickle, DeepAndCircularListsAreLists) {
  std::string deep = "]";
  for (int i = 0; i < 200'000; ++i) deep += "\x85";
  EXPECT_EQ(read(deep + ".").root->items.size(), 1u);
  std::string marked;
  for (std::size_t i = 0; i < kMaxPickleMarks; ++i) marked += '(';
  for (std::size_t i = 0; i < kMaxPickleMarks; ++i) marked += 'l';
  EXPECT_EQ(read(marked + ".").root->items.size(), 1u);
  const auto circle = read(std::string("]q\0h\0a.", 7));
  EXPECT_EQ(circle.root->items.at(0), circle.root);
}

// Each list holds the one before ten times: a few bytes for what would be 10^100 values if it were copied.
TEST(Pickle, ListsThatAreRepeatedAreNotCopied) {
  std::string laughs = "]q" + std::string(1, '\0') + "0";
  for (int i = 0; i < 100; ++i) {
    laughs += "](";
    for (int k = 0; k < 10; ++k) laughs += "h" + std::string(1, static_cast<char>(i));
    laughs += "eq" + std::string(1, static_cast<char>(i + 1)) + "0";
  }
  const auto document = read(laughs + "h\x64.");
  EXPECT_EQ(document.nodes.size(), 101u);
  EXPECT_EQ(document.root->items.size(), 10u);
}

// Places of the memo are no indices: the highest costs as much as the lowest.
TEST(Pickle, TheMemoHasRoomForAnyNumber) {
  EXPECT_EQ(read("K\x07r" + le<std::uint32_t>(0xffffffffU) + "0j" + le<std::uint32_t>(0xffffffffU) + ".")
                .root->integer,
            7);
  std::string bomb = "N";
  for (std::size_t i = 0; i < kMaxPickleValues; ++i) bomb += "q\x01";
  EXPECT_ERROR(read(bomb + "."), HasSubstr("more than 4194304 values"));
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

}  // namespace
}  // namespace morphvlm::pickle_test
