// Weights that are elsewhere, fetched shortly before they are needed: in which order is learned from the
// order so far.
#pragma once

#include <ATen/ops/empty.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Memory that is used again once nobody reads what was in it, so that fetching allocates nothing in the long
/// run.
class BufferPool {
 public:
  /// uint8 [bytes] on a device, in a buffer that nobody else has a tensor in.
  Tensor take(std::int64_t bytes, c10::Device device) {
    Tensor* best = nullptr;
    for (auto& buffer : buffers_) {
      const bool fits = is_free(buffer) && buffer.device() == device && buffer.numel() >= bytes;
      if (fits && (best == nullptr || buffer.numel() < best->numel())) best = &buffer;
    }
    if (best == nullptr) {
      std::erase_if(buffers_, is_free);
      buffers_.push_back(at::empty({bytes}, at::TensorOptions(at::kByte).device(device)));
      best = &buffers_.back();
    }
    return best->slice(0, 0, bytes);
  }

 private:
  static bool is_free(const Tensor& buffer) { return buffer.storage().use_count() == 1; }

  std::vector<Tensor> buffers_ = {};
};

/// Fetches Items, each known by an address that stays its own, and has those on their way that followed the
/// last ones when they were fetched before.
template <class Item>
class Prefetcher {
 public:
  /// What is fetched, there once `wait` has returned.
  struct Flight {
    Tensor all = {};                     ///< the weight
    std::function<void()> wait = [] {};  ///< called once, before `all` is read or its memory used again
  };
  /// Starts to fetch an item.
  using Start = std::function<Flight(const Item&)>;

  /// With up to `ahead` items on their way behind the one in use.
  Prefetcher(std::int64_t ahead, Start start) : ahead_(ahead), start_(std::move(start)) {}
  ~Prefetcher() {
    try {
      land();
    } catch (const std::exception&) {
      // Nobody is left who would use it.
    }
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The item of that address, which is kept as long as this lives.
  Tensor fetch(const void* address, const Item& item) {
    learn(address, item);
    if (!flights_.empty() && flights_.front().first != address) land();
    if (flights_.empty()) flights_.emplace_back(address, start_(item));
    const Flight flight = std::move(flights_.front().second);
    flights_.pop_front();
    prefetcher();
    flight.wait();
    return flight.all;
  }

 private:
  using Used = std::vector<const void*>;

  // What was foreseen wrongly arrives all the same.
  void land() {
    const auto flights = std::exchange(flights_, {});
    for (const auto& [address, flight] : flights) flight.wait();
  }

  // What was used last tells what comes next: two weights whether the pass goes up or down the layers, more
  // of them whether a layer runs for the first time or again. What was seen is kept, so that no address comes
  // to stand for another weight (of several processes, in some of them alone).
  static constexpr std::array<std::size_t, 3> kMemories{32, 8, 2};

  void learn(const void* address, const Item& item) {
    seen_.emplace(address, item);
    for (const auto length : kMemories) {
      if (length <= used_.size()) next_[last(used_, length)] = address;
    }
    used_.push_back(address);
    if (used_.size() > kMemories.front()) used_.erase(used_.begin());
  }

  static Used last(const Used& used, std::size_t length) {
    return {used.end() - static_cast<std::ptrdiff_t>(length), used.end()};
  }

  // What followed the longest known end of `used`, or none.
  const void* foreseen(const Used& used) const {
    for (const auto length : kMemories) {
      if (length > used.size()) continue;
      const auto found = next_.find(last(used, length));
      if (found != next_.end()) return found->second;
    }
    return nullptr;
  }

  void prefetcher() {
    auto used = used_;
    for (const auto& [address, flight] : flights_) used.push_back(address);
    while (std::ssize(flights_) < ahead_) {
      const void* const next = foreseen(used);
      if (next == nullptr) return;
      flights_.emplace_back(next, start_(seen_.at(next)));
      used.push_back(next);
    }
  }

  std::int64_t ahead_;
  Start start_;
  std::map<const void*, Item> seen_ = {};
  std::map<Used, const void*> next_ = {};
  Used used_ = {};
  std::deque<std::pair<const void*, Flight>> flights_ = {};
};

}  // namespace morphvlm
