// load_tokenizer.hpp: which tokenizer a folder or file is, and what is refused.
#include "morphvlm/text/load_tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/data_support.hpp"

namespace morphvlm::load_tokenizer_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using testing::golden_file;
using ::testing::HasSubstr;
using testing::scratch_folder;
using testing::write_file_text;

constexpr std::string_view kPieces = "mistral_common/data/tokenizer.model.v1";

/// A folder with the files, each {name, text}.
std::filesystem::path folder_of(std::initializer_list<std::pair<const char*, std::string>> files) {
  const auto folder = scratch_folder();
  for (const auto& [name, text] : files) write_file_text(folder / name, text);
  return folder;
}

const std::string kVocab = R"({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<|endoftext|>": 4})",
                  kMerges = "#version: 0.2\na b\n";

TEST(LoadTokenizer, VocabAndMergesAreByteLevel) {
  const Tokenizer tokenizer = load_tokenizer(folder_of({{"vocab.json", kVocab}, {"merges.txt", kMerges}}));
  ASSERT_TRUE(std::holds_alternative<ByteLevelBpe>(tokenizer.kind));
  EXPECT_THAT(encode(tokenizer, "ab b<|endoftext|>"), ElementsAre(2, 3, 1, 4));
  EXPECT_EQ(token_roles(tokenizer).eos, 4);
  EXPECT_EQ(token_roles(tokenizer).pad, std::nullopt);
}

TEST(LoadTokenizer, ConfigGivesRolesPrefixAndAddedTokens) {
  const Tokenizer tokenizer = load_tokenizer(folder_of(
      {{"vocab.json", kVocab},
       {"merges.txt", kMerges},
       {"tokenizer_config.json",
        R"({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": true, "pad_token": {"content": "<pad>"},
            "clean_up_tokenization_spaces": true,
            "added_tokens_decoder": {"5": {"content": "<x>", "special": false, "lstrip": true}}})"}}));
  EXPECT_TRUE(tokenizer.clean_up_spaces);
  EXPECT_EQ(vocab_size(tokenizer), 7);
  EXPECT_EQ(token_roles(tokenizer).pad, 6);
  EXPECT_THAT(encode(tokenizer, "a  <x>"), ElementsAre(3, 0, 5));
}

TEST(LoadTokenizer, NeoxFilesAreNormalized) {
  const std::string vocab = R"({"Ã": 0, "©": 1, "Ã©": 2})";  // é in NFC is C3 A9
  const auto files = [&](const char* type) {
    return folder_of({{"vocab.json", vocab},
                      {"merges.txt", "Ã ©\n"},
                      {"tokenizer_config.json", std::string(R"({"tokenizer_class": ")") + type + "\"}"}});
  };
  EXPECT_THAT(encode(load_tokenizer(files("GPTNeoXTokenizer")), "e\u0301"), ElementsAre(2));
  EXPECT_THAT(encode(load_tokenizer(files("GPT2Tokenizer")), "\u00e9"), ElementsAre(2));
  EXPECT_THAT(encode(load_tokenizer(files("GPT2Tokenizer")), "e\u0301"), ElementsAre());
}

TEST(LoadTokenizer, WordEndsMakeItBioGpts) {
  const Tokenizer named = load_tokenizer(golden_file("biogpt_small"));
  ASSERT_TRUE(std::holds_alternative<BioGPTBpe>(named.kind));
  const auto folder =
      folder_of({{"vocab.json", testing::read_file_text(golden_file("biogpt_small/vocab.json"))},
                 {"merges.txt", testing::read_file_text(golden_file("biogpt_small/merges.txt"))}});
  const Tokenizer found = load_tokenizer(folder);
  ASSERT_TRUE(std::holds_alternative<BioGPTBpe>(found.kind));
  EXPECT_EQ(encode(found, "Mutations in BRCA1."), encode(named, "Mutations in BRCA1."));
}

TEST(LoadTokenizer, PiecesGoBeforeTheirFastForm) {
  MORPHVLM_NEEDS_DATA(kPieces);
  const auto folder = folder_of(
      {{"tokenizer.model", read_file_bytes(testing::data_file(kPieces))},
       {"tokenizer.json", "{}"},
       {"tokenizer_config.json",
        R"({"tokenizer_class": "LlamaTokenizer", "legacy": true, "add_bos_token": false, "add_eos_token": true,
                                      "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})"}});
  const Tokenizer tokenizer = load_tokenizer(folder);
  ASSERT_TRUE(std::holds_alternative<SentencePiece>(tokenizer.kind));
  EXPECT_EQ(vocab_size(tokenizer), 32001);
  EXPECT_EQ(token_roles(tokenizer).pad, 32000);
  const auto ids = encode_sequence(tokenizer, "a");
  EXPECT_EQ(ids.back(), 2);
  EXPECT_NE(ids.front(), 1);
  const Tokenizer alone = load_tokenizer(testing::data_file(kPieces));
  EXPECT_EQ(encode_sequence(alone, "a").front(), 1);
}

/// What a folder with this tokenizer_config.json and these golden files is refused with.
std::string refusal(const std::string& config, std::initializer_list<std::string> files,
                    const Json& patch = {}) {
  return error_of([&] {
    const auto folder = folder_of({{"tokenizer_config.json", config}});
    for (const std::string& file : files)
      write_file_text(folder / std::filesystem::path(file).filename(), read_file_bytes(golden_file(file)));
    if (patch.is_object()) {
      Json root = read_json(folder / "tokenizer.json");
      for (const auto& [key, value] : patch.items()) root[key] = value;
      write_file_text(folder / "tokenizer.json", root.dump());
    }
    load_tokenizer(folder);
  });
}

const std::string kBytesJson = "bpe_small/tokenizer.json", kLlamaJson = "llama_small/tokenizer.json",
                  kLlamaModel = "llama_small/tokenizer.model";

TEST(LoadTokenizer, LegacyMustBeSaidWhereItChangesIds) {
  for (const char* config : {"{}", R"({"tokenizer_class": "LlamaTokenizer"})"}) {
    EXPECT_THAT(refusal(config, {kLlamaModel}),
                AllOf(HasSubstr("tokenizer_config.json: key \"legacy\" is missing"),
                      HasSubstr("\"legacy\": true"), HasSubstr("\"legacy\": false")));
  }
  const Json always = parse_json(
      R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": false}})",
      "patch");
  EXPECT_THAT(refusal(R"({"tokenizer_class": "LlamaTokenizer"})", {kLlamaJson}, always),
              HasSubstr("key \"legacy\" is missing"));
  EXPECT_THAT(refusal(R"({"tokenizer_class": "LlamaTokenizer", "legacy": true})", {kLlamaJson}),
              AllOf(HasSubstr("key \"legacy\": expected false"), HasSubstr("tokenizer.json")));
  EXPECT_THAT(refusal(R"({"legacy": true, "add_prefix_space": false})", {kLlamaModel}),
              HasSubstr("key \"add_prefix_space\": expected true"));
}

TEST(LoadTokenizer, LegacyIsTransformersBefore5) {
  const auto load = [](const char* config) {
    const auto folder = folder_of({{"tokenizer_config.json", config}});
    write_file_text(folder / "tokenizer.model", read_file_bytes(golden_file(kLlamaModel)));
    Tokenizer tokenizer = load_tokenizer(folder);
    add_token(tokenizer, "<image>");
    return tokenizer;
  };
  const Tokenizer old = load(R"({"legacy": true})"), now = load(R"({"legacy": false})");
  EXPECT_TRUE(std::holds_alternative<SentencePiece>(old.kind));
  EXPECT_TRUE(std::holds_alternative<PieceBpe>(now.kind));
  EXPECT_EQ(encode(old, "<image>the").back(), *token_id(old, "\u2581the"));
  EXPECT_EQ(encode(now, "<image>the").size(), 3u);  // "the" without a space in front has no piece of its own
}

TEST(LoadTokenizer, SettingsThatTwoFilesSeeDifferentlyAreNamed) {
  const std::string backend = R"({"tokenizer_class": "TokenizersBackend", "bos_token": "<|endoftext|>", )";
  EXPECT_THAT(refusal(backend + R"("add_prefix_space": true})", {kBytesJson}),
              AllOf(HasSubstr("tokenizer_config.json: key \"add_prefix_space\": expected false"),
                    HasSubstr("tokenizer.json"), HasSubstr("found true")));
  EXPECT_THAT(refusal(backend + R"("add_bos_token": true})", {kBytesJson}),
              HasSubstr("key \"add_bos_token\": expected false"));
  EXPECT_THAT(refusal(R"({"tokenizer_class": "TokenizersBackend", "eos_token": "a", "add_eos_token": true})",
                      {kBytesJson}),
              HasSubstr("key \"add_eos_token\": expected false"));
  EXPECT_THAT(refusal(R"({"tokenizer_class": "TokenizersBackend", "add_prefix_space": false})", {kLlamaJson}),
              HasSubstr("key \"add_prefix_space\": expected true"));
  EXPECT_THAT(refusal(R"({"added_tokens_decoder": {"9": {"content": "<new>"}}})", {kBytesJson}),
              AllOf(HasSubstr("\"<new>\""), HasSubstr("expected id 500")));
}

TEST(LoadTokenizer, EveryKeyThatIsHonouredOrRefusedIsNamed) {
  for (const FileKey& key : kTokenizerConfigKeys) {
    if (key.use == KeyUse::ignored) continue;
    SCOPED_TRACE(key.name);
    const Json config{{std::string(key.name), Json::array({Json::array({3.5})})}};
    EXPECT_THAT(refusal(config.dump(), {kBytesJson}), HasSubstr(std::string(key.name)));
  }
  for (const FileKey& key : kSpecialTokensMapKeys) {
    SCOPED_TRACE(key.name);
    const auto folder = folder_of({{"special_tokens_map.json", Json{{std::string(key.name), 3.5}}.dump()},
                                   {"tokenizer.json", read_file_bytes(golden_file(kBytesJson))}});
    EXPECT_THAT(error_of([&] { load_tokenizer(folder); }),
                AllOf(HasSubstr("special_tokens_map.json"), HasSubstr(std::string(key.name))));
  }
}

TEST(LoadTokenizer, EveryKeyOfTokenizerJsonIsNamed) {
  for (const std::string& base : {kBytesJson, kLlamaJson}) {
    for (const FileKey& key : kTokenizerJsonKeys) {
      if (key.use == KeyUse::ignored) continue;
      SCOPED_TRACE(key.name);
      EXPECT_THAT(refusal("{}", {base}, Json{{std::string(key.name), 3.5}}),
                  HasSubstr(std::string(key.name)));
    }
    const bool bytes = base == kBytesJson;
    for (const FileKey& key : bytes ? std::span<const FileKey>(kBpeModelKeys) : kPieceModelKeys) {
      SCOPED_TRACE(key.name);
      Json model = read_json(golden_file(base)).at("model");
      model[std::string(key.name)] = 3.5;
      EXPECT_THAT(refusal("{}", {base}, Json{{"model", model}}), HasSubstr(std::string(key.name)));
    }
  }
}

TEST(LoadTokenizer, LinesMayEndAsOnWindowsAndFilesBeginWithAMark) {
  const auto folder = folder_of({{"vocab.json", "\xEF\xBB\xBF" + kVocab},
                                 {"merges.txt", "\xEF\xBB\xBF#version: 0.2\r\na b\r\n"},
                                 {"tokenizer_config.json", "\xEF\xBB\xBF{\"add_bos_token\": true}"}});
  EXPECT_THAT(encode_sequence(load_tokenizer(folder), "ab b"), ElementsAre(4, 2, 3, 1));
  std::string merges = testing::read_file_text(golden_file("biogpt_small/merges.txt"));
  for (auto at = merges.find('\n'); at != merges.npos; at = merges.find('\n', at + 2))
    merges.insert(at, 1, '\r');
  const auto bio = folder_of({{"vocab.json", testing::read_file_text(golden_file("biogpt_small/vocab.json"))},
                              {"merges.txt", merges}});
  EXPECT_EQ(encode(load_tokenizer(bio), "Mutations in BRCA1."),
            encode(load_tokenizer(golden_file("biogpt_small")), "Mutations in BRCA1."));
}

TEST(LoadTokenizer, SaysWhatItLookedFor) {
  EXPECT_THAT(error_of([] { load_tokenizer("/nowhere/at/all"); }), HasSubstr("/nowhere/at/all"));
  EXPECT_THAT(error_of([] { load_tokenizer(scratch_folder()); }),
              AllOf(HasSubstr("no tokenizer found"), HasSubstr("tokenizer.model")));
  EXPECT_THAT(
      error_of([] {
        load_tokenizer(folder_of({{"tokenizer_config.json", R"({"tokenizer_class": "BioGptTokenizer"})"}}));
      }),
      HasSubstr("\"BioGptTokenizer\""));
  EXPECT_THAT(error_of([] {
                load_tokenizer(folder_of({{"vocab.txt", ""}}) / "vocab.txt");
              }),
              HasSubstr("expected a folder"));
}

TEST(LoadTokenizer, NamesTheFileThatIsWrong) {
  const auto with = [](const char* name, const std::string& text) {
    return error_of([&] {
      const auto folder = folder_of({{"vocab.json", kVocab}, {"merges.txt", kMerges}});
      write_file_text(folder / name, text);
      load_tokenizer(folder);
    });
  };
  EXPECT_THAT(with("vocab.json", R"({"a": 0, "b": 0})"), AllOf(HasSubstr("vocab.json"), HasSubstr("id 0")));
  EXPECT_THAT(with("vocab.json", R"({"a": 0, "b": "1"})"),
              AllOf(HasSubstr("vocab.json"), HasSubstr("\"b\"")));
  EXPECT_THAT(with("vocab.json", R"(["a"])"), HasSubstr("expected an object"));
  EXPECT_THAT(with("merges.txt", "a b\nab\n"), HasSubstr("merges.txt: line 2"));
  EXPECT_THAT(with("merges.txt", "a x\n"), AllOf(HasSubstr("merges.txt: merge 0"), HasSubstr("\"x\"")));
  EXPECT_THAT(with("merges.txt", std::string("\xFF\xFE") + std::string("a\0 \0b\0", 6)),
              AllOf(HasSubstr("merges.txt"), HasSubstr("found UTF-16 text")));
  EXPECT_THAT(with("tokenizer_config.json", R"({"tokenizer_class": 3})"), HasSubstr("tokenizer_class"));
  EXPECT_THAT(with("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})"),
              HasSubstr("expected an id"));
  EXPECT_THAT(with("tokenizer_config.json", R"({"added_tokens_decoder": {"9": {"content": "y"}}})"),
              HasSubstr("\"y\""));
  EXPECT_THAT(with("tokenizer_config.json", R"({"eos_token": {"content": 3}})"), HasSubstr("content"));
  EXPECT_THAT(with("tokenizer.json", "{"), HasSubstr("tokenizer.json"));
}

}  // namespace
}  // namespace morphvlm::load_tokenizer_test
