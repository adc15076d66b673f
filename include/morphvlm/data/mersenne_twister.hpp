// The random numbers of numpy's RandomState and of Python's random module: published selections depend on
// them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <unordered_set>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// MT19937 (Matsumoto and Nishimura 1998), with both of its seedings.
class MersenneTwister {
 public:
  /// By one 32-bit number: numpy's `RandomState(seed)`.
  explicit MersenneTwister(std::uint32_t seed) {
    for (std::uint32_t i = 0; i < kSize; ++i) {
      state_[i] = seed;
      seed = 1812433253U * (seed ^ (seed >> 30)) + i + 1;
    }
  }

  /// By a key of 32-bit numbers: Python's `random.seed`.
  static MersenneTwister by_array(const std::vector<std::uint32_t>& key) {
    expect(!key.empty(), "MersenneTwister: expected a key, found none");
    MersenneTwister out(19650218U);
    auto& s = out.state_;
    std::size_t i = 1, j = 0;
    const auto mix = [&](std::uint32_t factor) { return s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * factor); };
    const auto next = [&] {
      if (++i >= kSize) {
        s[0] = s[kSize - 1];
        i = 1;
      }
    };
    for (std::size_t k = std::max<std::size_t>(kSize, key.size()); k > 0; --k) {
      s[i] = mix(1664525U) + key[j] + static_cast<std::uint32_t>(j);
      next();
      if (++j >= key.size()) j = 0;
    }
    for (std::size_t k = kSize - 1; k > 0; --k) {
      s[i] = mix(1566083941U) - static_cast<std::uint32_t>(i);
      next();
    }
    s[0] = 0x80000000U;
    return out;
  }

  /// The next 32 bits.
  std::uint32_t next() {
    if (at_ == kSize) refill();
    std::uint32_t y = state_[at_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680U;
    y ^= (y << 15) & 0xefc60000U;
    return y ^ (y >> 18);
  }

 private:
  static constexpr std::size_t kSize = 624, kShift = 397;

  void refill() {
    for (std::size_t i = 0; i < kSize; ++i) {
      const std::uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kSize] & 0x7fffffffU);
      state_[i] = state_[(i + kShift) % kSize] ^ (y >> 1) ^ ((y & 1) ? 0x9908b0dfU : 0U);
    }
    at_ = 0;
  }

  std::array<std::uint32_t, kSize> state_ = {};
  std::size_t at_ = kSize;
};

/// numpy's legacy generator, `np.random.seed(seed)` and what follows.
struct NumpyRandom {
  MersenneTwister bits;  ///< the 32-bit numbers that all draws are made of

  /// `np.random.seed(seed)`.
  explicit NumpyRandom(std::uint32_t seed) : bits(seed) {}

  /// `np.random.permutation(n)`.
  std::vector<std::int64_t> permutation(std::int64_t n) {
    std::vector<std::int64_t> out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), std::int64_t{0});
    for (std::size_t i = out.size(); i-- > 1;)
      std::swap(out[i], out[interval(static_cast<std::uint32_t>(i))]);
    return out;
  }

  /// `np.random.choice(n, size, replace=False)`.
  std::vector<std::int64_t> choice(std::int64_t n, std::int64_t size) {
    expect(n > 0 && size >= 0 && size <= n && n <= 0xffffffffLL, "choice: cannot take ", size, " of ", n,
           " without repeats");
    auto out = permutation(n);
    out.resize(static_cast<std::size_t>(size));
    return out;
  }

 private:
  // Uniform in [0, max]: draws are cut to as many bits as max has, and repeated while they are too large.
  std::size_t interval(std::uint32_t max) {
    std::uint32_t mask = max;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    std::uint32_t value = bits.next() & mask;
    while (value > max) value = bits.next() & mask;
    return value;
  }
};

/// Python's generator, `random.seed(seed)` and what follows.
struct PythonRandom {
  MersenneTwister bits;  ///< the 32-bit numbers that all draws are made of

  /// `random.seed(seed)`.
  explicit PythonRandom(std::uint64_t seed)
      : bits(MersenneTwister::by_array(
            seed >> 32 ? std::vector<std::uint32_t>{static_cast<std::uint32_t>(seed),
                                                    static_cast<std::uint32_t>(seed >> 32)}
                       : std::vector<std::uint32_t>{static_cast<std::uint32_t>(seed)})) {}

  /// `random.randrange(n)` for n up to 2^32; the index that `random.choice` takes of n items.
  std::int64_t below(std::int64_t n) {
    expect(n > 0 && n <= (std::int64_t{1} << 32), "PythonRandom: expected 1 to 2^32, found ", n);
    int width = 0;
    while (width < 63 && (n >> width) != 0) ++width;
    std::int64_t value = bits_of(width);
    while (value >= n) value = bits_of(width);
    return value;
  }

  /// `random.random()`: uniform in [0, 1), 53 bits.
  double real() {
    const auto high = static_cast<double>(bits.next() >> 5), low = static_cast<double>(bits.next() >> 6);
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

  /// `random.shuffle(items)`.
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i-- > 1;)
      std::swap(items[i], items[static_cast<std::size_t>(below(static_cast<std::int64_t>(i) + 1))]);
  }

  /// `random.sample(range(n), k)`.
  std::vector<std::int64_t> sample(std::int64_t n, std::int64_t k) {
    expect(k >= 0 && k <= n, "sample: cannot take ", k, " of ", n, " without repeats");
    std::vector<std::int64_t> out;
    // Python keeps a set of what is taken where that is smaller than a list of what is left.
    double set_size = 21;
    if (k > 5) set_size += std::pow(4.0, std::ceil(std::log(static_cast<double>(k) * 3) / std::log(4.0)));
    if (static_cast<double>(n) <= set_size) {
      std::vector<std::int64_t> pool(static_cast<std::size_t>(n));
      std::iota(pool.begin(), pool.end(), std::int64_t{0});
      for (std::int64_t i = 0; i < k; ++i) {
        const auto j = static_cast<std::size_t>(below(n - i));
        out.push_back(pool[j]);
        pool[j] = pool[static_cast<std::size_t>(n - i - 1)];
      }
      return out;
    }
    std::unordered_set<std::int64_t> taken;
    while (std::ssize(out) < k) {
      const auto j = below(n);
      if (taken.insert(j).second) out.push_back(j);
    }
    return out;
  }

 private:
  std::int64_t bits_of(int width) {
    if (width <= 32) return static_cast<std::int64_t>(bits.next() >> (32 - width));
    const std::uint64_t low = bits.next(), high = bits.next() >> (64 - width);
    return static_cast<std::int64_t>(high << 32 | low);
  }
};

}  // namespace morphvlm
