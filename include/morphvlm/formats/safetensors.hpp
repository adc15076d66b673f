// The safetensors format, read in place and written one tensor at a time. (Python: safetensors.torch.)
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/mapped_file.hpp"
#include "morphvlm/formats/safetensors_header.hpp"

namespace morphvlm {

/// An open safetensors file, its header checked: exact sizes, no holes, no overlaps, no trailing bytes.
struct SafetensorsFile {
  std::shared_ptr<const MappedFile> map;  ///< the file
  SafetensorsHeader header;               ///< what it says of its tensors
  std::size_t data_begin = 0;             ///< bytes before the data

  /// The tensor of an entry of the header: the file's own memory (see mapped_tensor), which outlives this.
  Tensor tensor(const SafetensorsEntry& entry) const {
    const auto data = map->bytes.subspan(data_begin + entry.begin, entry.end - entry.begin);
    const auto is_bool = [](std::byte b) { return b <= std::byte{1}; };
    expect(entry.dtype != at::kBool || std::ranges::all_of(data, is_bool), map->path.string(), ": tensor \"",
           entry.name, "\": a BOOL is neither 0 nor 1");
    return mapped_tensor(map, data, entry.shape, entry.dtype);
  }
  /// The tensor called `name`; an Error where there is none.
  Tensor tensor(std::string_view name) const {
    const auto entry = std::ranges::find(header.entries, name, &SafetensorsEntry::name);
    expect(entry != header.entries.end(), map->path.string(), ": tensor \"", name, "\" is missing");
    return tensor(*entry);
  }
};

/// Maps a file and checks its header; the tensors are not touched yet.
inline SafetensorsFile open_safetensors(const std::filesystem::path& path) {
  auto map = map_file(path);
  ByteReader reader{map->bytes, path.string()};
  const auto length = reader.read<std::uint64_t>("the header's length");
  expect(length <= kMaxSafetensorsHeader, reader.where, ": not a safetensors file: a header of ", length,
         " bytes, the format allows ", kMaxSafetensorsHeader);
  const auto json = reader.take(length, "the header");
  auto header = parse_safetensors_header({reinterpret_cast<const char*>(json.data()), json.size()},
                                         reader.remaining(), reader.where);
  return {std::move(map), std::move(header), reader.at};
}

/// All tensors of a file in the order of its header, mapped, not copied.
inline StateDict load_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file = open_safetensors(path);
  StateDict dict;
  dict.reserve(file.header.entries.size());
  for (const auto& entry : file.header.entries) dict.emplace_back(entry.name, file.tensor(entry));
  return dict;
}

namespace detail {

inline std::string_view safetensors_type(const std::string& name, const Tensor& t) {
  expect(t.defined() && !t.is_meta() && t.layout() == at::kStrided, name, ": ", describe(t),
         ": only dense tensors with memory can be saved");
  for (const auto& [text, dtype] : kSafetensorsTypes) {
    if (dtype == t.scalar_type()) return text;
  }
  fail(name, ": ", describe(t), ": this dtype cannot be saved as safetensors");
}

// Padded with spaces to a multiple of 8, so that sorted data is aligned.
inline std::string safetensors_header(const std::vector<const StateDict::value_type*>& sorted,
                                      const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  std::unordered_set<std::string> names = {kMetadataKey};
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::uint64_t at = 0;
  for (const auto* item : sorted) {
    const auto& [name, t] = *item;
    expect(names.insert(name).second, name, ": this name is reserved or given twice");
    const std::uint64_t end = at + t.nbytes();
    header.push_back(
        {name,
         {{"dtype", safetensors_type(name, t)}, {"shape", t.sizes().vec()}, {"data_offsets", {at, end}}}});
    at = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  expect(text.size() <= kMaxSafetensorsHeader, "a header of ", text.size(),
         " bytes is longer than the format allows");
  return text;
}

}  // namespace detail

/// Writes tensors atomically. They are written one at a time, made contiguous and brought to the CPU where
/// they are not; wide element types come first, so that every tensor is aligned when it is mapped, otherwise
/// in the given order. Names must be unique.
inline void save_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                             const std::map<std::string, std::string>& metadata = {}) {
  std::vector<const StateDict::value_type*> sorted;
  for (const auto& item : tensors) {
    detail::safetensors_type(item.first, item.second);
    sorted.push_back(&item);
  }
  std::ranges::stable_sort(sorted, std::greater<>(), [](auto* item) { return item->second.element_size(); });
  std::string header;
  try {
    header = detail::safetensors_header(sorted, metadata);
  } catch (const std::exception& e) {
    fail(path.string(), ": cannot be written: ", e.what());
  }
  write_file(path, [&](const FileSink& sink) {
    const std::uint64_t length = header.size();
    sink.write(std::as_bytes(std::span(&length, 1)));
    sink.write(header);
    for (const auto* item : sorted) {
      const Tensor t = item->second.detach().to(at::kCPU).contiguous();
      sink.write({static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()});
    }
  });
}

}  // namespace morphvlm
