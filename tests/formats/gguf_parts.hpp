// GGUF files put together by tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/formats/gguf_value.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::testing {

/// A string of GGUF: its length, then its bytes.
inline std::string gguf_text(std::string_view s) { return le(std::uint64_t{s.size()}) + std::string(s); }

/// A GGUF file in parts, each of which a test can spoil.
struct Parts {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::vector<std::string> keys, tensors;
  std::optional<std::uint64_t> tensor_count, key_count;
  std::string data;
  std::size_t alignment = 32;

  template <class T>
  Parts& key(std::string_view name, GgufType type, T value) {
    return raw_key(name, type, le(value));
  }
  Parts& key(std::string_view name, std::string_view value) {
    return raw_key(name, GgufType::text, gguf_text(value));
  }
  Parts& raw_key(std::string_view name, GgufType type, const std::string& bytes) {
    keys.push_back(gguf_text(name) + le(type) + bytes);
    return *this;
  }
  /// `dims` in the file's order.
  Parts& tensor(std::string_view name, const std::vector<std::int64_t>& dims, std::uint32_t type,
                std::uint64_t offset) {
    std::string entry = gguf_text(name) + le(static_cast<std::uint32_t>(dims.size()));
    for (const auto d : dims) entry += le(d);
    tensors.push_back(entry + le(type) + le(offset));
    return *this;
  }
  /// A small F32 tensor behind all others.
  Parts& floats(std::string_view name, const std::vector<std::int64_t>& dims, float first = 0) {
    tensor(name, dims, 0, data.size());
    std::int64_t count = 1;
    for (const auto d : dims) count *= d;
    for (std::int64_t i = 0; i < count; ++i) data += le(first + static_cast<float>(i));
    data.resize((data.size() + 31) / 32 * 32);
    return *this;
  }
  std::string bytes() const {
    std::string out =
        magic + le(version) + le(tensor_count.value_or(tensors.size())) + le(key_count.value_or(keys.size()));
    for (const auto& k : keys) out += k;
    for (const auto& t : tensors) out += t;
    if (!data.empty()) out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

}  // namespace morphvlm::testing
