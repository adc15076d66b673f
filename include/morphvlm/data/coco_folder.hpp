// COCO's pictures and captions: where the picture of an id is, which ids a folder has, captions_*.json.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"

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

/// A picture with what people wrote below it.
struct CaptionExample {
  std::filesystem::path image = {};        ///< need not be there where a file of captions names it
  std::int64_t image_id = 0;               ///< COCO's `id` of the image
  std::vector<std::string> captions = {};  ///< in the order of the file, empty from list_coco_folder
};

/// The pictures of a folder of either naming, by id; no captions. Files whose name ends with other than
/// twelve digits and .jpg are passed over. Error: no folder, or no picture in it.
inline std::vector<CaptionExample> list_coco_folder(const std::filesystem::path& folder) {
  expect(std::filesystem::is_directory(folder), folder.string(), ": expected a folder of images");
  std::vector<CaptionExample> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".jpg" || name.size() < 12) continue;
    const char *end = name.data() + name.size(), *begin = end - 12;
    std::int64_t id = 0;
    if (!std::all_of(begin, end, [](char c) { return c >= '0' && c <= '9'; })) continue;
    std::from_chars(begin, end, id);
    out.push_back({.image = entry.path(), .image_id = id});
  }
  expect(!out.empty(), folder.string(), ": no image in the folder");
  std::ranges::sort(out, {}, [](const auto& e) { return std::pair(e.image_id, e.image); });
  return out;
}

/// Reads captions_{train,val}{2014,2017}.json: the images in the order of the file, which names them itself,
/// each with its captions. Errors name file, list, row (from 0) and key; an image twice and a caption of an
/// image that is not listed are errors.
inline std::vector<CaptionExample> read_coco_captions(const std::filesystem::path& file,
                                                      const std::filesystem::path& images) {
  const Json json = read_json(file);
  const auto list = [&](const char* key) -> const Json& {
    expect(json.is_object() && json.contains(key) && json.at(key).is_array(), file.string(),
           ": expected an object with a list \"", key, '"');
    return json.at(key);
  };
  std::vector<CaptionExample> out;
  std::unordered_map<std::int64_t, std::size_t> row_of;
  for (const auto& row : list("images")) {
    const std::string at = file.string() + ": images: row " + std::to_string(out.size());
    const auto id = json_get<std::int64_t>(row, "id", at);
    const std::filesystem::path name = json_get<std::string>(row, "file_name", at);
    expect(name.has_filename() && name == name.filename(), at, ": key \"file_name\": ", name.string(),
           " is no name of a file");
    expect(row_of.emplace(id, out.size()).second, at, ": image ", id, " stands there twice");
    out.push_back({.image = images / name, .image_id = id});
  }
  std::size_t index = 0;
  for (const auto& row : list("annotations")) {
    const std::string at = file.string() + ": annotations: row " + std::to_string(index++);
    const auto it = row_of.find(json_get<std::int64_t>(row, "image_id", at));
    expect(it != row_of.end(), at, ": image_id ", row.at("image_id").dump(), " is not among the images");
    out[it->second].captions.push_back(json_get<std::string>(row, "caption", at));
  }
  return out;
}

}  // namespace morphvlm
