// PNG <-> RGB: the only header that names libpng. The colours are those of Pillow's convert("RGB"): palettes
// looked up, gray spread over the channels, alpha kept apart, gamma ignored, 16 bits cut to the upper 8.
#pragma once

#include <png.h>

#include <array>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "morphvlm/image/pixels.hpp"

namespace morphvlm {

namespace detail {

// libpng reports errors by longjmp, which must not leap over a destructor: the functions between setjmp and
// libpng hold nothing that has one, and the reader itself belongs to the caller of both.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> data;
  std::size_t at = 0;
  char message[128] = {};
  png_uint_32 width = 0, height = 0;
  int bit_depth = 0, color = 0;
  bool transparent = false;        // has a tRNS chunk
  png_color_16p marked = nullptr;  // the transparent colour, of files without a palette

  explicit PngReader(std::span<const std::byte> bytes) : data(bytes) {}
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] inline void png_on_error(png_structp png, png_const_charp what) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader->message, sizeof reader->message, "%s", what);
  png_longjmp(png, 1);
}

inline void png_on_warning(png_structp, png_const_charp) {}

inline void png_on_read(png_structp png, png_bytep out, png_size_t count) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader->data.size() - reader->at) png_error(png, "the file is truncated");
  std::memcpy(out, reader->data.data() + reader->at, count);
  reader->at += count;
}

inline bool png_read_header(PngReader* reader) {
  if (setjmp(png_jmpbuf(reader->png))) return false;
  png_set_read_fn(reader->png, reader, png_on_read);
  png_read_info(reader->png, reader->info);
  png_get_IHDR(reader->png, reader->info, &reader->width, &reader->height, &reader->bit_depth, &reader->color,
               nullptr, nullptr, nullptr);
  reader->transparent = png_get_valid(reader->png, reader->info, PNG_INFO_tRNS) != 0;
  if (reader->transparent) png_get_tRNS(reader->png, reader->info, nullptr, nullptr, &reader->marked);
  return true;
}

// Whether each pixel comes with its own opacity, as a fourth channel.
inline bool png_has_alpha(const PngReader& reader) {
  return (reader.color & PNG_COLOR_MASK_ALPHA) != 0 ||
         (reader.color == PNG_COLOR_TYPE_PALETTE && reader.transparent);
}

inline bool png_read_pixels(PngReader* reader, png_bytep pixels) {
  if (setjmp(png_jmpbuf(reader->png))) return false;
  const int passes = png_set_interlace_handling(reader->png);
  png_set_palette_to_rgb(reader->png);
  if (reader->color == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(reader->png);
  if (reader->bit_depth == 16) png_set_strip_16(reader->png);
  if (!png_has_alpha(*reader)) png_set_strip_alpha(reader->png);
  png_set_gray_to_rgb(reader->png);
  png_read_update_info(reader->png, reader->info);
  const std::size_t stride = (png_has_alpha(*reader) ? std::size_t{4} : std::size_t{3}) * reader->width;
  if (png_get_rowbytes(reader->png, reader->info) != stride) png_error(reader->png, "unexpected row size");
  for (int pass = 0; pass < passes; ++pass)
    for (png_uint_32 y = 0; y < reader->height; ++y) png_read_row(reader->png, pixels + y * stride, nullptr);
  png_read_end(reader->png, nullptr);
  return true;
}

inline PixelKind png_kind(const PngReader& reader) {
  if ((reader.color & PNG_COLOR_MASK_ALPHA) != 0) return PixelKind::alpha;
  const bool bits = reader.color == PNG_COLOR_TYPE_GRAY && reader.bit_depth == 1;
  return bits || reader.color == PNG_COLOR_TYPE_PALETTE ? PixelKind::palette : PixelKind::color;
}

// 0 where a pixel has the marked colour, of which Pillow compares the lower 8 bits with the 8 bits of the
// picture: with other depths than 8 another colour is found than the file means.
inline Tensor png_marked_alpha(const PngReader& reader, const Tensor& pixels) {
  const bool bits = reader.bit_depth == 1;
  const auto low = [&](png_uint_16 v) { return static_cast<std::uint8_t>(bits && v != 0 ? 255 : v); };
  const png_color_16& c = *reader.marked;
  const bool gray = reader.color == PNG_COLOR_TYPE_GRAY;
  const std::array<std::uint8_t, 3> key{low(gray ? c.gray : c.red), low(gray ? c.gray : c.green),
                                        low(gray ? c.gray : c.blue)};
  Tensor alpha = at::empty({pixels.size(0), pixels.size(1)}, at::kByte);
  const auto* in = pixels.const_data_ptr<std::uint8_t>();
  auto* out = alpha.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < alpha.numel(); ++i, in += 3)
    out[i] = in[0] == key[0] && in[1] == key[1] && in[2] == key[2] ? 0 : 255;
  return alpha;
}

}  // namespace detail

/// Whether `bytes` begin as a PNG file does.
inline bool is_png(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 && png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, 8) == 0;
}

/// Decodes a PNG file, EXIF orientation not applied, as in Pillow; `where` leads the messages. 16-bit gray is
/// refused: Pillow, which the models' preprocessing was made with, saturates it to white.
inline Image decode_png(std::span<const std::byte> bytes, std::string_view where) {
  detail::PngReader reader(bytes);
  reader.png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, detail::png_on_error, detail::png_on_warning);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  expect(reader.info != nullptr, where, ": PNG: the decoder cannot be set up");
  expect(detail::png_read_header(&reader), where, ": PNG: ", reader.message);
  expect(reader.bit_depth < 16 || reader.color != PNG_COLOR_TYPE_GRAY, where,
         ": PNG: 16-bit gray is not supported; convert the file to 8 bits");
  const bool alpha = detail::png_has_alpha(reader);
  const Tensor read = detail::make_pixels(reader.height, reader.width, alpha ? 4 : 3, where);
  expect(detail::png_read_pixels(&reader, read.data_ptr<std::uint8_t>()), where, ": PNG: ", reader.message);
  Image image{alpha ? read.narrow(2, 0, 3).contiguous() : read};
  image.kind = detail::png_kind(reader);
  if (alpha) {
    image.alpha = read.select(2, 3).contiguous();
  } else if (reader.marked != nullptr) {
    image.alpha = detail::png_marked_alpha(reader, image.pixels);
  }
  return image;
}

/// The image's colours as the bytes of a PNG file (8-bit RGB).
inline std::string encode_png(const Image& image) {
  detail::expect_image(image, "encode_png");
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width());
  png.height = static_cast<png_uint_32>(image.height());
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string out(size, '\0');
  const int done = png_image_write_to_memory(&png, out.data(), &size, 0,
                                             image.pixels.data_ptr<std::uint8_t>(), 0, nullptr);
  expect(done != 0, "encode_png: ", png.message);
  out.resize(size);
  return out;
}

}  // namespace morphvlm
