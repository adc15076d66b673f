// A frozen base that several processes hold together: each keeps a part of every projection, and a whole one
// is put together shortly before it is needed (ZeRO-3's parameters, Rajbhandari et al. 2020, for weights that
// never change).
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/adapt/quantized.hpp"
#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// The processes that hold a base together, as long as this lives: models of `Sharded` types are made and
/// used meanwhile, alike in all of them: the same weights in the same order, so batches have pictures in all
/// processes or in none. It learns that order, and gathers weights ahead.
class ShardGroup {
 public:
  /// Weights on their way ahead of the one that is used; LLaMA's layers have seven.
  static constexpr std::int64_t kAhead = 7;

  /// Error: there is a group already.
  explicit ShardGroup(Communicator& processes, std::int64_t ahead = kAhead)
      : processes_(processes), ahead_(ahead) {
    expect(current() == nullptr, "shards: this process is in a group already");
    slot() = this;
  }
  ~ShardGroup() {
    slot() = nullptr;
    try {
      for (auto& flight : flights_) flight.wait();
    } catch (const std::exception&) {
      // Nobody is left who would use it.
    }
  }
  ShardGroup(const ShardGroup&) = delete;
  ShardGroup& operator=(const ShardGroup&) = delete;

  /// The group of this process, or none.
  static ShardGroup* current() { return slot(); }

  /// Processes in the group.
  std::int64_t size() const { return processes_.size(); }
  /// Which of them this is, from 0.
  std::int64_t rank() const { return processes_.rank(); }

  /// All processes' parts of what each has `mine` [n] of: [size * n]. Where more than one of them is to be
  /// had soon, they are asked for at once.
  Tensor gather(const Tensor& mine) {
    learn(mine);
    // Another than was foreseen: what is on its way arrives, but nobody waits for it.
    if (!flights_.empty() && flights_.front().mine.data_ptr() != mine.data_ptr()) flights_.clear();
    if (flights_.empty()) flights_.push_back(start(mine));
    const Flight flight = std::move(flights_.front());
    flights_.pop_front();
    look_ahead();
    flight.wait();
    return flight.all;
  }

 private:
  struct Flight {
    Tensor mine = {}, all = {};
    Communicator::Wait wait = {};
  };

  static ShardGroup*& slot() {
    // Not of a thread: backward passes on a device run in threads of their own.
    static ShardGroup* group = nullptr;
    return group;
  }

  Flight start(const Tensor& mine) {
    Flight flight{.mine = mine, .all = room_for(mine.numel() * size(), mine.options())};
    flight.wait = processes_.start_gather(flight.all, mine);
    return flight;
  }

  // Memory is used again once nobody reads what was in it, so that gathering allocates nothing in the long
  // run.
  Tensor room_for(std::int64_t count, const TensorOptions& options) {
    const auto bytes = count * static_cast<std::int64_t>(options.dtype().itemsize());
    const auto is_free = [](const Tensor& room) { return room.storage().use_count() == 1; };
    auto room = std::find_if(rooms_.begin(), rooms_.end(),
                             [&](const Tensor& r) { return is_free(r) && r.numel() >= bytes; });
    if (room == rooms_.end()) {
      std::erase_if(rooms_, is_free);
      room = rooms_.insert(rooms_.end(), at::empty({bytes}, options.dtype(at::kByte)));
    }
    return room->slice(0, 0, bytes).view(c10::typeMetaToScalarType(options.dtype()));
  }

  // What was used last tells what comes next: two weights whether the pass goes up or down the layers, more
  // of them whether a layer runs for the first time or again. What was seen is kept, so that no address comes
  // to stand for another weight in some of the processes alone.
  static constexpr std::array<std::size_t, 3> kMemories{32, 8, 2};

  void learn(const Tensor& mine) {
    seen_.emplace(mine.data_ptr(), mine);
    for (const auto length : kMemories) {
      if (length <= used_.size()) next_[last(used_, length)] = mine;
    }
    used_.push_back(mine.data_ptr());
    if (used_.size() > kMemories.front()) used_.erase(used_.begin());
  }

  static std::vector<const void*> last(const std::vector<const void*>& used, std::size_t length) {
    return {used.end() - static_cast<std::ptrdiff_t>(length), used.end()};
  }

  // What followed the longest known end of `used`, or an undefined tensor.
  Tensor foreseen(const std::vector<const void*>& used) const {
    for (const auto length : kMemories) {
      if (length > used.size()) continue;
      const auto found = next_.find(last(used, length));
      if (found != next_.end()) return found->second;
    }
    return {};
  }

  void look_ahead() {
    auto used = used_;
    for (const auto& flight : flights_) used.push_back(flight.mine.data_ptr());
    while (std::ssize(flights_) < ahead_) {
      const Tensor next = foreseen(used);
      if (!next.defined()) return;
      flights_.push_back(start(next));
      used.push_back(next.data_ptr());
    }
  }

  Communicator& processes_;
  std::int64_t ahead_;
  std::map<const void*, Tensor> seen_ = {};
  std::map<std::vector<const void*>, Tensor> next_ = {};
  std::vector<const void*> used_ = {};
  std::deque<Flight> flights_ = {};
  std::vector<Tensor> rooms_ = {};
};

/// Weights as they are, of which each process of a ShardGroup keeps an equal part; without a group, all.
struct Shards {
  static constexpr std::string_view name = "Shards";  ///< of the format, for reports

  /// What this process stores of a weight.
  struct Packed {
    Tensor shard = {};     ///< [ceil(out * in / processes)] in the weight's dtype, filled up with zeros
    std::int64_t out = 0,  ///< rows of the whole weight
        in = 0;            ///< columns of the whole weight
  };

  /// Shapes alone, on the device and in the dtype of `options`.
  static Packed empty(std::int64_t out, std::int64_t in, const TensorOptions& options) {
    return {.shard = at::empty({length(out * in)}, options), .out = out, .in = in};
  }

  /// This process's part of weight [out, in].
  static Packed pack(const Tensor& weight) {
    const auto* const group = ShardGroup::current();
    const auto n = length(weight.numel()), first = group == nullptr ? 0 : group->rank() * n;
    Packed packed{.shard = at::zeros({n}, weight.options().requires_grad(false)),
                  .out = weight.size(0),
                  .in = weight.size(1)};
    const Tensor mine = weight.detach().reshape({-1}).slice(0, first, first + n);
    packed.shard.slice(0, 0, mine.numel()).copy_(mine);
    return packed;
  }

  /// The weight [out, in], in `dtype`. Error: it was packed for another number of processes.
  static Tensor unpack(const Packed& p, at::ScalarType dtype) {
    auto* const group = ShardGroup::current();
    const auto count = p.out * p.in;
    expect(p.shard.numel() == length(count), "shards: a weight [", p.out, ", ", p.in, "] has a part of ",
           p.shard.numel(), " numbers here; expected ", length(count), " for ",
           group == nullptr ? 1 : group->size(), " processes");
    Tensor all = p.shard;
    if (group != nullptr && group->size() > 1)
      all = all.is_meta() ? at::empty({all.numel() * group->size()}, all.options()) : group->gather(all);
    return all.slice(0, 0, count).view({p.out, p.in}).to(dtype);
  }

 private:
  static std::int64_t length(std::int64_t count) {
    const auto* const group = ShardGroup::current();
    const auto size = group == nullptr ? 1 : group->size();
    return (count + size - 1) / size;
  }
};

/// All projections of the language model and of the gated blocks held by the processes of a ShardGroup
/// together, adapted as P says: `VLM<ClipViT, Perceiver, OpenLLaMA, Sharded<LoRA<Attn>>>`. `quantize_into`
/// fills it from a model with whole weights.
template <AdapterPolicy P = NoAdapter>
using Sharded = Quantized<Shards, P>;

}  // namespace morphvlm
