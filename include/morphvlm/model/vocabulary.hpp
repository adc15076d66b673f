// Vocabularies that grow by added tokens, or shrink to what a tokenizer has.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

// rows [n, dim] follow the first `keep` of the table; whether it is trainable stays.
inline void replace_rows(Tensor& table, std::int64_t keep, const Tensor& rows) {
  const bool trainable = table.requires_grad();
  const Tensor kept = table.detach().slice(0, 0, keep);
  table = (rows.defined() ? at::cat({kept, rows}) : kept.clone()).set_requires_grad(trainable);
}

}  // namespace detail

/// Appends one row to a language model's embedding (and to its head, if that is its own), a copy of token
/// `like`'s. Returns the new token's id. The config's vocab_size follows.
template <class Module>
std::int64_t append_token_row(Module& language, std::int64_t like) {
  at::NoGradGuard no_grad;
  const auto tables = language.token_tables();
  const auto id = tables.front()->size(0);
  expect(like >= 0 && like < id, "append_token_row: token ", like, " is not in a vocabulary of ", id);
  for (Tensor* table : tables) detail::replace_rows(*table, id, table->detach().slice(0, like, like + 1));
  language.config.vocab_size = id + 1;
  return id;
}

/// Gives a language model's token tables `size` rows: cuts off the last ones, or appends rows drawn from a
/// normal distribution with standard deviation `std`, by `generator` or by one of a fixed seed. transformers
/// equivalent: resize_token_embeddings as OpenFlamingo uses it (mean_resizing = False in later versions),
/// `std` being the config's initializer_range. The config's vocab_size follows. OpenFlamingo resizes to
/// len(tokenizer), so MPT-1B's 50,432 rows become 50,280.
template <class Module>
void resize_vocabulary(Module& language, std::int64_t size, at::Generator generator = {}, double std = 0.02) {
  expect(size > 0, "resize_vocabulary: expected at least one token, found ", size);
  at::NoGradGuard no_grad;
  // The library's own would differ from run to run, and a head's new rows with it.
  if (!generator.defined()) generator = make_generator(0);
  for (Tensor* table : language.token_tables()) {
    const auto rows = table->size(0);
    if (size == rows) continue;
    const Tensor fresh =
        size > rows ? at::empty({size - rows, table->size(1)}, table->options()).normal_(0, std, generator)
                    : Tensor{};
    detail::replace_rows(*table, std::min(rows, size), fresh);
  }
  language.config.vocab_size = size;
}

}  // namespace morphvlm
