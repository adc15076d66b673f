// GGUF, versions 2 and 3: metadata and (quantised) tensors of llama.cpp's model files, read in place.
#pragma once

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/gguf_quant.hpp"
#include "morphvlm/formats/gguf_value.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm {

/// A tensor of a GGUF file. `shape` is row-major, [out, in], the reverse of the file's order.
struct GgufTensor {
  std::string_view name;            ///< llama.cpp's, such as "blk.0.attn_q.weight"
  const GgmlType* type = nullptr;   ///< of kGgmlTypes; never null in an open file
  std::vector<std::int64_t> shape;  ///< at most four dimensions
  std::uint64_t offset = 0;         ///< from the start of the data
  std::span<std::byte> data;        ///< in the mapping: whole blocks of `type`
};

/// An open GGUF file. Everything is checked when it is opened; views stay valid as long as `map` does.
struct GgufFile {
  std::shared_ptr<const MappedFile> map;           ///< the file
  std::uint32_t version = 0;                       ///< 2 or 3
  std::map<std::string_view, GgufValue> metadata;  ///< by key, such as "general.architecture"
  std::vector<GgufTensor> tensors;                 ///< in the file's order

  /// Whether the metadata has `key`.
  bool contains(std::string_view key) const { return metadata.contains(key); }

  /// The metadata value `key` as T (see decode); missing or of another type is an Error.
  template <class T>
  T get(std::string_view key) const {
    const auto found = metadata.find(key);
    expect(found != metadata.end(), map->path.string(), ": metadata key \"", key, "\" is missing");
    return decode<T>(found->second, map->path.string() + ": metadata key \"" + std::string(key) + '"');
  }
  /// As get, with `fallback` for a missing key.
  template <class T>
  T get_or(std::string_view key, T fallback) const {
    return contains(key) ? get<T>(key) : std::move(fallback);
  }

  /// A tensor in `dtype` (at::kFloat, at::kBFloat16 or at::kHalf), dequantised. One that is stored in that
  /// dtype is the file's own memory (see mapped_tensor).
  Tensor tensor(const GgufTensor& info, at::ScalarType dtype = at::kFloat) const;
  /// The tensor called `name`; an Error where there is none.
  Tensor tensor(std::string_view name, at::ScalarType dtype = at::kFloat) const {
    const auto info = std::ranges::find(tensors, name, &GgufTensor::name);
    expect(info != tensors.end(), map->path.string(), ": tensor \"", name, "\" is missing");
    return tensor(*info, dtype);
  }
};

namespace detail {

inline void read_gguf_header(ByteReader& reader, GgufFile& file) {
  expect(reader.read<std::uint32_t>("the magic number") == 0x46554747, reader.where,
         ": not a GGUF file: it does not begin with \"GGUF\"");
  file.version = reader.read<std::uint32_t>("the version");
  expect((file.version & 0xFFFF) != 0, reader.where, ": a big-endian GGUF file; little-endian is supported");
  expect(file.version == 2 || file.version == 3, reader.where, ": GGUF version ", file.version,
         "; versions 2 and 3 are supported");
}

inline void read_gguf_metadata(ByteReader& reader, GgufFile& file, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto key = read_gguf_text(reader, "a metadata key");
    const GgufType type = read_gguf_type(reader, key);
    const std::size_t begin = reader.at;
    skip_gguf_value(reader, type, key);
    const GgufValue value{type, reader.bytes.subspan(begin, reader.at - begin)};
    expect(file.metadata.emplace(key, value).second, reader.where, ": metadata key \"", key,
           "\" appears twice");
  }
}

// Bytes of a tensor; an Error where they cannot be counted or a row is not made of whole blocks.
inline std::int64_t gguf_tensor_size(const GgufTensor& t, const std::string& where) {
  const auto numel = checked_numel(t.shape);
  expect(numel.has_value(), where, "shape ", to_string(t.shape), " has more elements than can be counted");
  const std::int64_t row = t.shape.empty() ? 1 : t.shape.back();
  expect(row % t.type->elements == 0, where, "rows of ", row, " elements are not made of whole ",
         t.type->name, " blocks of ", t.type->elements);
  const auto size = checked_product(*numel / t.type->elements, t.type->bytes);
  expect(size.has_value(), where, "shape ", to_string(t.shape), " has more bytes than can be counted");
  return *size;
}

inline GgufTensor read_gguf_tensor(ByteReader& reader, std::uint64_t alignment) {
  GgufTensor t;
  t.name = read_gguf_text(reader, "a tensor's name");
  const auto where = reader.where + ": tensor \"" + std::string(t.name) + "\": ";
  const auto rank = reader.read<std::uint32_t>("a tensor's number of dimensions");
  expect(rank <= 4, where, rank, " dimensions, the format allows 4");
  for (std::uint32_t d = 0; d < rank; ++d) {
    const auto dim = reader.read<std::int64_t>("a tensor's dimension");
    expect(dim >= 0, where, "negative dimension ", dim);
    t.shape.insert(t.shape.begin(), dim);
  }
  const auto type = reader.read<std::uint32_t>("a tensor's type");
  t.type = find_ggml_type(type);
  expect(t.type != nullptr, where, "unknown quantisation type ", type);
  t.offset = reader.read<std::uint64_t>("a tensor's offset");
  expect(t.offset % alignment == 0, where, "offset ", t.offset, " is not a multiple of the alignment ",
         alignment);
  return t;
}

// Gives every tensor its bytes: within the file, none of them used twice.
inline void locate_gguf_data(ByteReader& reader, std::uint64_t alignment, GgufFile& file) {
  const std::uint64_t padding = (alignment - reader.at % alignment) % alignment;
  const auto data =
      padding <= reader.remaining() ? reader.bytes.subspan(reader.at + padding) : reader.bytes.last(0);
  std::vector<GgufTensor*> sorted;
  for (auto& t : file.tensors) {
    const auto where = reader.where + ": tensor \"" + std::string(t.name) + "\": ";
    const auto size = static_cast<std::uint64_t>(gguf_tensor_size(t, where));
    expect(t.offset <= data.size() && size <= data.size() - t.offset, where, "truncated: ", size,
           " bytes at offset ", t.offset, ", the file has ", data.size(), " bytes of data");
    t.data = data.subspan(static_cast<std::size_t>(t.offset), static_cast<std::size_t>(size));
    if (size > 0) sorted.push_back(&t);
  }
  std::ranges::sort(sorted, {}, &GgufTensor::offset);
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const GgufTensor &before = *sorted[i - 1], &t = *sorted[i];
    expect(t.offset - before.offset >= before.data.size(), reader.where, ": tensor \"", t.name,
           "\" overlaps tensor \"", before.name, '"');
  }
}

template <class Out>
Tensor dequantized(const GgufTensor& info, at::ScalarType dtype) {
  Tensor out = at::empty(info.shape, TensorOptions().dtype(dtype));
  dequantize(*info.type, info.data, static_cast<Out*>(out.data_ptr()));
  return out;
}

}  // namespace detail

inline Tensor GgufFile::tensor(const GgufTensor& info, at::ScalarType dtype) const {
  const auto where = map->path.string() + ": tensor \"" + std::string(info.name) + "\": ";
  expect(can_dequantize(info.type->id), where, "quantisation ", info.type->name,
         " is not supported; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q6_K");
  const std::string_view stored = info.type->name;
  if ((dtype == at::kFloat && stored == "F32") || (dtype == at::kHalf && stored == "F16") ||
      (dtype == at::kBFloat16 && stored == "BF16")) {
    return mapped_tensor(map, info.data, info.shape, dtype);
  }
  switch (dtype) {
    case at::kFloat:
      return detail::dequantized<float>(info, dtype);
    case at::kHalf:
      return detail::dequantized<c10::Half>(info, dtype);
    case at::kBFloat16:
      return detail::dequantized<c10::BFloat16>(info, dtype);
    default:
      fail(where, "cannot be read as ", dtype, "; float32, bfloat16 or float16 can");
  }
}

/// Maps a GGUF file and checks its whole structure: counts, strings and arrays against the file's size,
/// types, alignment, and that the tensors' data lies in the file without overlap.
inline GgufFile open_gguf(const std::filesystem::path& path) {
  GgufFile file;
  file.map = map_file(path);
  ByteReader reader{file.map->bytes, path.string()};
  detail::read_gguf_header(reader, file);
  // The least that a tensor's entry and a key with its value take.
  const auto tensor_count = detail::read_gguf_count(reader, 24, "tensors");
  const auto key_count = detail::read_gguf_count(reader, 13, "metadata keys");
  detail::read_gguf_metadata(reader, file, key_count);
  const auto alignment = file.get_or<std::uint32_t>("general.alignment", 32);
  expect(std::has_single_bit(alignment), reader.where, ": general.alignment is ", alignment,
         ", expected a power of two");
  std::unordered_set<std::string_view> names;
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    const auto& t = file.tensors.emplace_back(detail::read_gguf_tensor(reader, alignment));
    expect(names.insert(t.name).second, reader.where, ": tensor \"", t.name, "\" appears twice");
  }
  detail::locate_gguf_data(reader, alignment, file);
  return file;
}

}  // namespace morphvlm
