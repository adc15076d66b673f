// The header of a safetensors file, read and checked event by event: hostile headers cost no more time or
// memory than their own length.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/formats/bytes.hpp"

namespace morphvlm {

/// Longest header the format allows, in bytes.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// One tensor of a safetensors header. `begin` and `end` count from the end of the header.
struct SafetensorsEntry {
  std::string name;                   ///< unique in its file
  at::ScalarType dtype = at::kFloat;  ///< by `dtype`
  std::vector<std::int64_t> shape;    ///< `shape`; empty: a scalar
  std::uint64_t begin = 0,            ///< first of `data_offsets`
      end = 0;                        ///< second of `data_offsets`
};

/// A header: the tensors in the order in which it names them, and the file's own `__metadata__`.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        ///< all tensors
  std::map<std::string, std::string> metadata;  ///< `__metadata__`; empty where the file has none
};

namespace detail {

inline constexpr std::pair<std::string_view, at::ScalarType> kSafetensorsTypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool}};

inline constexpr const char* kMetadataKey = "__metadata__";

// Takes the parser's events: an object of objects, whose fields are a text or a flat list of counts.
struct SafetensorsEvents : Json::json_sax_t {
  std::string where;
  SafetensorsHeader header;

  explicit SafetensorsEvents(std::string file) : where(std::move(file)) {}

  bool start_object(std::size_t) override {
    if (++depth_ == 1) return true;
    expect(depth_ == 2 && !list_, here(), "unexpected nested object");
    if (!in_metadata()) header.entries.emplace_back().name = name_;
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !in_metadata()) finish(header.entries.back());
    fields_.clear();
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      name_ = text;
      expect(names_.insert(text).second, where, ": \"", text, "\" appears twice in the header");
    } else {
      field_ = text;
      expect(fields_.insert(text).second, here(), "\"", text, "\" appears twice");
      expect(in_metadata() || text == "dtype" || text == "shape" || text == "data_offsets", here(),
             "unknown field \"", text, "\"");
    }
    return true;
  }
  bool string(string_t& text) override {
    expect(depth_ == 2 && !list_ && (in_metadata() || field_ == "dtype"), here(), "unexpected text \"", text,
           "\"");
    if (in_metadata()) return header.metadata.emplace(field_, text).second;
    const auto known =
        std::ranges::find(kSafetensorsTypes, text, &std::pair<std::string_view, at::ScalarType>::first);
    expect(known != std::end(kSafetensorsTypes), here(), "dtype \"", text,
           "\" is not supported; supported: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL");
    header.entries.back().dtype = known->second;
    return true;
  }
  bool start_array(std::size_t) override {
    expect(depth_ == 2 && !list_ && (field_ == "shape" || field_ == "data_offsets") && !in_metadata(), here(),
           "unexpected list");
    list_ = true;
    return true;
  }
  bool end_array() override { return !(list_ = false); }
  bool number_unsigned(number_unsigned_t n) override {
    expect(list_, here(), "unexpected number ", n);
    expect(n <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}, here(), field_, ": ", n,
           " is too large");
    if (field_ == "shape")
      header.entries.back().shape.push_back(static_cast<std::int64_t>(n));
    else
      offsets_.push_back(n);
    return true;
  }
  bool number_integer(number_integer_t n) override { fail(here(), field_, ": negative number ", n); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool null() override { return unexpected("null"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool parse_error(std::size_t, const std::string&, const Json::exception& e) override {
    fail(where, ": the header is not valid JSON: ", e.what());
  }

 private:
  bool in_metadata() const { return name_ == kMetadataKey; }
  std::string here() const { return where + ": header entry \"" + name_ + "\": "; }
  bool unexpected(std::string_view what) const { fail(here(), "unexpected ", what); }

  void finish(SafetensorsEntry& entry) {
    expect(fields_.size() == 3, here(), "expected dtype, shape and data_offsets, found ", fields_.size(),
           " of them");
    expect(offsets_.size() == 2, here(), "data_offsets: expected 2 numbers, found ", offsets_.size());
    entry.begin = offsets_[0], entry.end = offsets_[1];
    offsets_.clear();
    const auto numel = checked_numel(entry.shape);
    const auto size = static_cast<std::int64_t>(c10::elementSize(entry.dtype));
    const auto bytes = numel ? checked_product(*numel, size) : numel;
    expect(bytes.has_value(), here(), "shape ", to_string(entry.shape),
           " has more elements than can be counted");
    expect(entry.begin <= entry.end && entry.end - entry.begin == static_cast<std::uint64_t>(*bytes), here(),
           describe_entry(entry), " needs ", *bytes, " bytes, data_offsets are [", entry.begin, ", ",
           entry.end, "]");
  }
  static std::string describe_entry(const SafetensorsEntry& entry) {
    return std::string(c10::toString(entry.dtype)) + ' ' + to_string(entry.shape);
  }

  int depth_ = 0;
  bool list_ = false;
  std::string name_, field_;
  std::unordered_set<std::string> names_, fields_;
  std::vector<std::uint64_t> offsets_;
};

// The format leaves no byte of the data unused and none used twice.
inline void check_coverage(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_size,
                           const std::string& where) {
  std::vector<const SafetensorsEntry*> sorted;
  for (const auto& entry : entries) sorted.push_back(&entry);
  std::ranges::stable_sort(sorted, {}, [](auto* e) { return std::pair(e->begin, e->end); });
  std::uint64_t at = 0;
  for (const auto* entry : sorted) {
    expect(entry->begin >= at, where, ": tensor \"", entry->name, "\" begins at ", entry->begin,
           " and overlaps the one that ends at ", at);
    expect(entry->begin == at, where, ": a hole of ", entry->begin - at, " bytes before tensor \"",
           entry->name, '"');
    expect(entry->end <= data_size, where, ": truncated: tensor \"", entry->name, "\" ends at ", entry->end,
           ", the file has ", data_size, " bytes of data");
    at = entry->end;
  }
  expect(at == data_size, where, ": ", data_size - at, " bytes after the last tensor");
}

}  // namespace detail

/// Reads and checks the header's JSON. `data_size` is the number of bytes that follow the header; `where`
/// (the file) leads every message.
inline SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_size,
                                                  const std::string& where) {
  expect(json.starts_with('{'), where, ": not a safetensors file: the header does not begin with '{'");
  detail::SafetensorsEvents events(where);
  Json::sax_parse(json.begin(), json.end(), &events);
  detail::check_coverage(events.header.entries, data_size, where);
  return std::move(events.header);
}

}  // namespace morphvlm
