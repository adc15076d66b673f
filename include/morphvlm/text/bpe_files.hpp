// Byte-level BPE as vocab.json and merges.txt, GPT-2's form -> BpeSpec.
#pragma once

#include <filesystem>
#include <string>

#include "morphvlm/core/text_file.hpp"
#include "morphvlm/text/bpe_json.hpp"

namespace morphvlm {

/// Reads vocab.json and merges.txt beside each other in `folder`. They say nothing of normalization, words
/// and special tokens: words are GPT-2's, `<|endoftext|>` is special where the vocabulary has it, and the
/// caller sets the rest (`normalization` for GPT-NeoX, added tokens).
inline BpeSpec read_bpe_files(const std::filesystem::path& folder) {
  const auto vocab_path = folder / "vocab.json", merges_path = folder / "merges.txt";
  BpeSpec spec;
  spec.tokens = detail::place_tokens(detail::read_vocab_json(vocab_path), {}, vocab_path.string());
  const auto lines = split_lines(read_text_file(merges_path));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool comment = i == 0 && lines[i].starts_with("#version");
    if (comment || lines[i].empty()) continue;
    spec.merges.push_back(split_merge(lines[i], merges_path.string() + ": line " + std::to_string(i + 1)));
  }
  spec.pre_tokenizer = named_pre_tokenizer("gpt-2");
  const auto end = std::find(spec.tokens.begin(), spec.tokens.end(), "<|endoftext|>");
  if (end != spec.tokens.end()) {
    const auto id = end - spec.tokens.begin();
    spec.added.push_back({*end, id});
    spec.bos_id = spec.eos_id = spec.unk_id = id;
  }
  return spec;
}

}  // namespace morphvlm
