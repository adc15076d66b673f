// A SentencePiece model of the BPE kind -> PieceBpeSpec, as transformers 5 reads a tokenizer.model. The model
// has no list of merges: they are made of the pieces.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/piece_bpe.hpp"
#include "morphvlm/text/sentence_piece_model.hpp"

namespace morphvlm {

namespace detail {

/// What of a model file decides ids. Defaults are the format's own.
struct PieceModel {
  enum : std::uint64_t { kNormal = 1, kControl = 3, kUserDefined = 4, kBpe = 2 };
  struct Piece {
    std::string text;
    float score = 0;
    std::uint64_t kind = kNormal;
  };
  std::vector<Piece> pieces;
  std::uint64_t model_type = 1;
  bool byte_fallback = false, dummy_prefix = true, remove_spaces = true, escape_spaces = true, table = false;
  std::string unk = "<unk>", bos = "<s>", eos = "</s>";
  std::int32_t bos_id = 1, eos_id = 2;
};

inline PieceModel::Piece read_piece(std::string_view bytes, const std::string& where) {
  PieceModel::Piece piece;
  ProtoReader reader{bytes, where};
  for (ProtoField field; reader.next(field);) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == 3) piece.kind = field.value;
  }
  return piece;
}

inline void read_piece_trainer(std::string_view bytes, const std::string& where, PieceModel& model) {
  ProtoReader reader{bytes, where};
  for (ProtoField field; reader.next(field);) {
    if (field.number == 3) model.model_type = field.value;
    if (field.number == 35) model.byte_fallback = field.value != 0;
    if (field.number == 41) model.bos_id = static_cast<std::int32_t>(field.value);
    if (field.number == 42) model.eos_id = static_cast<std::int32_t>(field.value);
    if (field.number == 45) model.unk = field.bytes;
    if (field.number == 46) model.bos = field.bytes;
    if (field.number == 47) model.eos = field.bytes;
  }
}

inline PieceModel read_piece_model(std::string_view bytes, const std::string& where) {
  check_sentence_piece_model(bytes, where);
  PieceModel model;
  ProtoReader reader{bytes, where};
  for (ProtoField field; reader.next(field);) {
    if (field.number == 1) model.pieces.push_back(read_piece(field.bytes, where));
    if (field.number == 2) read_piece_trainer(field.bytes, where, model);
    if (field.number != 3) continue;
    ProtoReader normalizer{field.bytes, where};
    for (ProtoField inner; normalizer.next(inner);) {
      if (inner.number == 2) model.table = !inner.bytes.empty();
      if (inner.number == 3) model.dummy_prefix = inner.value != 0;
      if (inner.number == 4) model.remove_spaces = inner.value != 0;
      if (inner.number == 5) model.escape_spaces = inner.value != 0;
    }
  }
  return model;
}

/// Each way to put a piece together out of two. `by_score` ranks them by the pieces' scores and takes normal
/// pieces alone; else they are ranked by ids.
inline std::vector<std::pair<std::string, std::string>> piece_merges(const PieceModel& model, bool by_score) {
  std::unordered_map<std::string_view, std::size_t> id_of;
  for (std::size_t id = 0; id < model.pieces.size(); ++id)
    if (!by_score || model.pieces[id].kind == PieceModel::kNormal) id_of.emplace(model.pieces[id].text, id);
  std::vector<std::tuple<float, std::size_t, std::string_view, std::string_view>> ranked;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const std::string_view text = model.pieces[id].text;
    if (!id_of.contains(text)) continue;
    for (std::size_t cut = utf8_step(text, 0).bytes; cut < text.size(); cut += utf8_step(text, cut).bytes) {
      const auto left = text.substr(0, cut), right = text.substr(cut);
      if (id_of.contains(left) && id_of.contains(right))
        ranked.emplace_back(by_score ? -model.pieces[id].score : 0.0f, id, left, right);
    }
  }
  std::ranges::sort(ranked);  // of one piece the shorter left part is first in either order: it is a prefix
  std::vector<std::pair<std::string, std::string>> merges;
  for (const auto& [rank, id, left, right] : ranked) merges.emplace_back(left, right);
  return merges;
}

inline PieceBpeSpec piece_bpe_vocabulary(const PieceModel& model, bool by_score, const std::string& where) {
  expect(model.model_type == PieceModel::kBpe, where, ": model type ", model.model_type,
         " is not supported here, only BPE (2)");
  PieceBpeSpec spec;
  spec.merges = piece_merges(model, by_score);
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    spec.tokens.push_back(piece.text);
    const bool role = piece.text == model.unk;
    if (role || piece.kind == PieceModel::kControl || (piece.kind == PieceModel::kUserDefined && !by_score))
      spec.added.push_back({.text = piece.text,
                            .id = static_cast<std::int64_t>(id),
                            .special = piece.kind != PieceModel::kUserDefined});
    if (role) spec.roles.unk = static_cast<std::int64_t>(id);
  }
  const auto role = [&](std::int32_t id) {
    return id >= 0 && id < std::ssize(model.pieces) ? std::optional<std::int64_t>(id) : std::nullopt;
  };
  spec.roles.bos = role(model.bos_id);
  spec.roles.eos = role(model.eos_id);
  spec.byte_fallback = model.byte_fallback;
  spec.fuse_unk = true;
  return spec;
}

/// What decoding does: spaces and bytes come back, and the space in front goes where one was put there.
inline std::vector<PieceDecoder> piece_decoders(bool bytes, bool space_in_front) {
  using Kind = PieceDecoder::Kind;
  std::vector<PieceDecoder> out{{.kind = Kind::replace, .pattern = Metaspace{}.replacement, .content = " "}};
  if (bytes) out.push_back({.kind = Kind::byte_fallback});
  if (bytes || space_in_front) out.push_back({.kind = Kind::fuse});
  if (space_in_front) out.push_back({.kind = Kind::strip, .pattern = " ", .start = 1});
  return out;
}

}  // namespace detail

/// Gives a vocabulary the spaces of transformers 5's LLaMA class, whatever its file says of them.
inline void set_llama_spaces(PieceBpeSpec& spec, PieceSpace prepend) {
  spec.normalizers.clear();
  spec.pre_tokenizer.clear();
  spec.metaspace = Metaspace{.prepend = prepend};
  spec.decoders = detail::piece_decoders(true, prepend != PieceSpace::never);
}

/// The bytes of a tokenizer.model as transformers 5's LLaMA class takes them: merges in the order of ids, no
/// normalization.
inline PieceBpeSpec llama_pieces(std::string_view bytes, PieceSpace prepend, const std::string& where) {
  const detail::PieceModel model = detail::read_piece_model(bytes, where);
  expect(!model.table, where,
         ": the model normalizes characters, which the LLaMA class of transformers 5 does not");
  PieceBpeSpec spec = detail::piece_bpe_vocabulary(model, false, where);
  spec.byte_fallback = true;
  set_llama_spaces(spec, prepend);
  return spec;
}

/// The bytes of a tokenizer.model as transformers 5 takes those of a model whose class it does not know: by
/// the model's own settings. Models that normalize characters are refused.
inline PieceBpeSpec backend_pieces(std::string_view bytes, bool legacy, const std::string& where) {
  const detail::PieceModel model = detail::read_piece_model(bytes, where);
  expect(!model.table, where,
         ": a model that normalizes characters is not supported under this tokenizer_class");
  PieceBpeSpec spec = detail::piece_bpe_vocabulary(model, true, where);
  const std::string space = Metaspace{}.replacement;
  if (model.remove_spaces) spec.normalizers = {{"\\A +| +\\z", ""}, {" {2,}", " "}};
  if (model.escape_spaces) spec.normalizers.push_back({" ", space});
  if (model.dummy_prefix) {
    // A text that begins with the sign gets another one, as the SentencePiece library has it.
    if (legacy) spec.normalizers.push_back({"\\A" + space, space + space});
    spec.metaspace = Metaspace{.prepend = legacy ? PieceSpace::always : PieceSpace::first};
  }
  std::vector<std::string> whole;
  for (const auto& piece : model.pieces)
    if (piece.kind == detail::PieceModel::kUserDefined) whole.push_back(piece.text);
  std::ranges::stable_sort(whole, std::greater{}, &std::string::size);
  std::string pattern;
  for (const std::string& text : whole) {
    expect(text.find("\\E") == std::string::npos, where, ": piece \"", text, "\" is not supported");
    pattern += (pattern.empty() ? "\\Q" : "|\\Q") + text + "\\E";
  }
  if (!pattern.empty()) spec.pre_tokenizer.push_back({pattern});
  spec.ignore_merges = !pattern.empty();
  spec.decoders = detail::piece_decoders(model.byte_fallback, model.dummy_prefix);
  return spec;
}

}  // namespace morphvlm
