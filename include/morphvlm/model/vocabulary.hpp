// Room for tokens that a checkpoint's vocabulary does not have.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include "morphvlm/core/error.hpp"
#include "morphvlm/model/open_llama.hpp"

namespace morphvlm {

/// Appends one row to a LLaMA's embedding (and to its head, if that is its own), a copy of token `like`'s.
/// Returns the new token's id. The config's vocab_size follows.
template <AdapterPolicy P>
std::int64_t append_token_row(Llama<P>& llama, std::int64_t like) {
  at::NoGradGuard no_grad;
  const auto id = llama.model.embed_tokens.weight.size(0);
  expect(like >= 0 && like < id, "append_token_row: token ", like, " is not in a vocabulary of ", id);
  const auto grow = [&](Tensor& table) {
    const bool trainable = table.requires_grad();
    table = at::cat({table, table.slice(0, like, like + 1)}).set_requires_grad(trainable);
  };
  grow(llama.model.embed_tokens.weight);
  if (llama.lm_head.weight.defined()) grow(llama.lm_head.weight);
  llama.config.vocab_size = id + 1;
  return id;
}

}  // namespace morphvlm
