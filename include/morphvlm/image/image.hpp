// Image files: PNG and JPEG, told apart by what they hold and not by their names.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "morphvlm/formats/mapped_file.hpp"
#include "morphvlm/image/jpeg_codec.hpp"
#include "morphvlm/image/pixels.hpp"
#include "morphvlm/image/png_codec.hpp"

namespace morphvlm {

/// Decodes the bytes of a PNG or JPEG file; `where` (the file) leads the message of any error. EXIF
/// orientation is not applied, as in Pillow.
inline Image decode_image(std::span<const std::byte> bytes, std::string_view where) {
  if (is_png(bytes)) return decode_png(bytes, where);
  if (is_jpeg(bytes)) return decode_jpeg(bytes, where);
  fail(where, ": expected a PNG or JPEG file; the first bytes are of neither");
}

/// Reads and decodes an image file.
inline Image read_image(const std::filesystem::path& path) {
  const MappedFile file(path);
  return decode_image(file.bytes, path.string());
}

}  // namespace morphvlm
