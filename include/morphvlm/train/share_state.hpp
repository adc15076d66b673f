// The state of a run, the same in all processes.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/communicator.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/train/run_state.hpp"

namespace morphvlm {

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

}  // namespace morphvlm
