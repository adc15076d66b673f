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

/// What a folder with these files, {name, text}, says.
ClipPreprocess from(std::initializer_list<std::pair<const char*, std::string>> files) {
  const auto folder = testing::scratch_folder();
  for (const auto& [name, text] : files) testing::write_file_text(folder / name, text);
  return read_preprocess(folder, {.size = 28});
}

ClipPreprocess from(const char* name, const std::string& text) {
  if (!*name) return from({});
  return from({{name, text}});
}

constexpr const char *kHf = "preprocessor_config.json", *kOpenClip = "open_clip_config.json",
                     *kProcessor = "processor_config.json", *kConfig = "config.json";

/// An image processor's file, these keys in the place of its own.
std::string siglip_with(const Json& keys) {
  Json json = read_json(testing::golden_file("images_modes.json")).at("saved").at("siglip").at("json");
  json = json.at("image_processor");
  for (const auto& [key, value] : keys.items()) json[key] = value;
  return json.dump();
}

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

TEST(PreprocessFolder, FilesAsTransformersSavesThem) {
  const Json saved = read_json(testing::golden_file("images_modes.json")).at("saved");
  const auto read = [&](const char* name) {
    const Json& processor = saved.at(name);
    return from(processor.at("file").get<std::string>().c_str(), processor.at("json").dump());
  };
  EXPECT_EQ(saved.at("siglip").at("file"), kProcessor);
  EXPECT_EQ(saved.at("dinov2").at("file"), kHf);
  const auto siglip = read("siglip"), clip = read("clip"), dino = read("dinov2");
  EXPECT_EQ(siglip.size, 384);
  EXPECT_TRUE(siglip.whole_image);
  EXPECT_THAT(siglip.mean, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_THAT(siglip.std, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_EQ(clip.size, 336);
  EXPECT_EQ(clip.resize, 336);
  EXPECT_EQ(clip.mean, ClipPreprocess{}.mean);
  EXPECT_EQ(dino.size, 224);
  EXPECT_EQ(dino.resize, 256);
  EXPECT_THAT(dino.mean, ElementsAre(0.485, 0.456, 0.406));
  for (const auto& p : {siglip, clip, dino}) {
    EXPECT_EQ(p.steps, PixelSteps::transformers);
    EXPECT_EQ(p.white, 255);
    EXPECT_TRUE(p.convert_rgb);
    EXPECT_EQ(p.filter, ResizeFilter::bicubic);
  }
}

TEST(PreprocessFolder, WhatAFileLeavesOutIsItsClassOrItsModels) {
  const Json classes = read_json(testing::golden_file("images_modes.json")).at("defaults");
  const auto expect_class = [](const ClipPreprocess& p, const Json& expected) {
    EXPECT_EQ(p.mean, expected.at("image_mean").get<std::vector<double>>());
    EXPECT_EQ(p.std, expected.at("image_std").get<std::vector<double>>());
    EXPECT_EQ(p.whole_image, expected.at("do_center_crop") != true);
    EXPECT_EQ(p.size, 224);
    EXPECT_EQ(p.resize, p.whole_image ? 0 : expected.at("size").at("shortest_edge").get<std::int64_t>());
    EXPECT_EQ(p.white, 1 / expected.at("rescale_factor").get<double>());
    EXPECT_EQ(p.filter, ResizeFilter::bicubic);
    EXPECT_EQ(expected.at("resample"), 3);
  };
  ASSERT_EQ(classes.size(), 3u);
  for (const auto& [name, expected] : classes.items()) {
    expect_class(from(kHf, Json{{"image_processor_type", name}}.dump()), expected);
    expect_class(from(kHf, Json{{"image_processor_type", name + "Fast"}}.dump()), expected);
  }
  expect_class(from(kHf, R"({"feature_extractor_type": "CLIPFeatureExtractor"})"),
               classes.at("CLIPImageProcessor"));
  for (const auto& [model, name] : {std::pair{"clip", "CLIPImageProcessor"},
                                    {"clip_vision_model", "CLIPImageProcessor"},
                                    {"siglip", "SiglipImageProcessor"},
                                    {"siglip_vision_model", "SiglipImageProcessor"},
                                    {"dinov2", "BitImageProcessor"}})
    expect_class(from({{kConfig, Json{{"model_type", model}}.dump()}, {kHf, "{}"}}), classes.at(name));
  EXPECT_THAT(error_of([] { from(kHf, R"({"image_processor_type": "ViTImageProcessor"})"); }),
              HasSubstr("image_processor_type: expected one of CLIPImageProcessor, SiglipImageProcessor, "
                        "BitImageProcessor, found \"ViTImageProcessor\""));
}

TEST(PreprocessFolder, WithoutAFileItIsTheTowersOwn) {
  const auto bare = [](const char* model) { return from(kConfig, Json{{"model_type", model}}.dump()); };
  const auto siglip = bare("siglip_vision_model"), clip = bare("clip");
  EXPECT_EQ(siglip.size, 28);
  EXPECT_TRUE(siglip.whole_image);
  EXPECT_THAT(siglip.mean, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_EQ(clip.size, 28);
  EXPECT_EQ(clip.resize, 28);
  EXPECT_EQ(clip.mean, ClipPreprocess{}.mean);
  EXPECT_EQ(clip.steps, PixelSteps::transformers);
  EXPECT_THAT(error_of([&] { bare("dinov2"); }), HasSubstr("preprocessor_config.json: missing"));
  EXPECT_THAT(error_of([&] { bare("vit"); }), HasSubstr("config.json: model_type: no image processor"));
  // Processors of before version 5 keep their pictures in the other file.
  EXPECT_EQ(from({{kProcessor, R"({"processor_class": "SiglipProcessor"})"}, {kHf, siglip_with({})}}).size,
            384);
  EXPECT_THAT(error_of([] { from(kProcessor, R"({"image_processor": 3})"); }),
              HasSubstr("processor_config.json: image_processor: expected an object"));
}

TEST(PreprocessFolder, TheTowersLibraryGoesFirst) {
  const auto p =
      from({{kOpenClip, R"({"preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}})"}, {kHf, siglip_with({})}});
  EXPECT_EQ(p.size, 28);
  EXPECT_EQ(p.steps, PixelSteps::open_clip);
  EXPECT_THAT(p.mean, ElementsAre(0.1, 0.2, 0.3));
  const auto processor = from({{kProcessor, Json{{"image_processor", Json::parse(siglip_with({}))}}.dump()},
                               {kHf, siglip_with({{"size", {{"height", 8}, {"width", 8}}}})}});
  EXPECT_EQ(processor.size, 384);
}

TEST(PreprocessFolder, HonoursWhatChangesPixels) {
  const auto hf = [](const Json& keys) { return from(kHf, siglip_with(keys)); };
  EXPECT_EQ(hf({{"rescale_factor", 1 / 127.5}}).white, 127.5);
  EXPECT_EQ(hf({{"resample", 2}}).filter, ResizeFilter::bilinear);
  EXPECT_FALSE(hf({{"do_convert_rgb", false}}).convert_rgb);
  EXPECT_FALSE(hf({{"do_convert_rgb", nullptr}}).convert_rgb);
  EXPECT_THAT(hf({{"image_mean", 0.25}}).mean, ElementsAre(0.25, 0.25, 0.25));
  EXPECT_EQ(hf({{"size", {30, 30}}}).size, 30);
  EXPECT_EQ(hf({{"size", 30}, {"default_to_square", true}}).size, 30);
  const auto cut = hf({{"size", 30}, {"do_center_crop", true}, {"crop_size", 20}});
  EXPECT_EQ(cut.resize, 30);
  EXPECT_EQ(cut.size, 20);
  EXPECT_TRUE(hf({{"do_center_crop", nullptr}, {"crop_size", nullptr}}).whole_image);
  EXPECT_TRUE(hf({{"do_center_crop", false}, {"crop_size", 20}}).whole_image);
  EXPECT_NO_THROW(hf({{"do_pad", false}, {"do_flip_channel_order", nullptr}, {"do_new_thing", false}}));
  const auto open_clip = [](const Json& keys) {
    return from(kOpenClip, Json{{"preprocess_cfg", keys}}.dump());
  };
  EXPECT_EQ(open_clip({{"interpolation", "bilinear"}}).filter, ResizeFilter::bilinear);
  EXPECT_EQ(open_clip({{"interpolation", "random"}}).filter, ResizeFilter::bicubic);
  EXPECT_THAT(open_clip({{"std", 0.5}, {"mean", nullptr}}).std, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_EQ(open_clip({{"size", 99}, {"mode", "RGB"}, {"fill_color", 3}}).size, 28);
  EXPECT_FALSE(open_clip({{"resize_mode", nullptr}}).whole_image);
}

// Each key of the lists that decides something, with a value that it cannot have, is an error that names it.
TEST(PreprocessFolder, EveryKeyIsNamedWhereItsValueIsWrong) {
  const Json wrong = {{"neither", "this"}};
  const auto expect_named = [&](std::span<const FileKey> keys, const auto& read) {
    for (const FileKey& key : keys) {
      const Json json = {{std::string(key.name), wrong}};
      if (key.use == KeyUse::ignored) {
        EXPECT_NO_THROW(read(json)) << key.name;
      } else {
        EXPECT_THAT(error_of([&] { read(json); }), HasSubstr(std::string(key.name))) << key.name;
      }
    }
  };
  expect_named(kImageProcessorKeys, [](const Json& keys) {
    Json all = Json::parse(siglip_with({}));
    all.erase("image_processor_type");  // before which its older spelling does not count
    for (const auto& [key, value] : keys.items()) all[key] = value;
    from(kHf, all.dump());
  });
  expect_named(kProcessorConfigKeys, [](const Json& keys) {
    Json all = {{"image_processor", Json::parse(siglip_with({}))}};
    for (const auto& [key, value] : keys.items()) all[key] = value;
    from(kProcessor, all.dump());
  });
  expect_named(kOpenClipPreprocessKeys, [](const Json& keys) {
    from(kOpenClip, Json{{"preprocess_cfg", keys}}.dump());
  });
}

TEST(PreprocessFolder, RefusesStepsThatAreNotDoneHere) {
  const auto message = [](const Json& keys) { return error_of([&] { from(kHf, siglip_with(keys)); }); };
  EXPECT_THAT(message({{"do_flip_channel_order", true}}),
              HasSubstr("preprocessor_config.json: do_flip_channel_order: expected false, found true"));
  EXPECT_THAT(message({{"do_pad", true}}), HasSubstr("do_pad: expected false, found true"));
  EXPECT_THAT(message({{"do_new_thing", true}}), HasSubstr("do_new_thing: unknown step, found true"));
  EXPECT_THAT(message({{"do_resize", nullptr}}), HasSubstr("do_resize: expected true, found null"));
  EXPECT_THAT(message({{"rescale_factor", 0}}), HasSubstr("rescale_factor: expected a number above 0"));
  EXPECT_THAT(message({{"rescale_factor", 1e300}}), HasSubstr("rescale_factor"));
  EXPECT_THAT(message({{"resample", nullptr}}), HasSubstr("resample: expected 3 (bicubic) or 2 (bilinear)"));
  EXPECT_THAT(message({{"image_std", {0.5, 0, 0.5}}}), HasSubstr("image_std: expected values above 0"));
  EXPECT_THAT(message({{"image_mean", {0.5, 1e300, 0.5}}}), HasSubstr("image_mean: found"));
  EXPECT_THAT(message({{"size", {{"shortest_edge", 30}, {"longest_edge", 90}}}}),
              HasSubstr("size: expected"));
  EXPECT_THAT(message({{"size", {{"max_height", 30}, {"max_width", 90}}}}), HasSubstr("size: expected"));
  EXPECT_THAT(message({{"do_center_crop", true}, {"size", 30}, {"crop_size", 31}}),
              HasSubstr("crop_size: expected at most the 30 pixels"));
  EXPECT_THAT(message({{"do_center_crop", true}, {"size", 300}, {"crop_size", {{"shortest_edge", 3}}}}),
              HasSubstr("crop_size: expected a height and a width"));
}

TEST(PreprocessFolder, RefusesWhatIsNotDoneHere) {
  const auto message = [](const char* name, const char* text) { return error_of([&] { from(name, text); }); };
  EXPECT_THAT(message(kHf, R"({"resample": 1, "size": 5})"),
              HasSubstr("resample: expected 3 (bicubic) or 2 (bilinear), found 1"));
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
  EXPECT_THAT(message(kOpenClip, R"({"preprocess_cfg": {"interpolation": "nearest"}})"),
              HasSubstr("interpolation: expected \"bicubic\""));
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
  expect_equal(clip_pixels(wide, whole), resize_image(wide, 6, 6).pixels);
  const Tensor resized =
      resize_image(wide, 8, 13).pixels;  // 20 * 8 / 12 = 13; (13 - 6) / 2 = 3.5 is cut at 4
  expect_equal(clip_pixels(wide, cut), resized.slice(0, 1, 7).slice(1, 4, 10));
  cut.resize = 5;
  EXPECT_THAT(error_of([&] { clip_pixels(wide, cut); }), HasSubstr("cannot cut 6 pixels out of 5"));
}

}  // namespace
}  // namespace morphvlm::preprocess_folder_test
