// The merge loop of byte-pair encoding: of all adjacent pairs, merge the one whose rule comes first, the
// leftmost of equals, until no rule fits. A heap over a linked list: O(n log n) for a word of n bytes.
#pragma once

#include <cstdint>
#include <mutex>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace morphvlm {

/// One merge rule; its pair is its key in BpeMerges.
struct BpeMerge {
  std::int32_t rank = 0,  ///< place in the list, from 0; lower goes first
      id = 0;             ///< the token that it makes
};

/// Merge rules by the pair of token ids that they join.
using BpeMerges = std::unordered_map<std::uint64_t, BpeMerge>;

/// The key of a pair of token ids in BpeMerges.
constexpr std::uint64_t bpe_pair(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

namespace detail {

struct BpeSymbol {
  std::int32_t id, previous, next;  // neighbours as indices, -1 at the ends; id -1 once merged away
};

struct BpeCandidate {
  std::int32_t rank, left, id;
  bool operator<(const BpeCandidate& other) const {  // std::priority_queue pops the greatest: reversed
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

struct BpeWord {
  const BpeMerges& merges;
  std::vector<BpeSymbol> symbols;
  std::priority_queue<BpeCandidate> queue;

  void consider(std::int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    const auto rule = merges.find(bpe_pair(at(left).id, at(at(left).next).id));
    if (rule != merges.end()) queue.push({rule->second.rank, left, rule->second.id});
  }
  BpeSymbol& at(std::int32_t i) { return symbols[static_cast<std::size_t>(i)]; }
};

}  // namespace detail

/// Merges `ids` (the tokens of a word's bytes) as far as the rules go.
inline std::vector<std::int64_t> bpe_merge(const BpeMerges& merges, const std::vector<std::int32_t>& ids) {
  detail::BpeWord word{merges, {}, {}};
  const auto count = static_cast<std::int32_t>(ids.size());
  for (std::int32_t i = 0; i < count; ++i)
    word.symbols.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  for (std::int32_t i = 0; i < count; ++i) word.consider(i);
  while (!word.queue.empty()) {
    const detail::BpeCandidate best = word.queue.top();
    word.queue.pop();
    detail::BpeSymbol& left = word.at(best.left);
    if (left.id < 0 || left.next < 0) continue;
    detail::BpeSymbol& right = word.at(left.next);
    const auto rule = merges.find(bpe_pair(left.id, right.id));
    // The pair may have changed since it was queued; what it is now was queued then.
    if (rule == merges.end() || rule->second.rank != best.rank) continue;
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) word.at(left.next).previous = best.left;
    word.consider(left.previous);
    word.consider(best.left);
  }
  std::vector<std::int64_t> out;
  for (std::int32_t i = count > 0 ? 0 : -1; i >= 0; i = word.at(i).next) out.push_back(word.at(i).id);
  return out;
}

/// The ids of words seen before; safe to share between threads. It stops taking words when full: natural
/// text repeats few words, and hostile text must not grow it.
class BpeWordCache {
 public:
  static constexpr std::size_t kMaxWords = 16384,  ///< words until it is full; with kMaxBytes a few MB
      kMaxBytes = 64;                              ///< of a word; longer ones are not taken

  /// Appends the ids of `word` to `out`; false if it is not known.
  bool append(const std::string& word, std::vector<std::int64_t>& out) const {
    const std::scoped_lock lock(mutex_);
    const auto found = words_.find(word);
    if (found == words_.end()) return false;
    out.insert(out.end(), found->second.begin(), found->second.end());
    return true;
  }

  /// Remembers a word, if there is room.
  void store(const std::string& word, const std::vector<std::int64_t>& ids) {
    if (word.size() > kMaxBytes) return;
    const std::scoped_lock lock(mutex_);
    if (words_.size() < kMaxWords) words_.emplace(word, ids);
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::vector<std::int64_t>> words_;
};

}  // namespace morphvlm
