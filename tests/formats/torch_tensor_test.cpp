// What a pickle says of tensors, made byte by byte: each must stay within its storage.
#include "morphvlm/formats/torch_tensor.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "morphvlm/formats/torch_pickle.hpp"
#include "tests/formats/files.hpp"
#include "tests/formats/pickle_parts.hpp"

namespace morphvlm::torch_tensor_test {
namespace {

using namespace std::string_literals;
using testing::global;
using ::testing::HasSubstr;
using testing::le;
using testing::put;
using testing::read;
using testing::ScratchFolder;
using testing::text;

// One storage, "0", of 24 bytes.
struct TorchTensor : ::testing::Test {
  const std::string zero = "K\0"s, v2 = global("torch._utils", "_rebuild_tensor_v2");
  const std::string huge = "\x8a\x08" + le<std::int64_t>(INT64_MAX);
  std::string untyped =
      "(" + text("storage") + global("torch.storage", "UntypedStorage") + text("0") + text("cpu") + "K\x18tQ";
  ScratchFolder folder;
  std::vector<std::byte> memory = std::vector<std::byte>(24);
  TorchFile file{.where = "test.pt", .storages = {{"0", memory}}, .map = map_file(put(folder / "x", "x"))};

  static std::string storage(const std::string& type, const std::string& elements = "K\x06",
                             const std::string& key = "0") {
    return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + elements + "tQ";
  }
  Tensor made(const std::string& bytes) {
    file.document = read(bytes);
    return detail::TensorRebuilder(file).rebuild(*file.document.root, "w");
  }
  Tensor rebuild(const std::string& offset, const std::string& size, const std::string& stride,
                 const std::string& elements = "K\x06") {
    return made(v2 + "(" + storage("FloatStorage", elements) + offset + size + stride + "\x89NtR.");
  }
};

TEST_F(TorchTensor, NoTensorReachesBeyondItsStorage) {
  EXPECT_EQ(rebuild(zero, "K\x02K\x03\x86", "K\x03K\x01\x86").numel(), 6);
  EXPECT_ERROR(rebuild("K\x01", "K\x02K\x03\x86", "K\x03K\x01\x86"), HasSubstr("beyond its storage of 6"));
  EXPECT_ERROR(rebuild(zero, "K\x07\x85", "K\x01\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, "J" + le<std::int32_t>(-1) + "\x85", "K\x01\x85"), HasSubstr("integers from 0"));
  EXPECT_ERROR(rebuild(huge, "K\x02\x85", "K\x01\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", huge + "\x85"), HasSubstr("beyond its storage"));
  EXPECT_ERROR(rebuild(zero, huge + huge + "\x86", zero + zero + "\x86"), HasSubstr("do not go together"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", ")"), HasSubstr("do not go together"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", "K\x01\x85", "K\x07"),
               HasSubstr("expected 7 elements of 4 bytes, found 24"));
  EXPECT_ERROR(rebuild(zero, "K\x02\x85", "K\x01\x85", huge), HasSubstr("elements of 4 bytes"));
}

TEST_F(TorchTensor, AnEmptyTensorTakesNothing) {
  EXPECT_EQ(rebuild("K\x06", "K\x02K\0\x86"s, "K\x03K\x01\x86").numel(), 0);
  EXPECT_EQ(rebuild(zero, "K\x02K\0\x86"s, huge + huge + "\x86").numel(), 0);
  EXPECT_ERROR(rebuild("K\x07", "K\0\x85"s, "K\x01\x85"), HasSubstr("beyond its storage"));
}

TEST_F(TorchTensor, WhatIsNoStorageIsRefused) {
  const auto shape = zero + "K\x01\x85" + "K\x01\x85";
  for (const std::string& other :
       {"N"s, text("storage"), ")"s, ")Q"s, text("storage") + "Q",
        "(" + text("module") + global("torch", "FloatStorage") + text("0") + text("cpu") + "K\x06tQ",
        "(" + text("storage") + text("torch.FloatStorage") + text("0") + text("cpu") + "K\x06tQ",
        "(" + text("storage") + global("torch", "FloatStorage") + "K\0"s + text("cpu") + "K\x06tQ",
        "(" + text("storage") + global("torch", "FloatStorage") + text("0") + text("cpu") + "K\x06K\x01tQ"})
    EXPECT_ERROR(made(v2 + "(" + other + shape + "\x89NtR."), HasSubstr("expected")) << other;
  EXPECT_ERROR(made(v2 + "(" + storage("float32") + shape + "\x89NtR."),
               HasSubstr("expected a type, found a name torch.float32"));
  EXPECT_ERROR(made(v2 + "(" + storage("FloatStorage", "K\x06", "1") + shape + "\x89NtR."),
               HasSubstr("storage \"1\" is not in the file"));
  EXPECT_ERROR(made(v2 + ")R."), HasSubstr("expected storage, offset, size and stride"));
}

// Version 3 counts bytes and names the type of the elements.
TEST_F(TorchTensor, UntypedStorages) {
  const auto v3 = [&](const std::string& type, const std::string& size) {
    return made(global("torch._utils", "_rebuild_tensor_v3") + "(" + untyped + zero + size +
                "\x85K\x01\x85\x89N" + type + "tR.");
  };
  EXPECT_EQ(v3(global("torch", "uint16"), "K\x0c").scalar_type(), at::kUInt16);
  EXPECT_ERROR(v3(global("torch", "uint16"), "K\x0d"), HasSubstr("beyond its storage of 12"));
  EXPECT_EQ(v3(global("torch", "complex128"), "K\x01").numel(), 1);
  EXPECT_ERROR(v3(global("torch", "complex128"), "K\x02"), HasSubstr("beyond its storage of 1 "));
  EXPECT_ERROR(v3(global("torch", "FloatStorage"), "K\x01"),
               HasSubstr("expected a type, found a name torch.FloatStorage"));
  EXPECT_ERROR(v3(text("torch.uint16"), "K\x01"), HasSubstr("expected a type, found a string"));
}

TEST_F(TorchTensor, ABoolIsNeitherMoreNorLess) {
  const auto tensor = v2 + "(" + storage("BoolStorage", "K\x18") + zero + "K\x01\x85K\x01\x85\x89NtR.";
  EXPECT_EQ(made(tensor).scalar_type(), at::kBool);
  memory[20] = std::byte{2};
  EXPECT_ERROR(made(tensor), HasSubstr("a bool is neither 0 nor 1"));
}

TEST_F(TorchTensor, AroundATensorIsATensor) {
  const auto tensor = v2 + "(" + storage("FloatStorage") + zero + "K\x02\x85K\x01\x85\x89NtR";
  const auto parameter = global("torch._utils", "_rebuild_parameter");
  EXPECT_EQ(made(parameter + "(" + tensor + "\x88NtR.").numel(), 2);
  EXPECT_ERROR(made(parameter + "(" + parameter + "(" + tensor + "\x88NtR\x88NtR."),
               HasSubstr("expected a parameter's tensor"));
  EXPECT_ERROR(made(parameter + ")R."), HasSubstr("expected a parameter's tensor"));
  const auto typed = [&](const std::string& function, const std::string& type) {
    return made(global("torch._tensor", "_rebuild_from_type_v2") + "(" + function + type + "(" +
                storage("FloatStorage") + zero + "K\x02\x85K\x01\x85\x89Nt}tR.");
  };
  EXPECT_EQ(typed(v2, global("torch", "Tensor")).numel(), 2);
  EXPECT_ERROR(typed(v2, global("torch", "Size")), HasSubstr("a tensor with attributes of its own"));
  EXPECT_ERROR(typed(parameter, global("torch", "Tensor")), HasSubstr("a tensor with attributes of its own"));
}

TEST_F(TorchTensor, DictsThatContainThemselvesAreRefused) {
  const auto tensor = text("w") + v2 + "(" + storage("FloatStorage") + zero + "K\x02\x85K\x01\x85\x89NtR";
  const auto dict = [&](const std::string& bytes) {
    file.document = read(bytes);
    return torch_state_dict(file);
  };
  EXPECT_EQ(dict("}(" + tensor + text("a") + "}(" + tensor + "uu.").at(1).first, "a.w");
  EXPECT_ERROR(dict("}q\0("s + tensor + text("a") + "h\0u."s), HasSubstr("stands in two places"));
  EXPECT_ERROR(dict("}(" + tensor + text("a") + "}q\0"s + text("b") + "h\0u."s),
               HasSubstr("\"b.\" stands in two places"));
  EXPECT_ERROR(dict("}(" + tensor + tensor + "u."), HasSubstr("tensor \"w\" is there twice"));
  std::string deep = "}(" + tensor, end = "u";
  for (int i = 0; i < 100; ++i) deep += text("a") + "}(", end += "u";
  EXPECT_ERROR(dict(deep + end + "."), HasSubstr("dicts nested deeper than 64"));
}

}  // namespace
}  // namespace morphvlm::torch_tensor_test
