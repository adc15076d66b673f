// JPEG -> RGB: the only header that names libjpeg. Settings are the library's own defaults, as in Pillow
// (accurate inverse DCT, smooth chroma upsampling); EXIF orientation is not applied, as in Pillow.
#pragma once

#include <cstddef>
#include <cstdio>  // jpeglib.h uses FILE and size_t and includes neither

#include <jpeglib.h>

#include <jerror.h>

#include <csetjmp>
#include <span>
#include <string_view>

#include "morphvlm/image/pixels.hpp"

namespace morphvlm {

/// Most scans of a progressive JPEG. Encoders write about ten; each costs a pass over the whole picture,
/// however few bytes it takes in the file.
inline constexpr int kMaxJpegScans = 100;

namespace detail {

// As for PNG: nothing with a destructor lives between setjmp and the library.
struct JpegReader {
  jpeg_decompress_struct jpeg = {};
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf failed;
  char message[JMSG_LENGTH_MAX] = {};

  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
};

[[noreturn]] inline void jpeg_on_error(j_common_ptr jpeg) {
  auto* reader = static_cast<JpegReader*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, reader->message);
  std::longjmp(reader->failed, 1);
}

/// Warnings are passed over, as Pillow does, but for the end of the data, where libjpeg would fill up with
/// gray.
inline void jpeg_on_message(j_common_ptr jpeg, int level) {
  if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF) jpeg_on_error(jpeg);
}

inline void jpeg_on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMaxJpegScans) return;
  auto* reader = static_cast<JpegReader*>(jpeg->client_data);
  std::snprintf(reader->message, sizeof reader->message, "more than %d scans", kMaxJpegScans);
  std::longjmp(reader->failed, 1);
}

inline bool jpeg_read_header_of(JpegReader* reader, const unsigned char* data, std::size_t size) {
  reader->jpeg.err = jpeg_std_error(&reader->errors);
  reader->errors.error_exit = jpeg_on_error;
  reader->errors.emit_message = jpeg_on_message;
  reader->jpeg.client_data = reader;
  if (setjmp(reader->failed)) return false;
  jpeg_create_decompress(&reader->jpeg);
  reader->progress.progress_monitor = jpeg_on_progress;
  reader->jpeg.progress = &reader->progress;
  jpeg_mem_src(&reader->jpeg, data, size);
  jpeg_read_header(&reader->jpeg, TRUE);
  return true;
}

inline bool jpeg_read_pixels(JpegReader* reader, unsigned char* pixels) {
  if (setjmp(reader->failed)) return false;
  jpeg_decompress_struct* jpeg = &reader->jpeg;
  jpeg->out_color_space = JCS_RGB;
  jpeg_start_decompress(jpeg);
  while (jpeg->output_scanline < jpeg->output_height) {
    unsigned char* row = pixels + std::size_t{3} * jpeg->output_width * jpeg->output_scanline;
    jpeg_read_scanlines(jpeg, &row, 1);
  }
  jpeg_finish_decompress(jpeg);
  return true;
}

}  // namespace detail

/// Whether `bytes` begin as a JPEG file does.
inline bool is_jpeg(std::span<const std::byte> bytes) {
  return bytes.size() >= 3 && bytes[0] == std::byte{0xFF} && bytes[1] == std::byte{0xD8} &&
         bytes[2] == std::byte{0xFF};
}

/// Decodes a JPEG file, baseline or progressive, gray or colour; `where` leads the messages. CMYK is refused.
inline Image decode_jpeg(std::span<const std::byte> bytes, std::string_view where) {
  detail::JpegReader reader;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  expect(detail::jpeg_read_header_of(&reader, data, bytes.size()), where, ": JPEG: ", reader.message);
  const J_COLOR_SPACE space = reader.jpeg.jpeg_color_space;
  expect(space == JCS_GRAYSCALE || space == JCS_YCbCr || space == JCS_RGB, where,
         ": JPEG: only gray, YCbCr and RGB are supported, not CMYK or others (", reader.jpeg.num_components,
         " channels)");
  Image image = make_image(reader.jpeg.image_height, reader.jpeg.image_width, where);
  expect(detail::jpeg_read_pixels(&reader, image.pixels.data_ptr<std::uint8_t>()), where,
         ": JPEG: ", reader.message);
  return image;
}

}  // namespace morphvlm
