// docs/files.md shows what readers do with the keys of other people's files; the readers' lists are its
// source. To write it anew: MORPHVLM_WRITE_FILES_PAGE=1 and this test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/image/preprocess_folder.hpp"
#include "morphvlm/io/gguf_llama_keys.hpp"
#include "morphvlm/io/hf_fields.hpp"
#include "morphvlm/io/hf_language_config.hpp"
#include "morphvlm/io/hf_rope.hpp"
#include "morphvlm/io/hf_vision_config.hpp"
#include "morphvlm/io/open_clip_config.hpp"
#include "morphvlm/io/peft_config.hpp"
#include "morphvlm/text/bpe_json.hpp"
#include "morphvlm/text/piece_bpe_json.hpp"
#include "morphvlm/text/tokenizer_notes.hpp"

namespace morphvlm::structure {
namespace {

namespace fs = std::filesystem;

struct Listing {
  std::string name;  // of the constant
  std::string file;  // and what it lists
  std::span<const FileKey> keys;
};

#define LISTING(keys, file) \
  Listing { #keys, file, keys }

std::vector<Listing> listings() {
  return {
      LISTING(kHfConfigKeys, "`config.json` of any model"),
      LISTING(kLlamaConfigKeys, "`language/config.json` of a LLaMA"),
      LISTING(kLlamaRopeKeys, "its `rope_parameters`"),
      LISTING(kGptNeoXConfigKeys, "`language/config.json` of a GPT-NeoX"),
      LISTING(kGptNeoXRopeKeys, "its `rope_parameters`"),
      LISTING(kBioGptConfigKeys, "`language/config.json` of a BioGPT"),
      LISTING(kMptConfigKeys, "`language/config.json` of an MPT"),
      LISTING(kMptAttentionKeys, "its `attn_config`"),
      LISTING(kMosaicGptAttentionKeys, "attention in MPT-1B's flat form"),
      LISTING(kMptFeedForwardKeys, "its `ffn_config`"),
      LISTING(kHfWholeKeys, "`vision/config.json` of a whole CLIP or SigLIP"),
      LISTING(kHfTowerKeys, "`vision/config.json` of a CLIP or SigLIP tower"),
      LISTING(kDinov2Keys, "`vision/config.json` of a DINOv2"),
      LISTING(kOpenClipModelKeys, "`model_cfg` of `open_clip_config.json`"),
      LISTING(kOpenClipVisionKeys, "its `vision_cfg`"),
      LISTING(kOpenClipNormKeys, "its `norm_kwargs`"),
      LISTING(kOpenClipActivationKeys, "its `act_kwargs`"),
      LISTING(kOpenClipPreprocessKeys, "`preprocess_cfg` of `open_clip_config.json`"),
      LISTING(kImageProcessorKeys, "`preprocessor_config.json`"),
      LISTING(kProcessorConfigKeys, "`processor_config.json`"),
      LISTING(kTokenizerJsonKeys, "`tokenizer.json`"),
      LISTING(kBpeModelKeys, "its `model`, byte-level BPE"),
      LISTING(kPieceModelKeys, "its `model`, SentencePiece's pieces by BPE"),
      LISTING(kTokenizerConfigKeys, "`tokenizer_config.json`"),
      LISTING(kSpecialTokensMapKeys, "`special_tokens_map.json`"),
      LISTING(kPeftConfigKeys, "`adapter_config.json`"),
      LISTING(kGgufLlamaKeys, "metadata of a LLaMA's GGUF"),
  };
}

// All keys of one use, as a list; refused ones with what is taken all the same.
std::string keys_of(std::span<const FileKey> keys, KeyUse use) {
  std::string list;
  for (const FileKey& key : keys) {
    if (key.use != use) continue;
    list += (list.empty() ? "`" : ", `") + std::string(key.name) + "`";
    if (use == KeyUse::refused && !key.accepted.empty())
      list += " (but " + std::regex_replace(std::string(key.accepted), std::regex("\n"), ", ") + ")";
  }
  return list.empty() ? "-" : list;
}

std::string page() {
  std::string out = R"(# Which keys of which files count

Other people's files say more than a reader here needs. A key that changes numbers is honoured, or
refused with an error that names it. *But* lists the values of a refused key that are taken all
the same. The other keys named here change no number and are passed over.

A key that is not named is passed over, as in the library that wrote the file. It is an error in
`rope_parameters`, `ffn_config`, `open_clip_config.json` and `adapter_config.json`, among a GGUF's
`llama.*`, and where it is a step of an image processor (`do_...`) that is not off.

The lists are the readers' own. `tests/structure/files_page_test.cpp` holds this page to them.

Some values need more than a list:

- A non-empty `rope_scaling` goes before `rope_parameters`. What these lack is looked for outside.
  Scaled rotations are refused, under `rope_type` and under `type`.
- CLIP's `vision_config_dict` goes before its `vision_config`.
- `processor_config.json` goes before `preprocessor_config.json`; `open_clip_config.json` goes
  before both. Without a file, CLIP and SigLIP have their own steps. DINOv2 needs its file.
- A LLaMA's `tokenizer_config.json` must say `legacy`, unless its `tokenizer.json` does.
- Without `tokenizer.ggml.add_bos_token`, a GGUF begins with bos for SentencePiece, `llama-bpe`
  and `llama3`, and for nothing else.

| file | honoured | refused | passed over |
|---|---|---|---|
)";
  for (const Listing& l : listings())
    out += "| " + l.file + " | " + keys_of(l.keys, KeyUse::honoured) + " | " +
           keys_of(l.keys, KeyUse::refused) + " | " + keys_of(l.keys, KeyUse::ignored) + " |\n";
  return out;
}

TEST(FilesPage, ShowsTheReadersLists) {
  const fs::path file = fs::path(MORPHVLM_SOURCE_DIR) / "docs/files.md";
  if (std::getenv("MORPHVLM_WRITE_FILES_PAGE") != nullptr) std::ofstream(file) << page();
  std::ifstream in(file);
  const std::string found{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(found, page());
}

TEST(FilesPage, ShowsEveryListThatAReaderHas) {
  static const std::regex kList(R"(constexpr FileKey (k[A-Za-z0-9]+)\[\])");
  std::set<std::string> declared, shown;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(MORPHVLM_SOURCE_DIR) / "include")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    for (std::sregex_iterator it(text.begin(), text.end(), kList), end; it != end; ++it)
      declared.insert((*it)[1]);
  }
  for (const Listing& l : listings()) shown.insert(l.name);
  EXPECT_GT(declared.size(), 20u);
  EXPECT_EQ(declared, shown);
}

TEST(FilesPage, ListsNameEachKeyOnceAndSayWhatIsTaken) {
  for (const Listing& l : listings()) {
    std::set<std::string_view> names;
    for (const FileKey& key : l.keys) {
      EXPECT_TRUE(names.insert(key.name).second) << l.name << ": " << key.name;
      EXPECT_TRUE(key.use == KeyUse::refused || (key.accepted.empty() && key.left_out.empty()))
          << l.name << ": " << key.name;
    }
  }
}

}  // namespace
}  // namespace morphvlm::structure
