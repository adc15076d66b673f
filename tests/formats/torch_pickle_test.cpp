// Files of torch.save against what torch put into them (tests/golden/torch_files.py), and files that are
// refused.
#include "morphvlm/formats/torch_pickle.hpp"

#include <ATen/ops/view_as_real.h>
#include <gtest/gtest.h>

#include <random>

#include "morphvlm/core/json.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::torch_pickle_test {
namespace {

using testing::contents;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::le;
using testing::put;
using testing::ScratchFolder;

std::filesystem::path fixture(const std::string& name) { return golden_path("torch_files") / name; }

const std::map<std::string, at::ScalarType> kTypes{{"float32", at::kFloat},
                                                   {"float64", at::kDouble},
                                                   {"float16", at::kHalf},
                                                   {"bfloat16", at::kBFloat16},
                                                   {"int64", at::kLong},
                                                   {"int32", at::kInt},
                                                   {"int16", at::kShort},
                                                   {"int8", at::kChar},
                                                   {"uint8", at::kByte},
                                                   {"bool", at::kBool},
                                                   {"uint16", at::kUInt16},
                                                   {"uint32", at::kUInt32},
                                                   {"uint64", at::kUInt64},
                                                   {"complex64", at::kComplexFloat},
                                                   {"complex128", at::kComplexDouble},
                                                   {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                   {"float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
                                                   {"float8_e5m2", at::kFloat8_e5m2},
                                                   {"float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
                                                   {"float8_e8m0fnu", at::kFloat8_e8m0fnu}};

void expect_written(const StateDict& found, const std::string& values_file = "expected.json") {
  const Json expected = read_json(fixture(values_file));
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, t] : found) {
    const Json& e = expected.at(name);
    EXPECT_EQ(t.scalar_type(), kTypes.at(e.at("dtype"))) << name;
    EXPECT_EQ(t.sizes().vec(), e.at("shape").get<std::vector<std::int64_t>>()) << name;
    const auto values = e.at("values").get<std::vector<double>>();
    const Tensor real = t.is_complex() ? at::view_as_real(t) : t;
    const Tensor flat = real.to(at::kDouble).reshape({-1}).contiguous();
    ASSERT_EQ(flat.numel(), std::ssize(values)) << name;
    for (std::int64_t i = 0; i < flat.numel(); ++i)
      EXPECT_EQ(flat.const_data_ptr<double>()[i], values[static_cast<std::size_t>(i)]) << name << ' ' << i;
  }
}

// As OpenAI published CLIP: the names, dtypes and shapes of torch.jit.load's state_dict, and the formula's
// numbers (tests/golden/torch_script.py). The code in it is compressed, and is not read.
TEST(TorchScript, ItsStateDict) {
  const auto golden = testing::open_golden("torch_script");
  const StateDict found = load_torch(golden_path("torch_script") / "ViT-small.pt");
  const Json& listed = golden.meta.at("listed");
  ASSERT_EQ(found.size(), listed.size());
  std::size_t halves = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& [name, t] = found[i];
    const auto of_name = std::ranges::find_if(listed, [&, n = name](const Json& e) { return e.at(0) == n; });
    ASSERT_NE(of_name, listed.end()) << name;
    EXPECT_EQ(t.scalar_type(), kTypes.at(of_name->at(1))) << name;
    EXPECT_EQ(t.sizes().vec(), of_name->at(2).get<std::vector<std::int64_t>>()) << name;
    if (t.scalar_type() != at::kHalf) continue;
    ++halves;
    const auto expected = testing::formula_state(Json::array({Json::array({name, of_name->at(2)})}));
    EXPECT_TRUE(t.equal(expected[0].second.to(at::kHalf))) << name;
  }
  EXPECT_EQ(halves, 7u);
  EXPECT_EQ(std::ranges::find(found, "input_resolution", &StateDict::value_type::first)
                ->second.item<std::int64_t>(),
            12);
}

TEST(TorchScript, IsNoCheckpointOfDicts) {
  const auto file = open_torch(golden_path("torch_script") / "ViT-small.pt");
  EXPECT_TRUE(is_torch_script(file));
  EXPECT_FALSE(is_torch_script(open_torch(fixture("plain.pt"))));
  EXPECT_ERROR(torch_state_dict(file, "model_state_dict"), HasSubstr("ViT-small.pt"),
               HasSubstr("expected a dict called \"model_state_dict\", found a TorchScript module"));
}

// Flipping any byte of its pickle is refused with an Error or read, and nothing else.
TEST(TorchScript, DamagedPickles) {
  const std::string bytes = contents(golden_path("torch_script") / "ViT-small.pt");
  const ScratchFolder folder;
  const auto begin = bytes.find("__torch__\n");
  ASSERT_NE(begin, bytes.npos);
  std::size_t refused = 0;
  for (std::size_t at = begin; at < begin + 1500; at += 7) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x15);
    refused += !testing::error_text([&] { load_torch(put(folder / "a.pt", damaged)); }).empty();
  }
  EXPECT_GT(refused, 200u);  // the checksum of data.pkl
}

TEST(TorchFile, PresentFormat) { expect_written(load_torch(fixture("plain.pt"))); }
TEST(TorchFile, OlderFormat) { expect_written(load_torch(fixture("legacy.pt"))); }
TEST(TorchFile, NewerPickleProtocol) { expect_written(load_torch(fixture("protocol4.pt"))); }

// Every dtype, tensors with attributes, dicts in the dict; what is no tensor is left out.
TEST(TorchFile, RareTensors) {
  for (const auto* name : {"rare2.pt", "rare5.pt"}) expect_written(load_torch(fixture(name)), "rare.json");
}

TEST(TorchFile, ModulesAndParameters) {
  for (const auto* name : {"module.bin", "parameters.pth", "no_checksums.pt"}) {
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
               HasSubstr("expected a dict called \"state_dict\"; the keys there: epoch, model_state_dict"));
  EXPECT_ERROR(torch_state_dict(file, "epoch"), HasSubstr("expected a dict called \"epoch\""));
  EXPECT_ERROR(torch_state_dict(file), HasSubstr("no tensor; its keys: epoch, "));
}

// A dict within a dict, and numbers beside the tensors.
TEST(TorchFile, AnOptimizersState) {
  const TorchFile file = open_torch(fixture("training.pt"));
  const auto& optimizer = torch_dict(file, *file.document.root, "optimizer_state_dict");
  EXPECT_ERROR(torch_state_dict(file, optimizer), HasSubstr("no tensor; its keys: state, param_groups"));
  const auto& state = torch_dict(file, optimizer, "state");
  ASSERT_EQ(state.items.size(), 4u);
  EXPECT_EQ(state.items[0]->integer, 0);
  const StateDict moments = torch_state_dict(file, *state.items[1]);
  ASSERT_EQ(moments.size(), 3u);
  EXPECT_EQ(moments[0].first, "step");
  EXPECT_EQ(moments[0].second.item<double>(), 1);
  EXPECT_EQ(moments[1].first, "exp_avg");
  const auto& groups = *optimizer.find("param_groups");
  EXPECT_EQ(groups.items.at(0)->find("lr")->real, 1e-3);
}

// In the older form storages lie where they happen to lie, and are copied; once, all the same.
TEST(TorchFile, ViewsOfOneStorageShareItHereToo) {
  for (const auto* name : {"plain.pt", "legacy.pt"}) {
    std::map<std::string, Tensor> dict;
    for (const auto& [key, t] : load_torch(fixture(name))) dict.emplace(key, t);
    EXPECT_TRUE(dict.at("rows").is_alias_of(dict.at("column"))) << name;
    EXPECT_TRUE(dict.at("rows").is_alias_of(dict.at("transposed"))) << name;
    EXPECT_FALSE(dict.at("rows").is_alias_of(dict.at("matrix"))) << name;
    EXPECT_EQ(dict.at("rows").storage_offset(), 8) << name;
    EXPECT_EQ(dict.at("transposed").strides().vec(), (std::vector<std::int64_t>{1, 4})) << name;
  }
}

TEST(TorchFile, MarksOfValuesThatAreStoredOtherwiseAreRefused) {
  EXPECT_ERROR(load_torch(fixture("conjugate.pt")),
               HasSubstr("turned: a tensor that is stored with the mark \"conj\""));
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
  for (const auto* name : {"plain.pt", "legacy.pt", "parameters.pth"}) {
    const auto path = put(folder / "cut.pt", contents(fixture(name)));
    for (auto size = std::filesystem::file_size(path) - 1; size > 0; --size) {
      std::filesystem::resize_file(path, size);
      EXPECT_ERROR(load_torch(path), HasSubstr("cut.pt")) << name << " cut at " << size;
    }
  }
}

// Bytes changed at random: an Error or tensors within the file, nothing else (the sanitizers watch).
TEST(TorchFile, DamagedAnywhere) {
  const ScratchFolder folder;
  std::mt19937 random(7);
  // The first states no checksums, which would notice most of it.
  for (const auto* name : {"no_checksums.pt", "legacy.pt", "rare5.pt"}) {
    const std::string whole = contents(fixture(name));
    for (int i = 0; i < 400; ++i) {
      std::string damaged = whole;
      for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
      const auto path = put(folder / "damaged.pt", damaged);
      try {
        for (const auto& [key, t] : load_torch(path)) EXPECT_EQ(t.clone().numel(), t.numel());
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr("damaged.pt"));
      }
    }
  }
}

/// `whole` with its only `from` replaced.
std::string replaced(std::string whole, const std::string& from, const std::string& to) {
  const auto at = whole.find(from);
  EXPECT_NE(at, whole.npos);
  EXPECT_EQ(whole.find(from, at + 1), whole.npos) << from;
  return whole.replace(at, from.size(), to);
}

struct EditedTorchFile : ::testing::Test {
  ScratchFolder folder;

  StateDict load(const std::string& name, const std::string& from, const std::string& to) const {
    return load_torch(put(folder / "edited.pt", replaced(contents(fixture(name)), from, to)));
  }
};

TEST_F(EditedTorchFile, OtherMachinesAndVersionsAreRefused) {
  EXPECT_ERROR(load("no_checksums.pt", "little", "biggie"),
               HasSubstr("byte order: expected little, found biggie"));
  EXPECT_ERROR(load("no_checksums.pt", "3\nPK", "0\nPK"),
               HasSubstr("format version: expected 1 to 10, found 0"));
  EXPECT_ERROR(load("no_checksums.pt", "3\nPK", "x\nPK"), HasSubstr("format version"));
  const auto key = std::string("little_endian") + "q\x02";
  EXPECT_ERROR(load("legacy.pt", key + "\x88", key + "\x89"), HasSubstr("big-endian"));
  EXPECT_ERROR(load("legacy.pt", "M\xe9\x03.", "M\xea\x03."), HasSubstr("protocol version 1001, found 1002"));
}

TEST_F(EditedTorchFile, ADamagedPickleIsNoticedByItsChecksum) {
  EXPECT_ERROR(load("module.bin", "OrderedDict", "OrderedDucks"), HasSubstr("edited.pt"));
  EXPECT_ERROR(load("module.bin", "_metadata", "_metadatA"),
               HasSubstr("module/data.pkl\" is damaged: its checksum differs"));
}

TEST_F(EditedTorchFile, StoragesOfTheOlderFormAreCounted) {
  const std::string six = le<std::int64_t>(6);
  const std::string whole = contents(fixture("parameters.pth"));
  const auto at = whole.find(six);
  ASSERT_NE(at, whole.npos);
  for (const std::int64_t wrong :
       {std::int64_t{5}, std::int64_t{7}, std::int64_t{-1}, std::int64_t{1} << 40, INT64_MAX}) {
    std::string edited = whole;
    edited.replace(at, 8, le(wrong));
    EXPECT_ERROR(load_torch(put(folder / "edited.pt", edited)), HasSubstr("edited.pt")) << wrong;
  }
}

TEST_F(EditedTorchFile, OtherFilesAreNoneOfTorch) {
  for (const std::string other :
       {"GGUF and more", "{}", "\x80\x02K\x01.", "Nothing of that kind at all, but longer"})
    EXPECT_ERROR(load_torch(put(folder / "other.bin", other)),
                 HasSubstr("neither a zip archive nor a file of torch.save"));
}

}  // namespace
}  // namespace morphvlm::torch_pickle_test
