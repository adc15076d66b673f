// VLStereoSet (Zhou, Lai, Jiang 2022; ACL anthology 2022.aacl-main.40) in its official file, VLStereoSet.csv.
// The file names pictures by URL. They are looked for in a folder under the number of their row: the picture
// of the first record is 0.jpg, of the next 1.jpg, ...; .jpeg and .png do as well.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/data/csv.hpp"

namespace morphvlm {

/// The kinds of bias in the file.
inline constexpr std::array<std::string_view, 4> kStereoSetBiases{"gender", "profession", "race", "religion"};

/// A picture and three statements, of which a model says which describes it best.
struct VlStereoSetExample {
  std::string bias = {};                       ///< of kStereoSetBiases
  std::string target = {};                     ///< whom the statements are about: "Ethiopian"
  std::string context = {};                    ///< the statements' common beginning
  std::array<std::string, 3> statements = {};  ///< stereotype, anti-stereotype, unrelated
  bool anti_stereotypical_image = false;  ///< label 1: the picture shows the second statement, not the first
  std::string url = {};                   ///< where the picture was found; nothing is fetched
  std::filesystem::path image = {};       ///< by the rule above; need not be there
};

namespace detail {

/// Column names of the file, its misspelling included; a column without a name follows and is not used.
inline constexpr std::array<std::string_view, 8> kStereoSetColumns{
    "bias_type", "target", "context", "stereotype", "anti-stereotype", "unrelated", "label", "Imaeg URL"};

inline std::filesystem::path stereo_set_image(const std::filesystem::path& folder, std::size_t row) {
  std::filesystem::path first = folder / (std::to_string(row) + ".jpg");
  for (const char* extension : {".jpg", ".jpeg", ".png"}) {
    auto path = first;
    if (std::filesystem::is_regular_file(path.replace_extension(extension))) return path;
  }
  return first;
}

/// Where each of kStereoSetColumns stands. The correct spelling of the last is taken as well.
inline std::array<std::size_t, 8> find_stereo_set_columns(const CsvRow& header, const std::string& where) {
  std::array<std::size_t, 8> at{};
  for (std::size_t i = 0; i < at.size(); ++i) {
    auto it = std::ranges::find(header.fields, kStereoSetColumns[i]);
    if (i == 7 && it == header.fields.end()) it = std::ranges::find(header.fields, "Image URL");
    expect(it != header.fields.end(), where, ": column \"", kStereoSetColumns[i], "\" is missing");
    at[i] = static_cast<std::size_t>(it - header.fields.begin());
  }
  return at;
}

inline VlStereoSetExample read_stereo_set_row(const CsvRow& row, const std::array<std::size_t, 8>& at,
                                              const std::string& where) {
  const auto field = [&](std::size_t column) -> const std::string& {
    expect(at[column] < row.fields.size(), where, ": column \"", kStereoSetColumns[column], "\" is missing (",
           row.fields.size(), " fields)");
    const auto& text = row.fields[at[column]];
    expect(!text.empty(), where, ": column \"", kStereoSetColumns[column], "\" is empty");
    return text;
  };
  const std::string& label = field(6);
  expect(label == "0" || label == "1", where, ": column \"label\": expected 0 or 1, found \"", label, '"');
  VlStereoSetExample e{.bias = field(0),
                       .target = field(1),
                       .context = field(2),
                       .statements = {field(3), field(4), field(5)},
                       .anti_stereotypical_image = label == "1",
                       .url = field(7)};
  expect(std::ranges::find(kStereoSetBiases, e.bias) != kStereoSetBiases.end(), where,
         ": column \"bias_type\": expected gender, profession, race or religion, found \"", e.bias, '"');
  return e;
}

}  // namespace detail

/// Reads the file in its order. Errors name file, line and column. Pictures are not opened; missing_images
/// lists those that are not there.
inline std::vector<VlStereoSetExample> read_vl_stereoset(const std::filesystem::path& file,
                                                         const std::filesystem::path& images) {
  const auto rows = read_csv(file);
  expect(rows.size() > 1, file.string(), ": expected a line of column names and at least one record");
  const auto columns = detail::find_stereo_set_columns(rows[0], file.string());
  std::vector<VlStereoSetExample> out;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const std::string where = file.string() + ": line " + std::to_string(rows[i].line);
    out.push_back(detail::read_stereo_set_row(rows[i], columns, where));
    out.back().image = detail::stereo_set_image(images, i - 1);
  }
  return out;
}

}  // namespace morphvlm
