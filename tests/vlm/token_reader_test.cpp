// One token after another in memory of a fixed length, against memory that grows.
#include "morphvlm/vlm/token_reader.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::token_reader_test {
namespace {

using testing::message_of;
using testing::TinyVlm;

template <LanguageModel L>
using Tiny = VLM<ClipViT, Perceiver, L>;

template <LanguageModel L>
typename L::Config tiny_language();
template <>
LlamaConfig tiny_language<OpenLLaMA>() {
  return testing::tiny_config<TinyVlm<NoAdapter>>().language;
}
template <>
MptConfig tiny_language<MPT>() {
  return {.vocab_size = testing::kTinyVocabulary, .d_model = 32, .n_layers = 4, .n_heads = 4};
}
template <>
GptNeoXConfig tiny_language<GPTNeoX>() {
  return {.vocab_size = testing::kTinyVocabulary,
          .hidden_size = 32,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .intermediate_size = 44};
}
template <>
BioGptConfig tiny_language<BioGPT>() {
  return {.vocab_size = testing::kTinyVocabulary,
          .hidden_size = 32,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .intermediate_size = 44,
          .max_position_embeddings = 64};
}

template <LanguageModel L>
Tiny<L> tiny(at::ScalarType dtype) {
  const auto like = testing::tiny_config<TinyVlm<NoAdapter>>();
  typename Tiny<L>::Config c{.vision = like.vision,
                             .perceiver = like.perceiver,
                             .language = tiny_language<L>(),
                             .cross_attention = like.cross_attention,
                             .media_token_id = like.media_token_id,
                             .eoc_token_id = like.eoc_token_id};
  auto model = Tiny<L>::init(c, {at::kFloat, make_generator(4)});
  freeze(model);
  convert(model, TensorOptions(dtype));
  return model;
}

// The logits after each of some tokens behind a left-padded text, two of them media; beams change places
// once.
template <LanguageModel L>
Tensor read_with(Reading reading, bool with_mask, at::ScalarType dtype = at::kFloat) {
  at::NoGradGuard no_grad;
  const auto model = tiny<L>(dtype);
  const Tensor ids =
      at::tensor(std::vector<std::int64_t>{7, 7, testing::kTinyMedia, 5, 9, testing::kTinyMedia, 3, 8, 2, 6})
          .view({2, 5});
  Tensor mask = at::ones({2, 5}, at::kLong);
  mask[0].slice(0, 0, 2).zero_();
  if (!with_mask) mask.reset();
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 2, 2).to(dtype)));
  VlmCache cache;
  model.hidden({.ids = ids, .attention_mask = mask}, latents, &cache);
  TokenReader<Tiny<L>> reader(model, cache, mask, 5, reading);
  std::vector<Tensor> logits;
  for (const std::int64_t token : {4, 11, static_cast<int>(testing::kTinyMedia), 13}) {
    logits.push_back(
        reader.read(at::tensor(std::vector<std::int64_t>{token, token + 1 - token / 40}).view({2, 1}))
            .to(at::kFloat, false, true));
    if (token == 11) reader.reorder(at::tensor({1, 0}, at::kLong));
  }
  return at::cat(logits);
}

template <class L>
struct TokenReaderOf : ::testing::Test {};
using Languages = ::testing::Types<OpenLLaMA, MPT, GPTNeoX, BioGPT>;
TYPED_TEST_SUITE(TokenReaderOf, Languages);

TYPED_TEST(TokenReaderOf, FixedMemoryGivesTheSame) {
  for (const bool with_mask : {false, true}) {
    const Tensor growing = read_with<TypeParam>(Reading::growing, with_mask),
                 fixed = read_with<TypeParam>(Reading::fixed, with_mask);
    const double error = growing.sub(fixed).abs().max().template item<double>();
    EXPECT_LT(error, 1e-5 * growing.abs().max().template item<double>()) << with_mask;
  }
}

TYPED_TEST(TokenReaderOf, FixedMemoryGivesTheSameInSixteenBits) {
  const Tensor growing = read_with<TypeParam>(Reading::growing, true, at::kBFloat16),
               fixed = read_with<TypeParam>(Reading::fixed, true, at::kBFloat16);
  const double error = growing.sub(fixed).abs().max().template item<double>();
  EXPECT_LT(error, 2e-2 * growing.abs().max().template item<double>());
}

TEST(TokenReader, AGraphNeedsABuildWithCuda) {
  if (kHasCudaGraphs) GTEST_SKIP() << "built with MORPHVLM_CUDA";
  EXPECT_EQ(fastest_reading(c10::kCUDA, 100), Reading::growing);
  EXPECT_THAT(message_of([] { read_with<OpenLLaMA>(Reading::recorded, false); }),
              ::testing::HasSubstr("built without MORPHVLM_CUDA"));
}

TEST(TokenReader, OnACpuThereIsRoomForAll) { EXPECT_EQ(fastest_reading(c10::kCPU, 100), Reading::fixed); }

}  // namespace
}  // namespace morphvlm::token_reader_test
