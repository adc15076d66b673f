// Randomness is always explicit: a generator is passed, never global, so that a seed decides a run.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

namespace morphvlm {

/// A generator of its own for tensors on `device`, as `torch.Generator(device).manual_seed(seed)`: MT19937 on
/// a CPU, Philox on CUDA, which draws other numbers from the same seed.
inline at::Generator make_generator(std::uint64_t seed, c10::Device device = at::kCPU) {
  if (device.is_cpu() || device.is_meta()) return at::detail::createCPUGenerator(seed);
  auto generator =
      at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

/// SplitMix64's output function: a good 64-bit mix of a counter (Steele, Lea, Flood 2014).
inline std::uint64_t split_mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// FNV-1a, 64 bit: a stable hash of text, the same on every platform.
inline std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001B3ULL;
  return hash;
}

/// A stream of 64-bit numbers decided by its seed alone. Unlike std::shuffle and the standard
/// distributions, what is built on it is the same with every standard library.
struct CounterRng {
  std::uint64_t seed = 0;     ///< any number; neighbouring seeds give unrelated streams
  std::uint64_t counter = 0;  ///< numbers drawn so far; setting it goes to that place of the stream

  /// The next 64 bits.
  std::uint64_t next() { return split_mix(split_mix(seed) + counter++); }
  /// Uniform in [0, n), without modulo bias worth naming for n far below 2^64.
  std::uint64_t below(std::uint64_t n) { return next() % n; }
};

/// 0..n-1 in the order that (seed, epoch) decides (Fisher-Yates).
inline std::vector<std::int64_t> shuffled(std::int64_t n, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  CounterRng rng{split_mix(seed) ^ epoch};
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

}  // namespace morphvlm
