// Block quantisation of GGML: what a block of each type holds, and back to numbers.
#pragma once

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// A GGML tensor type: `bytes` bytes hold `elements` consecutive elements of a row.
struct GgmlType {
  std::uint32_t id = 0;       ///< `ggml_type` in the file
  std::string_view name;      ///< GGML's, without its GGML_TYPE_
  std::int64_t elements = 1;  ///< of a block; a row is made of whole ones
  std::int64_t bytes = 1;     ///< of a block
};

/// The types that files may hold (GGML's numbers). The sizes of those that cannot be dequantised here are
/// known too, so that such a file's metadata can be read.
inline constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17}};

namespace detail {

// Blocks hold little-endian values at odd addresses.
template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
inline float load_half(const std::byte* from) {
  return c10::detail::fp16_ieee_to_fp32_value(load<std::uint16_t>(from));
}

// Each Block decodes kElements elements from kBytes bytes. The products are exact in fp32 (11 bits of scale
// times at most 13 of the number), so contraction to fused multiply-add changes nothing.
struct F32Block {
  static constexpr int kElements = 1, kBytes = 4;
  static void decode(const std::byte* in, float* out) { *out = load<float>(in); }
};
struct F16Block {
  static constexpr int kElements = 1, kBytes = 2;
  static void decode(const std::byte* in, float* out) { *out = load_half(in); }
};
struct Bf16Block {
  static constexpr int kElements = 1, kBytes = 2;
  static void decode(const std::byte* in, float* out) {
    *out = std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(in)} << 16);
  }
};
// scale, then 32 signed bytes.
struct Q8Block {
  static constexpr int kElements = 32, kBytes = 34;
  static void decode(const std::byte* in, float* out) {
    const float scale = load_half(in);
    for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(load<std::int8_t>(in + 2 + i));
  }
};
// 16 bytes: low nibbles are elements 0-15, high nibbles 16-31; value = scale * nibble + offset.
inline void decode_nibbles(const std::byte* in, float scale, float offset, int zero, float* out) {
  for (int i = 0; i < 16; ++i) {
    const int pair = std::to_integer<int>(in[i]);
    out[i] = scale * static_cast<float>((pair & 15) - zero) + offset;
    out[i + 16] = scale * static_cast<float>((pair >> 4) - zero) + offset;
  }
}
struct Q40Block {
  static constexpr int kElements = 32, kBytes = 18;
  // Adding -0 keeps the sign of a zero.
  static void decode(const std::byte* in, float* out) {
    decode_nibbles(in + 2, load_half(in), -0.0F, 8, out);
  }
};
struct Q41Block {
  static constexpr int kElements = 32, kBytes = 20;
  static void decode(const std::byte* in, float* out) {
    decode_nibbles(in + 4, load_half(in), load_half(in + 2), 0, out);
  }
};
// Two halves of 128 elements, each in four runs of 32: 64 bytes of low nibbles (runs 0, 1 low, 2, 3 high), 32
// bytes of upper bit pairs (run r at bit 2r); before them all lows, then all pairs; then a signed scale per
// 16 elements and one scale for all.
struct Q6kBlock {
  static constexpr int kElements = 256, kBytes = 210;
  static void decode(const std::byte* in, float* out) {
    const float scale = load_half(in + 208);
    for (int e = 0; e < 256; e += 16) {
      const int half = e / 128, run = e / 32 % 4, column = e % 32;
      const std::byte* low = in + half * 64 + run % 2 * 32 + column;
      const std::byte* high = in + 128 + half * 32 + column;
      const float step = scale * static_cast<float>(load<std::int8_t>(in + 192 + e / 16));
      for (int i = 0; i < 16; ++i) {
        const int nibble = (std::to_integer<int>(low[i]) >> (run / 2 * 4)) & 15;
        const int upper = (std::to_integer<int>(high[i]) >> (run * 2)) & 3;
        out[e + i] = step * static_cast<float>((nibble | upper << 4) - 32);
      }
    }
  }
};

// Decodes through a buffer that stays in the first-level cache, so that no fp32 copy of the whole tensor is
// made on the way to bf16.
template <class Block, class Out>
void decode_blocks(const std::byte* in, Out* out, std::int64_t blocks) {
  constexpr std::int64_t kBatch = std::max(1, 1024 / Block::kElements);
  at::parallel_for(0, blocks, std::max<std::int64_t>(1, 65536 / Block::kElements),
                   [=](std::int64_t begin, std::int64_t end) {
                     std::array<float, kBatch * Block::kElements> buffer;
                     for (std::int64_t at = begin; at < end; at += kBatch) {
                       const std::int64_t count = std::min(kBatch, end - at);
                       for (std::int64_t b = 0; b < count; ++b) {
                         Block::decode(in + (at + b) * Block::kBytes, buffer.data() + b * Block::kElements);
                       }
                       std::copy_n(buffer.data(), count * Block::kElements, out + at * Block::kElements);
                     }
                   });
}

}  // namespace detail

/// The type with GGML's number `id`; null where it is not known.
inline const GgmlType* find_ggml_type(std::uint32_t id) {
  const auto* type = std::ranges::find(kGgmlTypes, id, &GgmlType::id);
  return type == std::end(kGgmlTypes) ? nullptr : type;
}

/// Whether dequantize can decode the type.
inline bool can_dequantize(std::uint32_t id) {
  constexpr std::uint32_t kDecoded[] = {0, 1, 2, 3, 8, 14, 30};
  return std::ranges::find(kDecoded, id) != std::end(kDecoded);
}

/// Decodes whole blocks into `out`, which must have room for all their elements. Out is float, c10::Half or
/// c10::BFloat16 (rounded to nearest from the fp32 value). Values equal ggml's own dequantisation bitwise.
template <class Out>
void dequantize(const GgmlType& type, std::span<const std::byte> blocks, Out* out) {
  const auto count = static_cast<std::int64_t>(blocks.size()) / type.bytes;
  switch (type.id) {
    case 0:
      return detail::decode_blocks<detail::F32Block>(blocks.data(), out, count);
    case 1:
      return detail::decode_blocks<detail::F16Block>(blocks.data(), out, count);
    case 2:
      return detail::decode_blocks<detail::Q40Block>(blocks.data(), out, count);
    case 3:
      return detail::decode_blocks<detail::Q41Block>(blocks.data(), out, count);
    case 8:
      return detail::decode_blocks<detail::Q8Block>(blocks.data(), out, count);
    case 14:
      return detail::decode_blocks<detail::Q6kBlock>(blocks.data(), out, count);
    case 30:
      return detail::decode_blocks<detail::Bf16Block>(blocks.data(), out, count);
    default:
      fail(type.name, " cannot be dequantised; F32, F16, BF16, Q8_0, Q4_0, Q4_1 and Q6_K can");
  }
}

}  // namespace morphvlm
