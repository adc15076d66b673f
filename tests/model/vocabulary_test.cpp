#include "morphvlm/model/vocabulary.hpp"

#include <gtest/gtest.h>

#include "morphvlm/core/module.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::vocabulary_test {
namespace {

const Init kRandom{at::kFloat, make_generator(3)};

Llama<NoAdapter> small_llama(bool tied) {
  LlamaConfig c{.vocab_size = 11,
                .hidden_size = 8,
                .intermediate_size = 12,
                .num_hidden_layers = 1,
                .num_attention_heads = 2};
  c.tie_word_embeddings = tied;
  return Llama<NoAdapter>::init(c, kRandom);
}

TEST(Vocabulary, GrowsByNormalRowsAndKeepsTheOld) {
  auto model = small_llama(false);
  const Tensor embedding = model.model.embed_tokens.weight, head = model.lm_head.weight;
  unfreeze(model, "lm_head.weight");
  resize_vocabulary(model, 3011, make_generator(5));
  EXPECT_EQ(model.config.vocab_size, 3011);
  EXPECT_TRUE(model.model.embed_tokens.weight.slice(0, 0, 11).equal(embedding));
  EXPECT_TRUE(model.lm_head.weight.detach().slice(0, 0, 11).equal(head));
  const Tensor fresh = model.model.embed_tokens.weight.slice(0, 11);
  EXPECT_NEAR(fresh.std().item<double>(), 0.02, 0.001);  // 24,000 draws
  EXPECT_NEAR(fresh.mean().item<double>(), 0, 0.001);
  EXPECT_TRUE(model.lm_head.weight.requires_grad());
  EXPECT_FALSE(model.model.embed_tokens.weight.requires_grad());
}

TEST(Vocabulary, GrowsAlikeInEveryRunUnlessToldOtherwise) {
  auto first = small_llama(false), second = first;
  resize_vocabulary(first, 15);
  resize_vocabulary(second, 15);
  EXPECT_TRUE(first.model.embed_tokens.weight.equal(second.model.embed_tokens.weight));
  EXPECT_TRUE(first.lm_head.weight.equal(second.lm_head.weight));
  EXPECT_FALSE(first.lm_head.weight.slice(0, 11).equal(first.model.embed_tokens.weight.slice(0, 11)));
}

TEST(Vocabulary, Shrinks) {
  auto model =
      MPTModel<NoAdapter>::init({.vocab_size = 9, .d_model = 8, .n_layers = 1, .n_heads = 2}, kRandom);
  const Tensor before = model.transformer.wte.weight;
  resize_vocabulary(model, 5);
  EXPECT_TRUE(model.transformer.wte.weight.equal(before.slice(0, 0, 5)));
  EXPECT_EQ(model.config.vocab_size, 5);
  EXPECT_EQ(model.logits(at::zeros({1, 8})).size(-1), 5);
}

TEST(Vocabulary, AppendsACopyToEveryTableThereIs) {
  for (const bool tied : {false, true}) {
    auto model = small_llama(tied);
    EXPECT_EQ(append_token_row(model, 4), 11);
    for (const Tensor* table : model.token_tables()) {
      EXPECT_EQ(table->size(0), 12);
      EXPECT_TRUE(table->select(0, 11).equal(table->select(0, 4)));
    }
  }
  auto neox = GPTNeoXModel<NoAdapter>::init({.vocab_size = 7,
                                             .hidden_size = 8,
                                             .num_hidden_layers = 1,
                                             .num_attention_heads = 2,
                                             .intermediate_size = 8},
                                            kRandom);
  append_token_row(neox, 0);
  EXPECT_EQ(neox.embed_out.weight.size(0), 8);
  auto bio = BioGPTModel<NoAdapter>::init({.vocab_size = 7,
                                           .hidden_size = 8,
                                           .num_hidden_layers = 1,
                                           .num_attention_heads = 2,
                                           .intermediate_size = 8},
                                          kRandom);
  EXPECT_EQ(append_token_row(bio, 6), 7);
}

TEST(Vocabulary, TokensThatAreNotThereAreRefused) {
  auto model = small_llama(true);
  EXPECT_EQ(testing::message_of([&] { append_token_row(model, 11); }),
            "append_token_row: token 11 is not in a vocabulary of 11");
  EXPECT_EQ(testing::message_of([&] { resize_vocabulary(model, 0); }),
            "resize_vocabulary: expected at least one token, found 0");
}

}  // namespace
}  // namespace morphvlm::vocabulary_test
