// A frozen base that several processes hold together: each keeps a part of every projection, and a whole one
// is put together shortly before it is needed (ZeRO-3's parameters, Rajbhandari et al. 2020, for weights that
// never change).
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <string_view>

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/offload/prefetcher.hpp"
#include "morphvlm/quant/quantized.hpp"

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
      : processes_(processes), weights_(ahead, [this](const Tensor& mine) { return start(mine); }) {
    expect(current() == nullptr, "shards: this process is in a group already");
    slot() = this;
  }
  ~ShardGroup() { slot() = nullptr; }
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
  Tensor gather(const Tensor& mine) { return weights_.fetch(mine.data_ptr(), mine); }

 private:
  static ShardGroup*& slot() {
    // Not of a thread: backward passes on a device run in threads of their own.
    static ShardGroup* group = nullptr;
    return group;
  }

  Prefetcher<Tensor>::Flight start(const Tensor& mine) {
    const auto bytes = static_cast<std::int64_t>(mine.nbytes()) * size();
    const Tensor all = buffers_.take(bytes, mine.device()).view(mine.scalar_type());
    return {.all = all, .wait = processes_.start_gather(all, mine)};
  }

  Communicator& processes_;
  BufferPool buffers_ = {};
  Prefetcher<Tensor> weights_;
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
