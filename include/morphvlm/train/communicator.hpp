// Processes that train one model together, as the trainer sees them.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/train/run_state.hpp"

namespace morphvlm {

/// A group of processes, numbered by rank. All of them must make the same calls in the same order. Errors
/// name the ranks that do not answer within the timeout.
struct Communicator {
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual std::int64_t rank() const = 0;
  virtual std::int64_t size() const = 0;
  /// Each element's sum over all processes, in place; the same bits everywhere.
  virtual void sum(Tensor& t) = 0;
  /// What rank 0 has, in place.
  virtual void broadcast(Tensor& t) = 0;
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

/// Gives all processes the state of rank 0: a run's beginning, or what a checkpoint held.
inline void share_state(RunState& state, Communicator& processes) {
  at::NoGradGuard no_grad;
  detail::visit_optimizer(state.optimizer, [&](const std::string&, Tensor& t) {
    Tensor values = t.detach().contiguous();
    processes.broadcast(values);
    t.copy_(values);
  });
  Json rest{{"moved", state.moved}, {"skipped", state.skipped}, {"silent", state.life.silent}};
  std::string text = rest.dump();
  detail::broadcast_text(processes, text);
  rest = parse_json(text, "rank 0");
  state.moved = rest.at("moved");
  state.skipped = rest.at("skipped");
  state.life.silent = rest.at("silent").get<std::vector<std::string>>();
  Tensor rows = at::tensor({std::ssize(state.history)});
  processes.broadcast(rows);
  Tensor history = detail::is_first(&processes)
                       ? detail::history_tensor(state.history)
                       : at::zeros({rows.item<std::int64_t>(), detail::kHistoryColumns}, at::kDouble);
  if (history.numel() > 0) processes.broadcast(history);
  state.history = detail::history_of(history);
}

/// Adds up the gradients that the processes have of one step, and `numbers` beside them; everything travels
/// in one flat tensor. A parameter without a gradient in any process has none afterwards.
inline void sum_gradients(AdamW& optimizer, std::vector<double>& numbers, Communicator& processes) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  std::vector<double> tail = numbers;
  for (const auto& g : optimizer.groups) {
    for (const auto& p : g.parameters) {
      const Tensor& grad = p.grad();
      parts.push_back(grad.defined() ? grad.flatten() : at::zeros({p.numel()}, p.options()));
      tail.push_back(grad.defined() ? 1 : 0);
    }
  }
  Tensor flat = at::cat(parts), counts = at::tensor(tail, at::kDouble);
  processes.sum(flat);
  processes.sum(counts);
  const auto* count = counts.const_data_ptr<double>();
  for (auto& n : numbers) n = *count++;
  std::int64_t at = 0;
  for (auto& g : optimizer.groups) {
    for (auto& p : g.parameters) {
      const Tensor part = flat.slice(0, at, at + p.numel()).view(p.sizes());
      at += p.numel();
      if (*count++ == 0) continue;
      if (p.grad().defined()) {
        p.mutable_grad().copy_(part);
      } else {
        p.mutable_grad() = part.clone();
      }
    }
  }
}

}  // namespace morphvlm
