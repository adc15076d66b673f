// tokenizer.hpp and what is behind it, against transformers' tokenizers (tests/golden/tokenizers_hf.py) and
// the conformance cases of llama.cpp.
#include "morphvlm/text/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/text/load_tokenizer.hpp"
#include "tests/text/reference_text.hpp"

namespace morphvlm::tokenizer_test {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::golden_file;
using ::testing::HasSubstr;
using testing::material;
using TokenIds = std::vector<std::int64_t>;

constexpr std::string_view kMistral = "mistral_common/data/tokenizer.model.v1";

const Json& reference() {
  static const Json json = read_json(golden_file("tokenizers.json"));
  return json;
}

/// A key of a case; where it is absent the value is as it is without the suffix, or the text itself.
std::string expected_text(const Json& row, const std::string& key, const char* suffix) {
  for (const std::string& name : {key + suffix, key})
    if (row.contains(name)) return row.at(name).get<std::string>();
  return row.at("text").get<std::string>();
}

void expect_cases(const Tokenizer& tokenizer, const Json& cases, const char* suffix = "") {
  ASSERT_EQ(cases.size(), 213u);
  for (const Json& row : cases) {
    const auto text = row.at("text").get<std::string>();
    const std::string key = std::string("ids") + suffix;
    const auto ids = row.at(row.contains(key) ? key : "ids").get<TokenIds>();
    EXPECT_EQ(encode(tokenizer, text), ids) << row.dump();
    EXPECT_EQ(decode(tokenizer, ids), expected_text(row, "decoded", suffix)) << row.dump();
    EXPECT_EQ(decode(tokenizer, ids, true), expected_text(row, "decoded_skip", suffix)) << row.dump();
  }
}

Tokenizer mistral(bool legacy) {
  SentencePieceSpec spec;
  spec.model = read_file_bytes(testing::data_file(kMistral));
  spec.legacy = legacy;
  Tokenizer tokenizer = make_sentence_piece(std::move(spec), "mistral");
  const MediaTokens media = add_media_tokens(tokenizer);
  EXPECT_EQ(media.end_of_chunk, 32000);
  EXPECT_EQ(media.image, 32001);
  EXPECT_EQ(media.pad, 32002);
  return tokenizer;
}

TEST(SentencePieceTokenizer, IdsAndTextsAreTheReferences) {
  MORPHVLM_NEEDS_DATA(kMistral);
  const Tokenizer tokenizer = mistral(true);
  EXPECT_EQ(vocab_size(tokenizer), 32003);
  expect_cases(tokenizer, reference().at("sentence_piece").at("cases"));
  EXPECT_THAT(encode_sequence(tokenizer, ""), ElementsAre(1));
}

TEST(SentencePieceTokenizer, TheNewerBehaviourToo) {
  MORPHVLM_NEEDS_DATA(kMistral);
  expect_cases(mistral(false), reference().at("sentence_piece").at("cases"), "_not_legacy");
}

TEST(SentencePieceTokenizer, IdsOfRealTextAreTheReferences) {
  MORPHVLM_NEEDS_DATA(kMistral);
  testing::expect_pubmed_ids(mistral(true), reference().at("sentence_piece").at("pubmed"));
}

/// GPT-NeoX's tokenizer.json, made of the GGUF's vocabulary as the golden script does it.
Json neox_json() {
  const GgufFile file = open_gguf(material("llama_cpp/models/ggml-vocab-gpt-neox.gguf"));
  const auto tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  Json json = read_json(golden_file("bpe_small/tokenizer.json"));
  json["normalizer"] = {{"type", "NFC"}};
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  Json vocab = Json::object(), added = Json::array();
  auto& members = vocab.get_ref<Json::object_t&>();
  for (std::int64_t id = 0; id < 50277; ++id) {
    const auto& token = tokens[static_cast<std::size_t>(id)];
    if (id < 50254) members.emplace_back(token, id);
    if (id >= 2 && id < 50254) continue;
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", id >= 2},
                     {"special", id < 2}});
  }
  json["added_tokens"] = added;
  json["model"]["vocab"] = vocab;
  json["model"]["merges"] = file.get<std::vector<std::string>>("tokenizer.ggml.merges");
  json["model"]["unk_token"] = nullptr;
  return json;
}

/// A folder as GPT-NeoX's, and the tokenizer that it picks.
Tokenizer neox_from_folder() {
  const auto folder = testing::scratch_folder();
  testing::write_file_text(folder / "tokenizer.json", neox_json().dump());
  testing::write_file_text(folder / "tokenizer_config.json",
                           R"({"tokenizer_class": "GPTNeoXTokenizer", "bos_token": "<|endoftext|>",
                               "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"})");
  Tokenizer tokenizer = load_tokenizer(folder);
  EXPECT_EQ(vocab_size(tokenizer), 50277);
  EXPECT_EQ(token_roles(tokenizer).eos, 0);
  const MediaTokens media = add_media_tokens(tokenizer);
  EXPECT_EQ(media.end_of_chunk, 50277);
  EXPECT_EQ(media.image, 50278);
  EXPECT_EQ(media.pad, 50279);
  return tokenizer;
}

TEST(NeoxTokenizer, IdsAndTextsAreTheReferences) {
  expect_cases(neox_from_folder(), reference().at("neox").at("cases"));
}

TEST(NeoxTokenizer, IdsOfRealTextAreTheReferences) {
  testing::expect_pubmed_ids(neox_from_folder(), reference().at("neox").at("pubmed"));
}

Tokenizer bio_gpt_from_folder() {
  Tokenizer tokenizer = load_tokenizer(golden_file("biogpt_small"));
  const auto base = reference().at("bio_gpt").at("vocab_size").get<std::int64_t>();
  EXPECT_EQ(vocab_size(tokenizer), base);
  const MediaTokens media = add_media_tokens(tokenizer);
  EXPECT_EQ(media.end_of_chunk, base);
  EXPECT_EQ(media.image, base + 1);
  EXPECT_EQ(media.pad, 1);
  return tokenizer;
}

TEST(BioGptTokenizer, IdsAndTextsAreTheReferences) {
  const Tokenizer tokenizer = bio_gpt_from_folder();
  expect_cases(tokenizer, reference().at("bio_gpt").at("cases"));
  EXPECT_THAT(encode_sequence(tokenizer, ""), ElementsAre(2));
}

TEST(BioGptTokenizer, IdsOfRealTextAreTheReferences) {
  testing::expect_pubmed_ids(bio_gpt_from_folder(), reference().at("bio_gpt").at("pubmed"));
}

TEST(BioGptTokenizer, TextsOfRealIdsAreTheReferences) {
  const Tokenizer tokenizer = bio_gpt_from_folder();
  std::string text;
  for (const std::string& line : testing::pubmed_lines(4096))
    text += (text.empty() ? "" : "\n") + decode(tokenizer, encode_sequence(tokenizer, line));
  EXPECT_EQ(testing::sha256(text), reference().at("bio_gpt").at("pubmed_decoded").get<std::string>());
}

TEST(AddedTokens, OfEveryKindAreFoundWhereTheReferenceFindsThem) {
  const Json& golden = reference().at("added");
  const Tokenizer tokenizer = make_byte_level_bpe(parse_bpe_json(golden.at("tokenizer").dump(), "added"));
  ASSERT_EQ(golden.at("cases").size(), 37u);
  for (const Json& row : golden.at("cases"))
    EXPECT_EQ(encode(tokenizer, row.at("text").get<std::string>()), row.at("ids").get<TokenIds>())
        << row.dump();
}

/// Texts and ids that llama.cpp keeps beside its vocabularies.
struct Conformance : ::testing::TestWithParam<std::string> {};

TEST_P(Conformance, IdsAreThoseKeptBesideTheVocabulary) {
  const std::string file = material("llama_cpp/models/ggml-vocab-" + GetParam() + ".gguf").string();
  const Tokenizer tokenizer = load_tokenizer(file);
  std::string input = read_text_file(file + ".inp");
  const std::string between = "\n__ggml_vocab_test__\n";
  const auto lines = split_lines(read_text_file(file + ".out"));
  std::size_t cases = 0;
  for (std::size_t end = 0; (end = input.find(between)) != input.npos; input.erase(0, end + between.size())) {
    ASSERT_LT(cases, lines.size());
    std::istringstream numbers(lines[cases++]);
    const TokenIds ids{std::istream_iterator<std::int64_t>(numbers), {}};
    EXPECT_EQ(encode(tokenizer, input.substr(0, end)), ids) << '"' << input.substr(0, end) << '"';
  }
  EXPECT_GE(cases, 46u);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Conformance, ::testing::Values("llama-spm", "gpt-2", "mpt"),
                         [](const auto& row) {
                           std::string name = row.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Tokenizer, RefusesWhatIsNotUtf8AndNegativeIds) {
  const Tokenizer tokenizer = bio_gpt_from_folder();
  EXPECT_THAT(error_of([&] { encode(tokenizer, "caf\xE9"); }), HasSubstr("not valid UTF-8 at byte 3"));
  const TokenIds negative{-1};
  EXPECT_THAT(error_of([&] { decode(tokenizer, negative); }), HasSubstr("id -1 is negative"));
}

// BioGptTokenizer of transformers 5.24.0 gives the same; what tokenizer.json gives is in tokenizers_5.json.
TEST(Tokenizer, BioGPTTakesIdsBeyondForItsUnknownToken) {
  const Tokenizer tokenizer = load_tokenizer(golden_file("biogpt_small"));
  const TokenIds ids = encode(tokenizer, "Mutations in BRCA1.");
  TokenIds strange = ids;
  strange.push_back(99999);
  strange.insert(strange.end(), ids.begin(), ids.end());
  EXPECT_EQ(decode(tokenizer, strange), "Mutations in BRCA1. <unk>Mutations in BRCA1.");
  EXPECT_EQ(decode(tokenizer, strange, true), "Mutations in BRCA1. <unk>Mutations in BRCA1.");
  EXPECT_EQ(decode(tokenizer, TokenIds{vocab_size(tokenizer)}), "<unk>");
}

TEST(SentencePieceTokenizer, IdsBeyondHaveNoText) {
  SentencePieceSpec spec;
  spec.model = read_file_bytes(golden_file("llama_small/tokenizer.model"));
  const Tokenizer tokenizer = make_sentence_piece(std::move(spec), "small");
  TokenIds ids = encode(tokenizer, "the cat");
  ids.insert(ids.begin() + 1, vocab_size(tokenizer));
  EXPECT_EQ(decode(tokenizer, ids), "the cat");
}

TEST(Tokenizer, AddsATokenOnce) {
  Tokenizer tokenizer = bio_gpt_from_folder();
  const auto size = vocab_size(tokenizer);
  EXPECT_THAT(add_tokens(tokenizer, {"<video>", "<image>", "<video>"}), ElementsAre(size, size - 1, size));
  EXPECT_EQ(vocab_size(tokenizer), size + 1);
  EXPECT_EQ(token_id(tokenizer, "<video>"), size);
  EXPECT_EQ(token_id(tokenizer, "<sound>"), std::nullopt);
  EXPECT_THAT(encode(tokenizer, "<video>"), ElementsAre(size));
}

TEST(Tokenizer, CleansUpSpacesOnRequest) {
  Tokenizer tokenizer = make_byte_level_bpe(read_bpe_json(golden_file("bpe_small/tokenizer.json")));
  const auto ids = encode(tokenizer, "a , b . do n't it 's");
  EXPECT_EQ(decode(tokenizer, ids), "a , b . do n't it 's");
  tokenizer.clean_up_spaces = true;
  EXPECT_EQ(decode(tokenizer, ids), "a, b. don't it's");
}

}  // namespace
}  // namespace morphvlm::tokenizer_test
