// The SentencePiece vocabulary in a GGUF file's metadata -> SentencePieceSpec.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/text/bpe_gguf.hpp"
#include "morphvlm/text/sentence_piece.hpp"

namespace morphvlm {

namespace detail {

/// The model file that the metadata was made from, as far as it decides ids: pieces, scores and kinds of a
/// BPE model that keeps spaces. The kinds have the same numbers in both.
inline std::string gguf_sentence_piece_model(const GgufFile& file, const std::string& where) {
  const auto tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  const auto scores = file.get<std::vector<float>>("tokenizer.ggml.scores");
  const auto kinds = file.get<std::vector<std::int64_t>>("tokenizer.ggml.token_type");
  expect(scores.size() == tokens.size() && kinds.size() == tokens.size(), where, ": ", tokens.size(),
         " tokens, ", scores.size(), " scores and ", kinds.size(), " token types");
  ProtoWriter model, trainer, normalizer;
  std::int64_t unknown = -1;
  bool bytes = false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    expect(kinds[i] >= 1 && kinds[i] <= 6, where, ": token ", i, " is of type ", kinds[i],
           ", expected 1 to 6");
    bytes = bytes || kinds[i] == 6;
    if (kinds[i] == 2) unknown = static_cast<std::int64_t>(i);
    ProtoWriter piece;
    piece.text(1, tokens[i]);
    piece.real(2, scores[i]);
    piece.number(3, static_cast<std::uint64_t>(kinds[i]));
    model.text(1, piece.bytes);
  }
  expect(unknown >= 0, where, ": there is no unknown token (type 2)");
  trainer.number(3, 2);  // BPE
  trainer.number(35, bytes ? 1 : 0);
  trainer.text(45, tokens[static_cast<std::size_t>(unknown)]);
  model.text(2, trainer.bytes);
  normalizer.text(1, "identity");
  normalizer.number(3, file.get_or<bool>("tokenizer.ggml.add_space_prefix", true) ? 1 : 0);
  normalizer.number(4, file.get_or<bool>("tokenizer.ggml.remove_extra_whitespaces", false) ? 1 : 0);
  normalizer.number(5, 1);
  model.text(3, normalizer.bytes);
  return model.bytes;
}

}  // namespace detail

/// The SentencePiece tokenizer of `file` (tokenizer.ggml.model "llama"); another kind is an error.
inline SentencePieceSpec gguf_sentence_piece(const GgufFile& file) {
  const std::string where = file.map->path.string();
  const auto kind = file.get<std::string>("tokenizer.ggml.model");
  expect(kind == "llama", where, ": tokenizer.ggml.model is \"", kind,
         "\", expected \"llama\" (SentencePiece)");
  SentencePieceSpec spec;
  spec.model = detail::gguf_sentence_piece_model(file, where);
  spec.roles.bos = detail::gguf_token_id(file, "bos_token_id");
  spec.roles.eos = detail::gguf_token_id(file, "eos_token_id");
  spec.roles.unk = detail::gguf_token_id(file, "unknown_token_id");
  spec.roles.pad = detail::gguf_token_id(file, "padding_token_id");
  spec.add_bos = file.get_or<bool>("tokenizer.ggml.add_bos_token", true);
  spec.add_eos = file.get_or<bool>("tokenizer.ggml.add_eos_token", false);
  return spec;
}

}  // namespace morphvlm
