// TensorBoard's event files: records with checksums around protocol-buffer messages of a few fields. (Python:
// torch.utils.tensorboard.SummaryWriter.)
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

namespace detail {

// CRC-32C (Castagnoli), reflected.
inline std::uint32_t crc32c(std::string_view bytes) {
  static const auto kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82F63B78U : 0U);
      table[i] = value;
    }
    return table;
  }();
  std::uint32_t crc = ~0U;
  for (const unsigned char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ c) & 0xFF];
  return ~crc;
}

template <class T>
std::string bytes_of(T value) {
  const auto array = std::bit_cast<std::array<char, sizeof(T)>>(value);
  return {array.begin(), array.end()};
}

// One record of a TFRecord file.
inline std::string event_record(std::string_view message) {
  // The format masks checksums, so that a checksum of data with checksums inside keeps its worth.
  const auto masked = [](std::string_view bytes) {
    const auto crc = crc32c(bytes);
    return bytes_of(std::uint32_t{((crc >> 15) | (crc << 17)) + 0xA282EAD8U});
  };
  const std::string length = bytes_of(static_cast<std::uint64_t>(message.size()));
  return length + masked(length) + std::string(message) + masked(message);
}

// A protocol-buffer message, field by field, in the order of their numbers.
struct ProtoMessage {
  std::string bytes = {};

  ProtoMessage& real(int field, double value) { return raw(field, 1, bytes_of(value)); }
  ProtoMessage& real32(int field, float value) { return raw(field, 5, bytes_of(value)); }
  ProtoMessage& integer(int field, std::int64_t value) {
    key(field, 0);
    varint(static_cast<std::uint64_t>(value));
    return *this;
  }
  ProtoMessage& text(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes += value;
    return *this;
  }
  ProtoMessage& message(int field, const ProtoMessage& m) { return text(field, m.bytes); }
  ProtoMessage& reals(int field, std::span<const double> values) {
    std::string packed;
    for (const double value : values) packed += bytes_of(value);
    return text(field, packed);
  }

 private:
  void varint(std::uint64_t value) {
    for (; value > 0x7F; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
    bytes += static_cast<char>(value);
  }
  void key(int field, int wire) {
    varint(static_cast<std::uint64_t>(field) << 3 | static_cast<unsigned>(wire));
  }
  ProtoMessage& raw(int field, int wire, const std::string& value) {
    key(field, wire);
    bytes += value;
    return *this;
  }
};

}  // namespace detail

/// A picture as TensorBoard shows it.
struct EventImage {
  std::int64_t height = 0,     ///< in pixels, as the encoded file says
      width = 0;               ///< in pixels
  std::string_view file = {};  ///< PNG or JPEG, encoded
};

/// Writes one event file into a folder that `tensorboard --logdir` watches. Each event is flushed, so that a
/// killed run keeps its past. With an empty folder nothing is written.
class EventFile {
 public:
  /// A clock in seconds since 1970; tests bring their own.
  using Clock = double (*)();

  /// Writes nothing.
  EventFile() = default;
  /// Opens a file of its own in `folder`. A run that goes on from `first_step` > 0 hides what earlier files
  /// say of that step and later ones. Error: the folder cannot be written.
  explicit EventFile(const std::filesystem::path& folder, std::int64_t first_step = 0, Clock clock = &now)
      : clock_(clock) {
    if (folder.empty()) return;
    std::filesystem::create_directories(folder);
    path_ = folder / ("events.out.tfevents." + std::to_string(static_cast<std::int64_t>(clock_())) +
                      ".morphvlm." + std::to_string(::getpid()));
    out_.open(path_, std::ios::binary | std::ios::trunc);
    expect(out_.good(), path_.string(), ": cannot be opened for writing");
    write(detail::ProtoMessage{}.real(1, clock_()).text(3, "brain.Event:2"));
    constexpr std::int64_t kStart = 1;
    if (first_step > 0)
      write(detail::ProtoMessage{}
                .real(1, clock_())
                .integer(2, first_step)
                .message(7, detail::ProtoMessage{}.integer(1, kStart)));
  }

  /// A number that is drawn as a curve over steps.
  void scalar(std::string_view tag, double value, std::int64_t step) {
    add(detail::ProtoMessage{}.text(1, tag).real32(2, static_cast<float>(value)), step);
  }

  /// How values are distributed. Error: there are none.
  void histogram(std::string_view tag, std::span<const double> values, std::int64_t step) {
    expect(!values.empty(), "event file: histogram \"", tag, "\" of no values");
    add(detail::ProtoMessage{}.text(1, tag).message(5, histogram_of(values)), step);
  }

  /// A text, which TensorBoard shows as Markdown.
  void text(std::string_view tag, std::string_view markdown, std::int64_t step) {
    constexpr std::int64_t kString = 7;
    using detail::ProtoMessage;
    const auto plugin = ProtoMessage{}.text(1, "text");
    const auto shape = ProtoMessage{}.message(2, ProtoMessage{}.integer(1, 1));
    add(ProtoMessage{}
            .text(1, tag)
            .message(8, ProtoMessage{}.integer(1, kString).message(2, shape).text(8, markdown))
            .message(9, ProtoMessage{}.message(1, plugin)),
        step);
  }

  /// A picture, which TensorBoard decodes; it is written as it comes.
  void image(std::string_view tag, const EventImage& image, std::int64_t step) {
    constexpr std::int64_t kRgb = 3;
    add(detail::ProtoMessage{}.text(1, tag).message(4, detail::ProtoMessage{}
                                                           .integer(1, image.height)
                                                           .integer(2, image.width)
                                                           .integer(3, kRgb)
                                                           .text(4, image.file)),
        step);
  }

  /// The file; empty where nothing is written.
  const std::filesystem::path& path() const { return path_; }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }

  // Equal buckets between the smallest and the largest value.
  static detail::ProtoMessage histogram_of(std::span<const double> values) {
    constexpr std::size_t kBuckets = 30;
    double low = values[0], high = values[0], sum = 0, squares = 0;
    for (const double v : values) {
      low = std::min(low, v);
      high = std::max(high, v);
      sum += v;
      squares += v * v;
    }
    const double width = high > low ? (high - low) / kBuckets : 1;
    std::array<double, kBuckets> limits{}, counts{};
    for (std::size_t i = 0; i < kBuckets; ++i) limits[i] = low + width * static_cast<double>(i + 1);
    for (const double v : values)
      ++counts[std::min(kBuckets - 1, static_cast<std::size_t>((v - low) / width))];
    return detail::ProtoMessage{}
        .real(1, low)
        .real(2, high)
        .real(3, static_cast<double>(values.size()))
        .real(4, sum)
        .real(5, squares)
        .reals(6, limits)
        .reals(7, counts);
  }

  void add(const detail::ProtoMessage& value, std::int64_t step) {
    if (path_.empty()) return;
    write(detail::ProtoMessage{}
              .real(1, clock_())
              .integer(2, step)
              .message(5, detail::ProtoMessage{}.message(1, value)));
  }

  void write(const detail::ProtoMessage& event) {
    out_ << detail::event_record(event.bytes) << std::flush;
    expect(out_.good(), path_.string(), ": cannot be written (disk full?)");
  }

  Clock clock_ = &now;
  std::filesystem::path path_ = {};
  std::ofstream out_ = {};
};

}  // namespace morphvlm
