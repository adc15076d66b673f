// preprocess_folder.hpp: what transformers' and open_clip's files say about pixels.
#include "morphvlm/image/preprocess_folder.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/data_support.hpp"

namespace morphvlm::preprocess_folder_test {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

ClipPreprocess from(const char* name, const std::string& text) {
  const auto folder = testing::scratch_folder();
  if (*name) testing::write_file_text(folder / name, text);
  return read_preprocess(folder, {.size = 28});
}

constexpr const char *kHf = "preprocessor_config.json", *kOpenClip = "open_clip_config.json";

TEST(PreprocessFolder, WithoutAFileItIsTheFallback) {
  const auto p = from("", "");
  EXPECT_EQ(p.size, 28);
  EXPECT_EQ(p.resize, 0);
  EXPECT_FALSE(p.whole_image);
  EXPECT_EQ(p.mean, ClipPreprocess{}.mean);
  EXPECT_EQ(from(kOpenClip, R"({"model_cfg": {}})").size, 28);
}

TEST(PreprocessFolder, ClipsOfTwoVersions) {
  for (const char* text : {R"({"do_center_crop": true, "crop_size": 224, "size": 224, "resample": 3,
                              "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]})",
                           R"({"do_center_crop": true, "crop_size": {"height": 224, "width": 224},
                              "size": {"shortest_edge": 224}, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]})"}) {
    const auto p = from(kHf, text);
    EXPECT_EQ(p.size, 224);
    EXPECT_EQ(p.resize, 224);
    EXPECT_FALSE(p.whole_image);
    EXPECT_THAT(p.mean, ElementsAre(0.1, 0.2, 0.3));
    EXPECT_THAT(p.std, ElementsAre(1, 2, 3));
  }
}

TEST(PreprocessFolder, DinoCutsASmallerSquareAndSiglipNone) {
  const auto dino =
      from(kHf, R"({"crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 256}})");
  EXPECT_EQ(dino.size, 224);
  EXPECT_EQ(dino.resize, 256);
  const auto siglip = from(kHf, R"({"size": {"height": 384, "width": 384}, "resample": 3})");
  EXPECT_EQ(siglip.size, 384);
  EXPECT_TRUE(siglip.whole_image);
}

TEST(PreprocessFolder, OpenClips) {
  const auto p = from(kOpenClip, R"({"preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "resize_mode": "squash"}})");
  EXPECT_THAT(p.mean, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_EQ(p.std, ClipPreprocess{}.std);
  EXPECT_TRUE(p.whole_image);
}

TEST(PreprocessFolder, RefusesWhatIsNotDoneHere) {
  const auto message = [](const char* name, const char* text) { return error_of([&] { from(name, text); }); };
  EXPECT_THAT(message(kHf, R"({"resample": 2, "size": 5})"), HasSubstr("resample: expected 3, found 2"));
  EXPECT_THAT(message(kHf, R"({"do_normalize": false})"), HasSubstr("do_normalize: expected true"));
  EXPECT_THAT(message(kHf, R"({"image_mean": [1, 2]})"), HasSubstr("image_mean: expected 3 values"));
  EXPECT_THAT(message(kHf, R"({"size": {"height": 3, "width": 4}})"), HasSubstr("expected a square"));
  EXPECT_THAT(message(kHf, R"({"size": {"shortest_edge": 3}})"), HasSubstr("a height and a width"));
  EXPECT_THAT(message(kHf, R"({"crop_size": 3, "size": {"height": 4, "width": 4}})"),
              HasSubstr("short side"));
  EXPECT_THAT(message(kHf, R"({"size": "x"})"), HasSubstr("preprocessor_config.json: size"));
  for (const char* side : {"0", "-5", "4097", "9223372036854775807"})
    EXPECT_THAT(
        message(kHf, (R"({"size": {"shortest_edge": 8}, "crop_size": )" + std::string(side) + "}").c_str()),
        HasSubstr("crop_size: expected 1 to 4096 pixels, found " + std::string(side)));
  EXPECT_THAT(message(kHf, R"({"size": {"height": 18446744073709551615, "width": 1}})"),
              HasSubstr("preprocessor_config.json: size: key \"height\": expected an integer"));
  EXPECT_THAT(message(kOpenClip, R"({"preprocess_cfg": 3})"), HasSubstr("expected an object"));
  EXPECT_THAT(message(kOpenClip, R"({"preprocess_cfg": {"resize_mode": "longest"}})"),
              HasSubstr("resize_mode"));
  EXPECT_THAT(message(kOpenClip, R"({"preprocess_cfg": {"interpolation": "bilinear"}})"),
              HasSubstr("bicubic"));
}

TEST(PreprocessPixels, SquareCutsAreCutAndWholeImagesAreNot) {
  const Image wide{at::arange(12 * 20 * 3, at::kInt).remainder(251).to(at::kByte).view({12, 20, 3})};
  const ClipPreprocess plain{.size = 6, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  ClipPreprocess cut = plain, whole = plain;
  cut.resize = 8;
  whole.whole_image = true;
  const auto expect_equal = [](const Tensor& pixels, const Tensor& image) {
    EXPECT_TRUE(at::equal(pixels, image.permute({2, 0, 1}).to(at::kFloat).div(255)));
  };
  expect_equal(clip_pixels(wide, whole), resize_bicubic(wide, 6, 6).pixels);
  const Tensor resized =
      resize_bicubic(wide, 8, 13).pixels;  // 20 * 8 / 12 = 13; (13 - 6) / 2 = 3.5 is cut at 4
  expect_equal(clip_pixels(wide, cut), resized.slice(0, 1, 7).slice(1, 4, 10));
  cut.resize = 5;
  EXPECT_THAT(error_of([&] { clip_pixels(wide, cut); }), HasSubstr("cannot cut 6 pixels out of 5"));
}

}  // namespace
}  // namespace morphvlm::preprocess_folder_test
