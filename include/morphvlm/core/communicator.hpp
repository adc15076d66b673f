// Processes that work on one thing together, as those see it that need no more than sums and copies.
#pragma once

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// A group of processes, numbered by rank. All of them must make the same calls in the same order. Errors
/// name the ranks that do not answer within the timeout.
struct Communicator {
  /// Returns when a call that was started is done, or throws the error it ended with.
  using Wait = std::function<void()>;

  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  /// This process's number, from 0.
  virtual std::int64_t rank() const = 0;
  /// How many processes there are.
  virtual std::int64_t size() const = 0;
  /// Starts each element's sum over all processes, in place; the same bits everywhere.
  virtual Wait start_sum(Tensor t) = 0;
  /// Starts to put each rank's `mine` [n] into `all` [size * n], in order of rank.
  virtual Wait start_gather(Tensor all, Tensor mine) = 0;
  /// What rank 0 has, in place.
  virtual void broadcast(Tensor& t) = 0;

  /// start_sum, to its end.
  void sum(Tensor& t) { start_sum(t)(); }
};

namespace detail {

inline bool is_first(const Communicator* processes) { return processes == nullptr || processes->rank() == 0; }

inline void broadcast_text(Communicator& processes, std::string& text) {
  Tensor size = at::tensor({static_cast<std::int64_t>(text.size())});
  processes.broadcast(size);
  text.resize(static_cast<std::size_t>(size.item<std::int64_t>()));
  if (text.empty()) return;
  Tensor bytes = at::zeros({std::ssize(text)}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  processes.broadcast(bytes);
  const auto* const from = bytes.const_data_ptr<std::uint8_t>();
  text.assign(from, from + bytes.numel());
}

}  // namespace detail

/// Calls `f(index)` for this process's part of the indices [0, count): every size-th from its rank on. Each
/// process makes as many calls; where they do not come out even, some are of the last index once more, with
/// `again` set: f's work is then for nothing, but a process whose calls need the others' does not wait in
/// vain.
template <class F>
void for_each_shared(std::int64_t count, const Communicator* processes, F&& f) {
  const auto size = processes == nullptr ? 1 : processes->size();
  for (auto i = processes == nullptr ? 0 : processes->rank(); i < (count + size - 1) / size * size; i += size)
    f(std::min(i, count - 1), i >= count);
}

/// Fills in what other processes know: each text must be empty in all processes but one.
inline void join_texts(std::vector<std::string>& texts, Communicator* processes) {
  if (processes == nullptr || texts.empty()) return;
  std::vector<std::int64_t> lengths;
  for (const auto& text : texts) lengths.push_back(std::ssize(text));
  Tensor all_lengths = at::tensor(lengths);
  processes->sum(all_lengths);
  const auto* const length = all_lengths.const_data_ptr<std::int64_t>();
  Tensor bytes = at::zeros({all_lengths.sum().item<std::int64_t>()}, at::kByte);
  auto* to = bytes.mutable_data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    expect(texts[i].empty() || lengths[i] == length[i], "join_texts: text ", i, " comes from two processes");
    std::copy(texts[i].begin(), texts[i].end(), to);
    to += length[i];
  }
  if (bytes.numel() > 0) processes->sum(bytes);
  const auto* from = bytes.const_data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    texts[i].assign(from, from + length[i]);
    from += length[i];
  }
}

}  // namespace morphvlm
