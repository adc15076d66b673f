// One token after another in memory of a fixed length, against memory that grows.
#include "morphvlm/vlm/token_reader.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

#include "morphvlm/vlm/quantized_model.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_languages.hpp"

namespace morphvlm::token_reader_test {
namespace {

using testing::message_of;

// The adapters of a policy, over a plain base.
template <class P>
struct OverPlain {
  using Policy = P;
};
template <class F, class P>
struct OverPlain<Quantized<F, P>> {
  using Policy = P;
};

template <LanguageModel L, AdapterPolicy P>
VLM<ClipViT, Perceiver, L, P> tiny(at::ScalarType dtype) {
  using Model = VLM<ClipViT, Perceiver, L, typename OverPlain<P>::Policy>;
  auto config = testing::tiny_config_with<Model>();
  if constexpr (std::is_same_v<L, OpenLLaMA>) {  // whole blocks of NF4, whose kernels read nothing else
    config.language.hidden_size = 64;
    config.language.intermediate_size = 192;
    config.cross_attention = {.every = 2, .heads = 2, .head_dim = 32};
  }
  auto model = Model::init(config, {at::kFloat, make_generator(4)});
  visit_modules(model, [](const std::string&, auto& node) {
    if constexpr (requires { node.attn_gate; }) node.attn_gate.fill_(0.5), node.ff_gate.fill_(-0.3);
  });
  testing::wake_adapters(model, 5);
  freeze(model);
  convert(model, TensorOptions(dtype));
  if constexpr (std::is_same_v<P, typename Model::Policy>) {
    return model;
  } else {
    return quantized<VLM<ClipViT, Perceiver, L, P>>(model);
  }
}

// The logits after each of some tokens behind a left-padded text, two of them media; beams change places
// once.
template <LanguageModel L, AdapterPolicy P = NoAdapter>
Tensor read_with(Reading reading, bool with_mask, at::ScalarType dtype = at::kFloat) {
  at::NoGradGuard no_grad;
  const auto model = tiny<L, P>(dtype);
  const Tensor ids =
      at::tensor(std::vector<std::int64_t>{7, 7, testing::kTinyMedia, 5, 9, testing::kTinyMedia, 3, 8, 2, 6})
          .view({2, 5});
  Tensor mask = at::ones({2, 5}, at::kLong);
  mask[0].slice(0, 0, 2).zero_();
  if (!with_mask) mask.reset();
  const Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 2, 2).to(dtype)));
  VlmCache cache;
  model.hidden({.ids = ids, .attention_mask = mask}, latents, &cache);
  TokenReader<VLM<ClipViT, Perceiver, L, P>> reader(model, cache, mask, 5, reading);
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

template <class P>
struct PackedTokenReader : ::testing::Test {};
using Policies = ::testing::Types<Quantized<NF4>, Quantized<Int8>, Quantized<NF4, LoRA<Attn>>>;
TYPED_TEST_SUITE(PackedTokenReader, Policies);

// Fixed memory is where a layer's norms, gates and sums go along with the products.
TYPED_TEST(PackedTokenReader, FixedMemoryGivesTheSame) {
  using Plain = typename OverPlain<TypeParam>::Policy;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor growing = read_with<OpenLLaMA, TypeParam>(Reading::growing, true, dtype),
                 fixed = read_with<OpenLLaMA, TypeParam>(Reading::fixed, true, dtype);
    const double largest = growing.abs().max().template item<double>();
    EXPECT_LT(growing.sub(fixed).abs().max().template item<double>(),
              (dtype == at::kFloat ? 1e-5 : 2e-2) * largest);
    // And another model than the plain one.
    const Tensor plain = read_with<OpenLLaMA, Plain>(Reading::fixed, true, dtype);
    EXPECT_GT(plain.sub(fixed).abs().max().template item<double>(), 1e-3 * largest);
  }
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
