// SentencePiece, the tokenizer of LLaMA and OpenLLaMA: the only header that names the library. Around it
// stands what transformers' LlamaTokenizer (the Python one, 4.57) does: added tokens, the space before a
// text, bos.
#pragma once

#include <sentencepiece_processor.h>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/text/added_text.hpp"
#include "morphvlm/text/moses_detokenizer.hpp"
#include "morphvlm/text/sentence_piece_model.hpp"
#include "morphvlm/text/vocab_json.hpp"

namespace morphvlm {

/// Everything that decides a SentencePiece tokenizer.
struct SentencePieceSpec {
  std::string model;              ///< the bytes of a tokenizer.model
  std::vector<AddedToken> added;  ///< found in the text first, before the library sees it
  TokenRoles roles;               ///< empty ones (not `pad`) are taken from the model
  bool add_bos = true,            ///< whether a whole sequence begins with bos
      add_eos = false;            ///< whether it ends with eos
  /// The older behaviour, which transformers keeps for models that ask for nothing else (OpenFlamingo's and
  /// Multimodal-GPT's came before the newer one): every piece of text between added tokens gets the model's
  /// space in front, so "<image> a" gives "▁▁a" after the image and "<image>a" gives "▁a". Without, only the
  /// beginning of the whole text gets one.
  bool legacy = true;
  bool add_prefix_space = true;  ///< used only where `legacy` is off, and for decoding
};

/// A tokenizer ready for use; copies share the model, which is read-only and safe to use from many threads.
struct SentencePiece {
  SentencePieceSpec spec;  ///< what it was made from, roles filled in, and what was added since
  AddedVocabulary added;   ///< of the model's pieces and `spec.added`
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> model;  ///< of `spec.model`
  std::size_t unk_pieces = 0;  ///< how many pieces the unknown token's text is cut into
};

namespace detail {

/// U+2581, which stands for a space inside of pieces.
inline constexpr std::string_view kPieceSpace = "\u2581";

inline std::shared_ptr<const sentencepiece::SentencePieceProcessor> load_sentence_piece(
    std::string bytes, bool dummy_prefix, const std::string& where) {
  check_sentence_piece_model(bytes, where);
  if (!dummy_prefix) {
    // A later message is merged into an earlier one: this sets one field of the normalizer.
    ProtoWriter off, model;
    off.number(3, 0);
    model.text(3, off.bytes);
    bytes += model.bytes;
  }
  auto model = std::make_shared<sentencepiece::SentencePieceProcessor>();
  std::string problem;
  try {
    const auto status = model->LoadFromSerializedProto(bytes);
    if (!status.ok()) problem = status.ToString();
  } catch (const std::exception& e) {
    problem = e.what();
  }
  expect(problem.empty(), where, ": not a usable SentencePiece model: ", problem);
  // The library finds it by its name, and asked for the text of a piece that there is not, it throws.
  expect(model->unk_id() >= 0 && model->unk_id() < model->GetPieceSize(), where,
         ": not a usable SentencePiece model: the unknown piece has not the name that the model gives it");
  return model;
}

inline std::vector<int> sentence_piece_ids(const SentencePiece& sp, std::string_view text) {
  std::vector<int> ids;
  const auto status = sp.model->Encode({text.data(), text.size()}, &ids);
  expect(status.ok(), "SentencePiece: text of ", text.size(), " bytes: ", status.ToString());
  return ids;
}

inline void encode_sentence_piece(const SentencePiece& sp, std::string_view text,
                                  std::vector<std::int64_t>& out) {
  if (sp.spec.legacy || !(text.starts_with(' ') || text.starts_with(kPieceSpace))) {
    const auto ids = sentence_piece_ids(sp, text);
    out.insert(out.end(), ids.begin(), ids.end());
    return;
  }
  // The library drops spaces at the beginning of a text; behind the unknown token's own text they stay.
  const std::string guarded = sp.model->IdToPiece(sp.model->unk_id()) + std::string(text);
  const auto ids = sentence_piece_ids(sp, guarded);
  const std::size_t skip = ids.size() >= sp.unk_pieces ? sp.unk_pieces : 0;
  out.insert(out.end(), ids.begin() + static_cast<std::ptrdiff_t>(skip), ids.end());
}

inline std::string decode_pieces(const SentencePiece& sp, std::vector<std::string>& pieces) {
  std::string text;
  if (pieces.empty()) return text;
  const auto status = sp.model->Decode(pieces, &text);
  expect(status.ok(), "SentencePiece: decoding ", pieces.size(), " pieces: ", status.ToString());
  pieces.clear();
  return text;
}

/// Special tokens are spelled out between what the library makes of the pieces around them; the spaces around
/// them follow the reference to the letter.
inline std::string sentence_piece_text(const SentencePiece& sp, const std::vector<std::int64_t>& ids) {
  std::string out;
  std::vector<std::string> pieces;
  bool after_special = false;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const AddedToken* token = sp.added.find(ids[i]);
    std::string piece = token != nullptr ? token->text : sp.model->IdToPiece(static_cast<int>(ids[i]));
    const bool special = sp.spec.roles.has(ids[i]) || (token != nullptr && token->special);
    if (i == 0 && sp.spec.add_prefix_space && piece.starts_with(kPieceSpace))
      piece.erase(0, kPieceSpace.size());
    if (special) {
      if (!after_special && i != 0 && sp.spec.legacy) out += ' ';
      out += decode_pieces(sp, pieces);
      out += piece;
    } else {
      if (after_special && i == 1 && sp.spec.add_prefix_space && !piece.starts_with(kPieceSpace)) out += ' ';
      pieces.push_back(std::move(piece));
    }
    after_special = special;
  }
  return out + decode_pieces(sp, pieces);
}

}  // namespace detail

/// Builds the tokenizer; a model that cannot be read and ids out of range are errors led by `where`. Roles
/// that are empty are taken from the model (not `pad`), and their tokens become added ones.
inline SentencePiece make_sentence_piece(SentencePieceSpec spec, const std::string& where = "tokenizer") {
  SentencePiece sp;
  sp.spec = std::move(spec);
  sp.model = detail::load_sentence_piece(sp.spec.model, sp.spec.legacy, where);
  const auto pieces = static_cast<std::int64_t>(sp.model->GetPieceSize());
  const auto role = [&](std::optional<std::int64_t>& id, int models) {
    if (!id && models >= 0) id = models;
    if (!id) return;
    const auto known =
        std::find_if(sp.spec.added.begin(), sp.spec.added.end(), [&](auto& t) { return t.id == *id; });
    if (known != sp.spec.added.end()) return;
    expect(*id >= 0 && *id < pieces, where, ": id ", *id, " is outside of the ", pieces, " pieces");
    sp.spec.added.push_back({sp.model->IdToPiece(static_cast<int>(*id)), *id});
  };
  role(sp.spec.roles.unk, sp.model->unk_id());
  role(sp.spec.roles.bos, sp.model->bos_id());
  role(sp.spec.roles.eos, sp.model->eos_id());
  role(sp.spec.roles.pad, -1);
  sp.added = AddedVocabulary::make(pieces, sp.spec.added, where);
  expect(!sp.spec.add_bos || sp.spec.roles.bos, where, ": a bos token is to be added, but there is none");
  expect(!sp.spec.add_eos || sp.spec.roles.eos, where, ": an eos token is to be added, but there is none");
  sp.unk_pieces = detail::sentence_piece_ids(sp, sp.model->IdToPiece(sp.model->unk_id())).size();
  return sp;
}

/// A tokenizer.model by itself, with LLaMA's settings.
inline SentencePiece read_sentence_piece(const std::filesystem::path& path) {
  SentencePieceSpec spec;
  spec.model = read_file_bytes(path);
  return make_sentence_piece(std::move(spec), path.string());
}

/// The number of ids: what an embedding table needs as rows.
inline std::int64_t vocab_size(const SentencePiece& sp) { return sp.added.size; }

/// The id of the token spelled `token`, if there is one.
inline std::optional<std::int64_t> token_id(const SentencePiece& sp, const std::string& token) {
  const auto added = sp.added.id_of.find(token);
  if (added != sp.added.id_of.end()) return added->second;
  const int id = sp.model->PieceToId(token);
  return sp.model->IdToPiece(id) == token ? std::optional<std::int64_t>(id) : std::nullopt;
}

/// Makes a token an added one, as AddedToken says but for the id: the next free one, or its own if it is in
/// the vocabulary already. Returns the id.
inline std::int64_t add_token(SentencePiece& sp, AddedToken token) {
  return detail::add_to_vocabulary(sp, std::move(token));
}

/// The ids of `text` (UTF-8; an error otherwise), nothing added before or after.
inline std::vector<std::int64_t> encode(const SentencePiece& sp, std::string_view text) {
  const auto piece = [&](std::string_view part, std::vector<std::int64_t>& out) {
    detail::encode_sentence_piece(sp, part, out);
  };
  if (sp.spec.legacy || text.empty()) return detail::encode_sections(sp.added, text, piece);
  std::string spaced(text);
  detail::replace_all(spaced, detail::kPieceSpace, " ");
  if (sp.spec.add_prefix_space) spaced.insert(0, detail::kPieceSpace);
  auto ids = detail::encode_sections(sp.added, spaced, piece);
  // A space alone before a special token is the one put there.
  const auto space = token_id(sp, std::string(detail::kPieceSpace));
  const AddedToken* second = ids.size() > 1 ? sp.added.find(ids[1]) : nullptr;
  if (second != nullptr && second->special && ids[0] == space) ids.erase(ids.begin());
  return ids;
}

/// `encode` between bos and eos, as far as the tokenizer adds them.
inline std::vector<std::int64_t> encode_sequence(const SentencePiece& sp, std::string_view text) {
  std::vector<std::int64_t> out = encode(sp, text);
  if (sp.spec.add_bos) out.insert(out.begin(), *sp.spec.roles.bos);
  if (sp.spec.add_eos) out.push_back(*sp.spec.roles.eos);
  return out;
}

/// The text of `ids`; bytes that make no character become U+FFFD, an id beyond the vocabulary has no text.
inline std::string decode(const SentencePiece& sp, std::span<const std::int64_t> ids,
                          bool skip_special = false) {
  return detail::decode_sections(sp.added, sp.spec.roles, ids, skip_special, std::nullopt,
                                 [&](const auto& run) { return detail::sentence_piece_text(sp, run); });
}

}  // namespace morphvlm
