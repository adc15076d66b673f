// Pictures with palettes, bits and opacity, and where the centre is cut, against Pillow, open_clip and
// transformers.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/image/clip_preprocess.hpp"
#include "morphvlm/image/image.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/sha256.hpp"

namespace morphvlm::pixel_kinds_test {
namespace {

using testing::error_of;
using testing::golden_file;
using ::testing::HasSubstr;

const Json& golden() {
  static const Json json = read_json(golden_file("images_modes.json"));
  return json;
}

std::string digest(const Image& image) {
  const std::string_view bytes(reinterpret_cast<const char*>(image.pixels.const_data_ptr<std::uint8_t>()),
                               static_cast<std::size_t>(image.pixels.numel()));
  return testing::sha256(bytes).substr(0, 16);
}

Image ramp(std::int64_t height, std::int64_t width) {
  return {
      at::arange(height * width * 3, at::kLong).mul(7).remainder(251).to(at::kByte).view({height, width, 3})};
}

constexpr auto kOpenClip = PixelSteps::open_clip, kTransformers = PixelSteps::transformers;
constexpr auto kBilinear = ResizeFilter::bilinear;

TEST(PixelKinds, EveryModeBecomesTheSquareOfItsLibrary) {
  std::set<std::string> modes;
  for (const Json& row : golden().at("files")) {
    const auto file = row.at("file").get<std::string>();
    modes.insert(row.at("mode").get<std::string>());
    const Image image = read_image(golden_file(file));
    EXPECT_EQ(digest(image), row.at("rgb").get<std::string>()) << file;
    for (const std::int64_t side : {11, 40}) {
      const Json& expected = row.at(std::to_string(side));
      const auto expect_square = [&](const char* name, const ClipPreprocess& config) {
        EXPECT_EQ(digest(clip_square(image, config)), expected.at(name).get<std::string>())
            << file << ", " << name << " of " << side;
      };
      expect_square("open_clip_shortest", {.size = side});
      expect_square("open_clip_squash", {.size = side, .whole_image = true});
      expect_square("open_clip_bilinear", {.size = side, .filter = kBilinear});
      expect_square("clip", {.size = side, .steps = kTransformers});
      expect_square("siglip", {.size = side, .whole_image = true, .steps = kTransformers});
      expect_square("siglip_bilinear",
                    {.size = side, .whole_image = true, .steps = kTransformers, .filter = kBilinear});
    }
  }
  EXPECT_EQ(modes, (std::set<std::string>{"1", "L", "LA", "P", "RGB", "RGBA"}));
}

TEST(PixelKinds, TheCentreIsCutAsTheFoldersLibraryCuts) {
  int apart = 0;
  for (const Json& row : golden().at("crops")) {
    const auto width = row.at("width").get<std::int64_t>();
    const Image image = ramp(48, width);
    const auto square = [&](std::int64_t size, std::int64_t resize, PixelSteps steps) {
      return digest(clip_square(image, {.size = size, .resize = resize, .steps = steps}));
    };
    EXPECT_EQ(square(48, 0, kOpenClip), row.at("open_clip").get<std::string>()) << width;
    EXPECT_EQ(square(48, 48, kTransformers), row.at("clip").get<std::string>()) << width;
    EXPECT_EQ(square(41, 48, kTransformers), row.at("dinov2").get<std::string>()) << width;
    EXPECT_EQ(square(15, 20, kTransformers), row.at("resized").get<std::string>()) << width;
    apart += row.at("open_clip") != row.at("clip") ? 1 : 0;
  }
  EXPECT_EQ(apart, 15);
}

TEST(PixelKinds, PixelsAreScaledAsTransformersScalesThem) {
  ASSERT_EQ(golden().at("normalised").size(), 3u);
  for (const Json& row : golden().at("normalised")) {
    const auto factor = row.at("rescale_factor").get<double>();
    const ClipPreprocess config{.size = 48, .steps = kTransformers, .white = 1 / factor};
    const Tensor pixels = clip_pixels(ramp(48, 48), config);
    for (const Json& value : row.at("values"))
      EXPECT_EQ(pixels.const_data_ptr<float>()[value[0].get<std::int64_t>()], value[1].get<float>())
          << factor << " at " << value[0];
  }
}

// Which is not Pillow's resize, but torchvision's.
TEST(PixelKinds, TheDefaultOfTransformersIsOneStepAway) {
  const Image image = read_image(golden_file("images_modes/rgb.png"));
  const Tensor square =
      clip_square(image, {.size = 11, .whole_image = true, .steps = kTransformers}).pixels.to(at::kInt);
  const auto bytes = golden().at("default_backend").at("11").get<std::vector<int>>();
  const Tensor difference = square.flatten().sub(at::tensor(bytes)).abs();
  EXPECT_LE(difference.max().item<int>(), 1);
}

TEST(PixelKinds, OpacityIsKeptBesideTheColours) {
  const auto alpha_of = [](const char* name) { return read_image(golden_file(name)).alpha; };
  EXPECT_FALSE(alpha_of("images_modes/rgb.png").defined());
  EXPECT_FALSE(alpha_of("images_modes/p.png").defined());
  for (const char* name : {"rgba", "la", "p_one", "p_some", "rgb_key", "l_key", "1_key"}) {
    const Tensor alpha = alpha_of(("images_modes/" + std::string(name) + ".png").c_str());
    ASSERT_TRUE(alpha.defined()) << name;
    EXPECT_EQ(alpha.sizes(), (std::vector<std::int64_t>{23, 31})) << name;
    EXPECT_LT(alpha.min().item<int>(), alpha.max().item<int>()) << name;
  }
}

TEST(PixelKinds, ResizingKeepsTheKind) {
  const Image palette = read_image(golden_file("images_modes/p_one.png"));
  const Image small = resize_image(palette, 9, 12);
  EXPECT_EQ(small.kind, PixelKind::palette);
  EXPECT_TRUE(at::equal(resize_image(small, 9, 12).pixels, small.pixels));
  EXPECT_EQ(small.alpha.sizes(), (std::vector<std::int64_t>{9, 12}));
  const Image clear{at::full({5, 7, 3}, 90, at::kByte), at::full({5, 7}, 0, at::kByte), PixelKind::alpha};
  EXPECT_EQ(resize_image(clear, 3, 3).pixels.max().item<int>(), 0);
  EXPECT_EQ(clip_square(clear, {.size = 3, .steps = kTransformers}).pixels.min().item<int>(), 255);
}

TEST(PixelKinds, WithoutConversionOnlyGrayAndColourAreTaken) {
  const auto square = [](const char* name) {
    return clip_square(read_image(golden_file(name)),
                       {.size = 11, .steps = kTransformers, .convert_rgb = false});
  };
  for (const char* name : {"images_modes/p.png", "images_modes/1.png", "images_modes/la.png"})
    EXPECT_THAT(error_of([&] { square(name); }), HasSubstr("do_convert_rgb")) << name;
  // A transparent colour is a note of the file's: no step reads it then.
  const Image plain{read_image(golden_file("images_modes/rgb_key.png")).pixels};
  EXPECT_TRUE(at::equal(square("images_modes/rgb_key.png").pixels,
                        clip_square(plain, {.size = 11, .steps = kTransformers}).pixels));
}

// As which they are part of experiments' recipes and of the names of kept features.
TEST(PixelKinds, TheStepsAreAConfig) {
  const ClipPreprocess config{.steps = kTransformers, .filter = kBilinear, .white = 2, .convert_rgb = false};
  const Json json = to_json(config);
  EXPECT_EQ(json.at("steps"), "transformers");
  EXPECT_EQ(json.at("filter"), "bilinear");
  EXPECT_EQ(json.size(), 9u);
  EXPECT_EQ(to_json(from_json<ClipPreprocess>(json, "c")), json);
}

TEST(PixelKinds, RefusesPicturesThatDoNotFitTogether) {
  const Tensor pixels = at::full({5, 7, 3}, 90, at::kByte);
  EXPECT_THAT(error_of([&] { resize_image({pixels, {}, PixelKind::alpha}, 2, 2); }), HasSubstr("alpha"));
  EXPECT_THAT(error_of([&] {
                resize_image({pixels, at::full({7, 5}, 0, at::kByte)}, 2, 2);
              }),
              HasSubstr("expected alpha, uint8 [5, 7]"));
  EXPECT_THAT(error_of([&] { clip_pixels({pixels.to(at::kFloat)}, {}); }), HasSubstr("Float"));
}

}  // namespace
}  // namespace morphvlm::pixel_kinds_test
