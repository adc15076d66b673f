// The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`) -> BpeSpec.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/text/bpe.hpp"

namespace morphvlm {

namespace detail {

inline std::optional<std::int64_t> gguf_token_id(const GgufFile& file, const char* key) {
  const std::string full = std::string("tokenizer.ggml.") + key;
  return file.contains(full) ? std::optional(file.get<std::int64_t>(full)) : std::nullopt;
}

/// The pre-tokenizer's name. Files from before there was one are known by the model's architecture.
inline std::string gguf_pre_tokenizer(const GgufFile& file) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  if (file.contains(kKey)) return file.get<std::string>(kKey);
  auto architecture = file.get_or<std::string>("general.architecture", "");
  if (architecture == "gptneox" || architecture == "gpt2" || architecture == "mpt") return architecture;
  return file.get<std::string>(kKey);
}

/// Kinds of tokens in GGUF: control tokens are special, user-defined ones are found in the text and kept when
/// decoding, unused ones are neither.
inline void add_gguf_tokens(const std::vector<std::int64_t>& kinds, const std::string& where, BpeSpec& spec) {
  enum : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };
  expect(kinds.size() == spec.tokens.size(), where, ": tokenizer.ggml.token_type has ", kinds.size(),
         " entries for ", spec.tokens.size(), " tokens");
  for (std::size_t id = 0; id < kinds.size(); ++id) {
    const std::int64_t kind = kinds[id];
    expect(kind >= kNormal && kind <= kUnused, where, ": token ", id, " \"", spec.tokens[id],
           "\" is of type ", kind, ", expected 1 to 5 (a byte-level vocabulary)");
    if (kind == kControl || kind == kUserDefined || kind == kUnknown)
      spec.added.push_back({spec.tokens[id], static_cast<std::int64_t>(id), kind != kUserDefined});
  }
}

}  // namespace detail

/// The byte-level BPE of `file` (tokenizer.ggml.model "gpt2"); another kind of tokenizer or an unknown
/// pre-tokenizer is an error.
inline BpeSpec gguf_bpe(const GgufFile& file) {
  const std::string where = file.map->path.string();
  const auto model = file.get<std::string>("tokenizer.ggml.model");
  expect(model == "gpt2", where, ": tokenizer.ggml.model is \"", model,
         "\", expected \"gpt2\" (byte-level BPE)");
  BpeSpec spec;
  spec.tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  for (const std::string& merge : file.get<std::vector<std::string>>("tokenizer.ggml.merges"))
    spec.merges.push_back(split_merge(merge, where + ": tokenizer.ggml.merges"));
  if (file.contains("tokenizer.ggml.token_type"))
    detail::add_gguf_tokens(file.get<std::vector<std::int64_t>>("tokenizer.ggml.token_type"), where, spec);
  const std::string pre = detail::gguf_pre_tokenizer(file);
  spec.pre_tokenizer = named_pre_tokenizer(pre);
  if (is_neox_kind(pre)) spec.normalization = Normalization::nfc;
  // llama.cpp takes both from the name alone.
  const bool llama3 = is_llama3_kind(pre);
  spec.ignore_merges = llama3;
  spec.bos_id = detail::gguf_token_id(file, "bos_token_id");
  spec.eos_id = detail::gguf_token_id(file, "eos_token_id");
  spec.pad_id = detail::gguf_token_id(file, "padding_token_id");
  // The unknown id is not taken over as unk_id: the models' own tokenizers drop bytes without a token.
  const auto add = [&](const char* key, bool fallback, const std::optional<std::int64_t>& id,
                       std::vector<std::int64_t>& side) {
    if (!file.get_or<bool>(key, fallback)) return;
    expect(id.has_value(), where, ": ", key, " is ",
           file.contains(key) ? std::string("set")
                              : "missing, which with tokenizer.ggml.pre \"" + pre + "\" means true",
           ", but there is no such token");
    side.push_back(*id);
  };
  add("tokenizer.ggml.add_bos_token", llama3, spec.bos_id, spec.prefix);
  add("tokenizer.ggml.add_eos_token", false, spec.eos_id, spec.suffix);
  return spec;
}

}  // namespace morphvlm
