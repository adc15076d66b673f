// SHA-256 (FIPS 180-4), for comparing pixels with the hashes in the golden files.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace morphvlm::testing {

namespace sha256_detail {

/// The first 32 fraction bits of a root of the primes: what the standard's constants are.
inline std::array<std::uint32_t, 64> prime_roots(long double (*root)(long double)) {
  std::array<std::uint32_t, 64> out{};
  std::size_t count = 0;
  for (int n = 2; count < out.size(); ++n) {
    bool prime = true;
    for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
    if (!prime) continue;
    const long double value = root(n);
    out[count++] = static_cast<std::uint32_t>((value - std::floor(value)) * 4294967296.0L);
  }
  return out;
}

inline void block(std::array<std::uint32_t, 8>& state, const unsigned char* bytes) {
  static const auto constants = prime_roots([](long double x) { return std::cbrt(x); });
  std::array<std::uint32_t, 64> w{};
  for (std::size_t i = 0; i < 64; ++i) {
    if (i < 16) {
      for (std::size_t b = 0; b < 4; ++b) w[i] = w[i] << 8 | bytes[4 * i + b];
      continue;
    }
    const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
    const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i];
    const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::array<std::uint32_t, 8> add = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < 8; ++i) state[i] += add[i];
}

}  // namespace sha256_detail

/// The hash in lower-case hexadecimal.
inline std::string sha256(std::string_view bytes) {
  static const auto start = sha256_detail::prime_roots([](long double x) { return std::sqrt(x); });
  std::string padded(bytes);
  padded += '\x80';
  padded.resize((padded.size() + 8 + 63) / 64 * 64, '\0');
  for (std::size_t i = 0; i < 8; ++i)
    padded[padded.size() - 1 - i] = static_cast<char>(static_cast<std::uint64_t>(bytes.size()) * 8 >> 8 * i);
  std::array<std::uint32_t, 8> state{};
  for (std::size_t i = 0; i < 8; ++i) state[i] = start[i];
  for (std::size_t at = 0; at < padded.size(); at += 64)
    sha256_detail::block(state, reinterpret_cast<const unsigned char*>(padded.data()) + at);
  std::string out;
  for (const std::uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
  return out;
}

}  // namespace morphvlm::testing
