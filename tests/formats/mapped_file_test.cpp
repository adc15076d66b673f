#include "morphvlm/formats/mapped_file.hpp"

#include <ATen/ops/tensor.h>
#include <sys/stat.h>

#include "tests/formats/files.hpp"

namespace morphvlm::mapped_file_test {
namespace {

using testing::contents;
using ::testing::HasSubstr;
using testing::put;

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const testing::ScratchFolder folder;
  const auto map = map_file(put(folder / "a", std::string_view("x\0y", 3)));
  ASSERT_EQ(map->bytes.size(), 3U);
  EXPECT_EQ(std::memcmp(map->bytes.data(), "x\0y", 3), 0);
}

TEST(MappedFile, WritesStayInMemory) {
  const testing::ScratchFolder folder;
  const auto map = map_file(put(folder / "a", "abc"));
  map->bytes[0] = std::byte{'z'};
  EXPECT_EQ(contents(folder / "a"), "abc");
}

TEST(MappedFile, RefusesWhatIsNoFileWithContent) {
  const testing::ScratchFolder folder;
  EXPECT_ERROR(map_file(folder / "absent"), HasSubstr("absent: cannot be opened"), HasSubstr("No such file"));
  EXPECT_ERROR(map_file(folder.path), HasSubstr("expected a file, found a folder"));
  EXPECT_ERROR(map_file(put(folder / "empty", "")), HasSubstr("empty: the file is empty"));
}

TEST(MappedFile, RefusesAPipeWithoutWaitingForIt) {
  const testing::ScratchFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(map_file(folder / "pipe"), HasSubstr("expected a regular file"));
}

TEST(MappedTensor, IsTheMappedMemoryAndKeepsIt) {
  const testing::ScratchFolder folder;
  auto map = map_file(put(folder / "a", testing::le(1.5F) + testing::le(-2.0F)));
  const void* start = map->bytes.data();
  const Tensor t = mapped_tensor(map, map->bytes, {1, 2}, at::kFloat);
  const std::weak_ptr<const MappedFile> alive = map;
  map.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(t.const_data_ptr(), start);
  EXPECT_TRUE(t.equal(at::tensor({1.5F, -2.0F}).view({1, 2})));
}

TEST(MappedTensor, CopiesUnalignedData) {
  const testing::ScratchFolder folder;
  auto map = map_file(put(folder / "a", 'x' + testing::le(1.5F) + testing::le(-2.0F)));
  const Tensor t = mapped_tensor(map, map->bytes.subspan(1), {2}, at::kFloat);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % sizeof(float), 0U);
  EXPECT_TRUE(t.equal(at::tensor({1.5F, -2.0F})));
}

TEST(MappedTensor, MayBeEmpty) {
  const testing::ScratchFolder folder;
  auto map = map_file(put(folder / "a", "x"));
  EXPECT_EQ(mapped_tensor(map, map->bytes.last(0), {0, 3}, at::kFloat).sizes(),
            (std::vector<std::int64_t>{0, 3}));
}

}  // namespace
}  // namespace morphvlm::mapped_file_test
