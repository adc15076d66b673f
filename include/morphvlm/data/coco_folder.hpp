// Where COCO keeps the picture of an id.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// How a year's release names its files.
enum class CocoNaming {
  with_split,  ///< 2014: train2014/COCO_train2014_000000000009.jpg
  plain        ///< 2017: train2017/000000000009.jpg
};

/// The file of image `id` in `folder`, which is one split's ("val2014").
inline std::filesystem::path coco_image(const std::filesystem::path& folder, std::int64_t id,
                                        CocoNaming naming) {
  expect(id >= 0 && id <= 999'999'999'999, folder.string(), ": image id ", id, " has no twelve digits");
  const std::string digits = std::to_string(id);
  std::string name = std::string(12 - digits.size(), '0') + digits + ".jpg";
  // "val2014/" ends with an empty component.
  const auto split = (folder.filename().empty() ? folder.parent_path() : folder).filename().string();
  if (naming == CocoNaming::with_split) name = "COCO_" + split + '_' + name;
  return folder / name;
}

}  // namespace morphvlm
