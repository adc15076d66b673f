#include "morphvlm/data/coco_folder.hpp"

#include <gtest/gtest.h>

#include "morphvlm/data/missing_images.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::coco_folder_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
using Strings = std::vector<std::string>;

TEST(CocoFolder, NamesOfBothReleases) {
  EXPECT_EQ(coco_image("coco/val2014", 42, CocoNaming::with_split),
            "coco/val2014/COCO_val2014_000000000042.jpg");
  EXPECT_EQ(coco_image("coco/test2015/", 999'999'999'999, CocoNaming::with_split),
            "coco/test2015/COCO_test2015_999999999999.jpg");
  EXPECT_EQ(coco_image("train2017", 9, CocoNaming::plain), "train2017/000000000009.jpg");
  EXPECT_ERROR(coco_image("x", 1'000'000'000'000, CocoNaming::plain), HasSubstr("no twelve digits"));
}

TEST(CocoFolder, ListsImagesById) {
  const ScratchFolder folder;
  for (const char* name : {"COCO_val2014_000000000042.jpg", "000000000009.jpg", "notes.txt", "short.jpg",
                           "00000000000x.jpg", "000000000011.png"})
    put(folder / name, "x");
  const auto images = list_coco_folder(folder.path);
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[0].image_id, 9);
  EXPECT_EQ(images[1].image_id, 42);
  EXPECT_EQ(images[1].image, folder / "COCO_val2014_000000000042.jpg");
  EXPECT_ERROR(list_coco_folder(folder / "none"), HasSubstr("none: expected a folder"));
  std::filesystem::create_directory(folder / "empty");
  EXPECT_ERROR(list_coco_folder(folder / "empty"), HasSubstr("no image"));
}

Json captions() {
  return {{"info", Json::object()},
          {"images",
           {{{"id", 42}, {"file_name", "COCO_val2014_000000000042.jpg"}, {"height", 3}},
            {{"id", 9}, {"file_name", "000000000009.jpg"}}}},
          {"annotations",
           {{{"image_id", 9}, {"id", 1}, {"caption", "A dog."}},
            {{"image_id", 42}, {"id", 2}, {"caption", "A cat "}},
            {{"image_id", 9}, {"id", 3}, {"caption", "Dogs."}}}}};
}

TEST(CocoFolder, Captions) {
  const ScratchFolder folder;
  const auto read = [&](const Json& json) {
    return read_coco_captions(put(folder / "captions_val2014.json", json.dump()), "val2014");
  };
  const auto data = read(captions());
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0].image, "val2014/COCO_val2014_000000000042.jpg");
  EXPECT_EQ(data[0].captions, Strings{"A cat "});
  EXPECT_EQ(data[1].captions, (Strings{"A dog.", "Dogs."}));
  Json wrong = captions();
  wrong["annotations"][2]["image_id"] = 7;
  EXPECT_ERROR(read(wrong), HasSubstr("annotations: row 2: image_id 7 is not among the images"));
  wrong = captions();
  wrong["images"][1]["id"] = 42;
  EXPECT_ERROR(read(wrong), HasSubstr("images: row 1: image 42 stands there twice"));
  wrong = captions();
  wrong["images"][0]["file_name"] = "../secret.jpg";
  EXPECT_ERROR(read(wrong), HasSubstr("row 0: key \"file_name\""));
  wrong = captions();
  wrong["images"][0]["id"] = 1e300;
  EXPECT_ERROR(read(wrong), HasSubstr("row 0: key \"id\": expected an integer"));
  wrong = captions();
  wrong["annotations"][0].erase("caption");
  EXPECT_ERROR(read(wrong), HasSubstr("annotations: row 0: key \"caption\" is missing"));
  wrong.erase("images");
  EXPECT_ERROR(read(wrong), HasSubstr("a list \"images\""));
  // A name that is longer than any file's is that of no file.
  Json longer = captions();
  longer["images"][0]["file_name"] = std::string(5000, 'x');
  EXPECT_EQ(missing_images(read(longer)).size(), 2u);
}

}  // namespace
}  // namespace morphvlm::coco_folder_test
