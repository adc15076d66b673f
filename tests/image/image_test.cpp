// image.hpp, png_codec.hpp, jpeg_codec.hpp, resize.hpp, clip_preprocess.hpp against Pillow and open_clip;
// pictures in other modes than RGB are in pixel_kinds_test.cpp.
#include "morphvlm/image/image.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "morphvlm/core/json.hpp"
#include "morphvlm/image/clip_preprocess.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/sha256.hpp"

namespace morphvlm::image_test {
namespace {

using testing::data_file;
using testing::error_of;
using testing::golden_file;
using ::testing::HasSubstr;
using testing::read_file_text;

Json golden() { return read_json(golden_file("images.json")); }

std::string_view bytes_of(const Image& image) {
  return {reinterpret_cast<const char*>(image.pixels.const_data_ptr<std::uint8_t>()),
          static_cast<std::size_t>(image.pixels.numel())};
}

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Image decode_text(std::string_view text) { return decode_image(as_bytes(text), "f.img"); }

/// A picture whose every pixel is another colour.
Image ramp(std::int64_t height, std::int64_t width) {
  return {
      at::arange(height * width * 3, at::kLong).mul(7).remainder(251).to(at::kByte).view({height, width, 3})};
}

TEST(Sha256, KnownHashes) {
  EXPECT_EQ(testing::sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(testing::sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Image, DecodesLikePillow) {
  const Json reference = golden();
  ASSERT_GE(reference.at("decode").size(), 10u);
  for (const Json& row : reference.at("decode")) {
    const auto file = row.at("file").get<std::string>();
    const Image image = read_image(golden_file(file));
    EXPECT_EQ(image.width(), row.at("width").get<std::int64_t>()) << file;
    EXPECT_EQ(image.height(), row.at("height").get<std::int64_t>()) << file;
    EXPECT_EQ(testing::sha256(bytes_of(image)), row.at("rgb_sha256").get<std::string>()) << file;
    if (row.contains("rgb")) {
      const Image pixels = read_image(golden_file(row.at("rgb").get<std::string>()));
      EXPECT_TRUE(at::equal(image.pixels, pixels.pixels)) << file;
    }
  }
}

TEST(Image, PhotographsLikePillowAndOpenClip) {
  MORPHVLM_NEEDS_DATA("skimage/data/chelsea.png");
  const Json reference = golden();
  ASSERT_GE(reference.at("photos").size(), 8u);
  for (const Json& row : reference.at("photos")) {
    const auto source = row.at("source").get<std::string>();
    const auto size = row.at("target").get<std::int64_t>();
    const Image image = read_image(data_file("skimage/data/" + source));
    EXPECT_EQ(testing::sha256(bytes_of(image)), row.at("rgb_sha256").get<std::string>()) << source;
    const Image expected = read_image(golden_file(row.at("result").get<std::string>()));
    EXPECT_TRUE(at::equal(clip_square(image, {.size = size}).pixels, expected.pixels))
        << source << " to " << size;
    const Tensor pixels = clip_pixels(image, {.size = size});
    ASSERT_EQ(pixels.sizes(), (std::vector<std::int64_t>{3, size, size}));
    ASSERT_TRUE(pixels.is_contiguous());
    for (const Json& value : row.at("normalised"))
      EXPECT_FLOAT_EQ(pixels.const_data_ptr<float>()[value[0].get<std::int64_t>()], value[1].get<float>())
          << source;
  }
}

TEST(Image, PngKeepsEveryPixel) {
  for (const auto& [h, w] : {std::pair{1, 1}, {3, 500}, {257, 2}}) {
    const Image image = ramp(h, w);
    EXPECT_TRUE(at::equal(decode_text(encode_png(image)).pixels, image.pixels));
  }
  EXPECT_THAT(error_of([] { encode_png({}); }), HasSubstr("undefined"));
  EXPECT_THAT(error_of([] { encode_png({ramp(2, 2).pixels.to(at::kFloat)}); }), HasSubstr("Float"));
}

TEST(Image, NamesDoNotMatter) {
  const auto file = testing::scratch_folder() / "picture.jpg";
  testing::write_file_text(file, encode_png(ramp(4, 5)));
  EXPECT_EQ(read_image(file).width(), 5);
}

TEST(Image, RefusesOtherFilesByName) {
  const auto folder = testing::scratch_folder();
  for (const std::string_view text : {"GIF89a", "\x89PNG", "\xFF\xD8", "x"}) {
    testing::write_file_text(folder / "x.png", text);
    EXPECT_THAT(error_of([&] { read_image(folder / "x.png"); }), HasSubstr("x.png")) << text;
  }
  EXPECT_THAT(error_of([&] { read_image(folder / "none.png"); }), HasSubstr("none.png"));
}

TEST(Image, RefusesEveryTruncation) {
  const std::string png = encode_png(ramp(9, 11));
  for (std::size_t size = 0; size < png.size(); ++size)
    EXPECT_THAT(error_of([&] { decode_text(std::string_view(png).substr(0, size)); }), HasSubstr("f.img"))
        << size;
  for (const char* name : {"images/jpeg_420.jpg", "images/jpeg_progressive.jpg"}) {
    const std::string jpeg = read_file_text(golden_file(name));
    ASSERT_FALSE(jpeg.empty());
    for (std::size_t size = 0; size < jpeg.size(); ++size)
      EXPECT_THAT(error_of([&] { decode_text(std::string_view(jpeg).substr(0, size)); }), HasSubstr("f.img"))
          << size;
  }
}

TEST(Image, SurvivesEveryDamagedByte) {
  for (const char* name :
       {"images/png_p.png", "images/png_la.png", "images/jpeg_gray.jpg", "images/jpeg_progressive.jpg"}) {
    const std::string good = read_file_text(golden_file(name));
    ASSERT_FALSE(good.empty());
    for (std::size_t at = 0; at < good.size(); ++at) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 0x55);
      try {
        const Image image = decode_text(bad);
        EXPECT_GT(image.pixels.numel(), 0);
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr("f.img"));
      }
    }
  }
}

/// A PNG's first chunk with any size, its checksum right.
std::string png_header(std::uint32_t width, std::uint32_t height, char depth, char color) {
  std::string chunk = "IHDR";
  for (const std::uint32_t n : {width, height})
    for (int shift = 24; shift >= 0; shift -= 8) chunk += static_cast<char>(n >> shift);
  chunk += {depth, color, 0, 0, 0};
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : chunk) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
  }
  std::string out = "\x89PNG\r\n\x1a\n";
  out += {0, 0, 0, 13};
  out += chunk;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(~crc >> shift);
  out += {0, 0, 0, 0};  // an empty IDAT, so that the header is complete
  return out + "IDAT\x35\xAF\x06\x1E";
}

TEST(Image, RefusesSizesAndKindsBeforeDecoding) {
  const auto message = [](const std::string& file) { return error_of([&] { decode_text(file); }); };
  EXPECT_THAT(message(png_header(30000, 30000, 8, 2)), HasSubstr("above the limit"));
  EXPECT_THAT(message(png_header(2000000000, 1, 8, 2)), HasSubstr("f.img"));
  EXPECT_THAT(message(png_header(0, 4, 8, 2)), HasSubstr("f.img"));
  EXPECT_THAT(message(png_header(4, 4, 16, 0)), HasSubstr("16-bit gray"));
  EXPECT_THAT(message(png_header(4, 4, 8, 2)), HasSubstr("f.img: PNG"));
}

/// A CMYK JPEG of 8 x 8 pixels.
std::string cmyk_jpeg() {
  jpeg_compress_struct jpeg = {};
  jpeg_error_mgr errors = {};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &out, &size);
  jpeg.image_width = jpeg.image_height = 8;
  jpeg.input_components = 4;
  jpeg.in_color_space = JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  unsigned char row[32] = {};
  unsigned char* rows = row;
  while (jpeg.next_scanline < 8) jpeg_write_scanlines(&jpeg, &rows, 1);
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  const std::string bytes(reinterpret_cast<const char*>(out), size);
  std::free(out);
  return bytes;
}

// Each scan of a few bytes is another pass over the whole picture.
TEST(Image, RefusesManyScans) {
  const std::string jpeg = read_file_text(golden_file("images/jpeg_progressive.jpg"));
  const auto last = jpeg.rfind("\xFF\xDA"), end = jpeg.size() - 2;
  ASSERT_NE(last, std::string::npos);
  const auto with_scans = [&](int more) {
    std::string text = jpeg.substr(0, end);
    for (int i = 0; i < more; ++i) text += jpeg.substr(last, end - last);
    return text + jpeg.substr(end);
  };
  EXPECT_NO_THROW(decode_text(with_scans(80)));
  EXPECT_THAT(error_of([&] { decode_text(with_scans(100)); }), HasSubstr("f.img: JPEG: more than 100 scans"));
}

TEST(Image, RefusesCmyk) {
  EXPECT_THAT(error_of([] { decode_text(cmyk_jpeg()); }), HasSubstr("CMYK"));
}

TEST(ClipPreprocess, ShortSideAndCentre) {
  EXPECT_TRUE(at::equal(clip_square(ramp(4, 4), {.size = 4}).pixels, ramp(4, 4).pixels));
  // Half a pixel of margin rounds to even: 1 extra column -> 0, 3 -> 2.
  EXPECT_TRUE(at::equal(clip_square(ramp(4, 5), {.size = 4}).pixels, ramp(4, 5).pixels.narrow(1, 0, 4)));
  EXPECT_TRUE(at::equal(clip_square(ramp(7, 4), {.size = 4}).pixels, ramp(7, 4).pixels.narrow(0, 2, 4)));
  EXPECT_EQ(clip_square(ramp(3, 1000), {.size = 2}).width(), 2);
  EXPECT_THROW(clip_square(ramp(4, 4), {.size = 0}), Error);
  EXPECT_THROW(clip_square({}, {.size = 4}), Error);
  EXPECT_THAT(error_of([] { clip_square(ramp(1, 100000), {.size = 10000}); }), HasSubstr("above the limit"));
  EXPECT_THAT(error_of([] { clip_pixels(ramp(4, 4), {.size = 4, .mean = {0.5}}); }), HasSubstr("3 values"));
}

TEST(ClipPreprocess, FlatStaysFlat) {
  const Image flat{at::full({37, 53, 3}, 200, at::kByte)};
  for (const std::int64_t size : {1, 36, 37, 100})
    EXPECT_TRUE(clip_square(flat, {.size = size}).pixels.eq(200).all().item<bool>()) << size;
}

}  // namespace
}  // namespace morphvlm::image_test
