// Each trained parameter gets its gradient where everything else is frozen, the input too, however the
// product is made: the fast paths are for what nobody trains. The reference is the same module in double,
// which no fast path takes.
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/nn/batch_norm.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/nn/self_attention.hpp"
#include "morphvlm/offload/shards.hpp"
#include "morphvlm/offload/streamed.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::frozen_inputs_test {
namespace {

using testing::relative_error;

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return at::empty(shape, at::kFloat).normal_(0, 1, make_generator(seed));
}

const LoRAConfig kLora{.rank = 2, .alpha = 4};

Init random_init() { return {at::kFloat, make_generator(1)}; }

// No factor is left at the zero that it starts from: nothing would come through it.
template <class M>
M with_numbers(M module) {
  std::uint64_t seed = 10;
  visit(module, [&](const std::string& name, Tensor& t) {
    if (name.ends_with("lora_B") || name.ends_with("gate")) t = normal(t.sizes(), ++seed).mul(0.3);
  });
  return module;
}

template <class M>
M converted(const M& module, at::ScalarType dtype) {
  M other = module;
  visit(other, [&](const std::string&, Tensor& t) { t = t.to(dtype); });
  return other;
}

// d (y . dy) / d parameter, undefined where it is cut off.
template <class M, class F>
Tensor gradient(M module, const std::string& parameter, const F& run) {
  Tensor trained;
  visit(module, [&](const std::string& name, Tensor& t) {
    if (name == parameter) trained = t = t.detach().clone().set_requires_grad(true);
  });
  const Tensor y = run(module);
  if (!y.requires_grad()) return {};
  // What is recomputed reaches parameters in no other way.
  backward(y.mul(normal(y.sizes(), 3).to(y.scalar_type())).sum());
  return trained.grad();
}

// run(module, dtype) with each parameter trained alone, in fp32 and in BFloat16, against double.
template <class M, class F>
void expect_gradients(const M& module, const F& run, const std::string& what,
                      const std::string& without = "") {
  std::vector<std::string> names;
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (t.defined() && name != without) names.push_back(name);
  });
  ASSERT_FALSE(names.empty()) << what;
  for (const auto& name : names) {
    const Tensor expected =
        gradient(converted(module, at::kDouble), name, [&](const M& m) { return run(m, at::kDouble); });
    ASSERT_TRUE(expected.defined()) << what << ": " << name;
    ASSERT_GT(expected.norm().template item<double>(), 1e-6) << what << ": " << name;
    for (const auto& [dtype, bound] : {std::pair(at::kFloat, 1e-4), std::pair(at::kBFloat16, 5e-2)}) {
      const Tensor found =
          gradient(converted(module, dtype), name, [&, d = dtype](const M& m) { return run(m, d); });
      ASSERT_TRUE(found.defined()) << what << ": " << name << " is cut off in " << dtype;
      EXPECT_LE(relative_error(found.to(at::kDouble), expected), bound) << what << ": " << name;
    }
  }
}

// Of inputs [rows, 1, 32] that products of few rows take, tiles take, and nobody does.
template <class M>
void expect_gradients_by_rows(const M& module, const std::string& what) {
  for (const std::int64_t rows : {1, 3, 7, 40}) {
    const auto run = [&](const M& m, at::ScalarType dtype) { return m(normal({rows, 1, 32}, 2).to(dtype)); };
    expect_gradients(module, run, what + ", " + std::to_string(rows) + " rows");
  }
}

TEST(FrozenInputs, Projections) {
  expect_gradients_by_rows(Linear<>::init(32, 64, true, random_init()), "with a bias");
  expect_gradients_by_rows(Linear<>::init(32, 64, false, random_init()), "without");
  expect_gradients_by_rows(with_numbers(Linear<LowRank>::init(32, 64, true, random_init(), kLora)), "LoRA");
}

TEST(FrozenInputs, NormsAndFeedForwards) {
  expect_gradients_by_rows(LayerNorm::init(32, random_init()), "LayerNorm");
  expect_gradients_by_rows(RMSNorm::init(32, random_init()), "RMSNorm");
  expect_gradients_by_rows(SwiGlu<>::init(32, 64, random_init()), "SwiGlu");
  expect_gradients_by_rows(GeluMlp::init(32, 64, Activation::quick_gelu, random_init()), "GeluMlp");
  expect_gradients_by_rows(NormedFeedForward<>::init(32, 2, random_init()), "NormedFeedForward");
  using Adapted = SwiGlu<LoRA<Mlp>>;
  expect_gradients_by_rows(with_numbers(Adapted::init(32, 64, random_init(), kLora)), "adapted SwiGlu");
}

TEST(FrozenInputs, BatchNorm) {
  const auto norm = BatchNorm::init(3, random_init(), 1e-5);
  const auto x = [](at::ScalarType dtype) { return normal({2, 3, 4, 4}, 2).to(dtype); };
  for (const char* name : {"weight", "bias"}) {
    const Tensor found = gradient(norm, name, [&](const BatchNorm& m) { return m(x(at::kFloat)); });
    const Tensor expected =
        gradient(converted(norm, at::kDouble), name, [&](const BatchNorm& m) { return m(x(at::kDouble)); });
    ASSERT_TRUE(found.defined()) << name;
    EXPECT_LE(relative_error(found.to(at::kDouble), expected), 1e-5) << name;
  }
}

TEST(FrozenInputs, SelfAttentionWithBiasesAndAdapters) {
  const SelfAttentionConfig config{.dim = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .bias = true};
  const auto adapted = with_numbers(SelfAttention<LoRA<Attn>>::init(config, random_init(), kLora));
  for (const std::int64_t time : {2, 7, 40}) {
    const auto run = [&](const SelfAttention<LoRA<Attn>>& m, at::ScalarType dtype) {
      const Tensor x = normal({1, time, 32}, 2).to(dtype);
      const DecoderContext context{.mask = causal_mask(0, time, {}, at::kCPU),
                                   .rope = rope_table(token_positions(0, time, {}, at::kCPU), 8, 1e4, dtype)};
      return m(x, context);
    };
    // The same number added to all scores of a query changes none of the weights.
    expect_gradients(adapted, run, std::to_string(time) + " tokens", "k_proj.bias");
  }
}

// A cache of fixed length and one new token: what decoding takes by kernels of its own.
TEST(FrozenInputs, SelfAttentionBehindACache) {
  const SelfAttentionConfig config{.dim = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .bias = true};
  const auto attention = SelfAttention<>::init(config, random_init());
  const auto run = [&](const SelfAttention<>& m, at::ScalarType dtype) {
    LayerCache cache{.k = normal({1, 2, 5, 8}, 4).to(dtype), .v = normal({1, 2, 5, 8}, 5).to(dtype)};
    const DecoderContext context{.rope = rope_table(token_positions(5, 1, {}, at::kCPU), 8, 1e4, dtype)};
    return m(normal({1, 1, 32}, 2).to(dtype), context, &cache);
  };
  expect_gradients(attention, run, "one token", "k_proj.bias");
}

TEST(FrozenInputs, GatedBlocks) {
  using Block = GatedCrossAttention<LoRA<CrossAttn, CrossMlp>>;
  const GatedCrossAttentionConfig config{.heads = 4, .head_dim = 8, .ff_mult = 2, .gate_value = 0.5};
  const auto block = with_numbers(Block::init(32, 24, config, random_init(), kLora));
  for (const std::int64_t time : {1, 3, 7, 40}) {
    for (const bool recompute : {false, true}) {
      const auto run = [&](const Block& m, at::ScalarType dtype) {
        const Tensor x = normal({1, time, 32}, 2).to(dtype);
        const auto media = m.attn.key_values(normal({1, 6, 24}, 6).to(dtype));
        return m(x, media, media_mask(at::ones({1, time}, at::kLong), 2, 3), recompute);
      };
      expect_gradients(block, run, std::to_string(time) + " tokens");
    }
  }
}

template <class F>
struct FrozenInputsOfFormats : ::testing::Test {};
using Formats = ::testing::Types<NF4, Int8, Shards, HostOffloaded<Dense>, HostOffloaded<NF4>>;
TYPED_TEST_SUITE(FrozenInputsOfFormats, Formats);

// The weight is never trained; bias and adapter are.
TYPED_TEST(FrozenInputsOfFormats, BiasAndAdapter) {
  using Kept = Linear<Over<TypeParam, LowRank>>;
  const auto kept = with_numbers(Kept::init(128, 64, true, random_init(), kLora));
  const Linear<LowRank> plain{.weight = TypeParam::unpack(kept.weight, at::kFloat).clone(),
                              .bias = kept.bias,
                              .adapter = kept.adapter};
  for (const std::int64_t rows : {1, 3, 7, 40}) {
    const auto run = [&](const auto& m, at::ScalarType dtype) {
      return m(normal({rows, 1, 128}, 2).to(dtype));
    };
    for (const char* name : {"bias", "adapter.lora_A", "adapter.lora_B"}) {
      const Tensor expected =
          gradient(converted(plain, at::kDouble), name, [&](const auto& m) { return run(m, at::kDouble); });
      const Tensor found = gradient(kept, name, [&](const auto& m) { return run(m, at::kFloat); });
      ASSERT_TRUE(found.defined()) << name << ", " << rows << " rows";
      EXPECT_LE(relative_error(found.to(at::kDouble), expected), 1e-4) << name << ", " << rows << " rows";
    }
  }
}

}  // namespace
}  // namespace morphvlm::frozen_inputs_test
