// A model of the paper's real size: built, written, read back and run. Needs 3.2 GB of disk and twice that of
// memory.
#include <gtest/gtest.h>

#include <sys/statvfs.h>

#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/model.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::full_size_test {
namespace {

TEST(FullSize, BioGPTLargeInBf16GoesToDiskAndBackAndReadsOneToken) {
  const testing::ScratchFolder folder;
  struct statvfs disk = {};
  ASSERT_EQ(::statvfs(folder.path.c_str(), &disk), 0);
  if (disk.f_bavail * disk.f_frsize < (std::uint64_t{4} << 30))
    GTEST_SKIP() << "less than 4 GiB free in " << folder.path;

  const auto file = folder / "biogpt_large.safetensors";
  const Tensor ids = at::full({1, 1}, 2, at::kLong);
  const auto logits_of = [&](const auto& model) {
    at::NoGradGuard no_grad;
    const DecoderContext context = model.context(ids, {}, nullptr);
    return model.logits(model.layers(model.embed(ids, context), context, nullptr, NoHook{}, 0, 48));
  };
  Tensor before;
  {
    const auto model =
        BioGPTModel<NoAdapter>::init(presets::biogpt_large, {at::kBFloat16, make_generator(1)});
    before = logits_of(model);
    save_safetensors(file, state_dict(model));
  }
  EXPECT_GT(std::filesystem::file_size(file), 2 * 1'571'188'800ULL);
  auto model = BioGPTModel<NoAdapter>::init(presets::biogpt_large,
                                            {at::TensorOptions(at::kBFloat16).device(at::kMeta)});
  load_state_dict(model, load_safetensors(file), file.string());
  const Tensor after = logits_of(model);
  EXPECT_TRUE(after.isfinite().all().item<bool>());
  EXPECT_TRUE(after.equal(before));
}

}  // namespace
}  // namespace morphvlm::full_size_test
