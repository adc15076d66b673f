// DoRA over weights that are kept in few bits or elsewhere: against PEFT over bitsandbytes' 4-bit projection
// (tests/golden/dora.py), and against the dense weight that they stand for.
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/adapt/weight_decomposed.hpp"
#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/offload/shards.hpp"
#include "morphvlm/offload/streamed.hpp"
#include "morphvlm/vlm/quantized_model.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::weight_decomposed_linear_test {
namespace {

using testing::formula_input;
using testing::formula_parameter;
using testing::TinyVlm;

const LoRAConfig kConfig{.rank = 3, .alpha = 6};

void wake(WeightDecomposed& adapter) {
  adapter.lora_A = formula_parameter("fc.lora_A", {3, 64}).set_requires_grad(true);
  adapter.lora_B = formula_parameter("fc.lora_B", {12, 3}).set_requires_grad(true);
  adapter.lora_magnitude_vector =
      adapter.lora_magnitude_vector.mul(formula_input("fc.lora_magnitude_vector", {12}).div(4).add(1))
          .detach()
          .set_requires_grad(true);
}

template <WeightFormat F>
Linear<Over<F, WeightDecomposed>> packed() {
  auto linear =
      Linear<Over<F, WeightDecomposed>>::init(64, 12, true, {at::kFloat, make_generator(1)}, kConfig);
  linear.store(formula_parameter("fc.weight", {12, 64}));
  linear.bias = formula_parameter("fc.bias", {12});
  start_adapters(linear);
  return linear;
}

TEST(PackedWeightDecomposed, FourBitsAsTheReference) {
  const auto golden = testing::open_golden("dora");
  auto linear = packed<NF4>();
  EXPECT_CLOSE(linear.adapter.lora_magnitude_vector, golden["nf4/start"], 1e-6);
  wake(linear.adapter);
  const Tensor x = formula_input("x", {5, 64}).set_requires_grad(true);
  const Tensor y = linear(x);
  EXPECT_CLOSE(y, golden["nf4/y"], 1e-5);
  backward(y.mul(formula_input("y_cotangent", {5, 12})).sum());
  EXPECT_CLOSE(x.grad(), golden["nf4/grad/x"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_A.grad(), golden["nf4/grad/lora_A"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_B.grad(), golden["nf4/grad/lora_B"], 1e-5);
  EXPECT_CLOSE(linear.adapter.lora_magnitude_vector.grad(), golden["nf4/grad/lora_magnitude_vector"], 1e-5);
}

template <class F>
struct PackedWeight : ::testing::Test {};
using Formats = ::testing::Types<NF4, Int8, HostOffloaded<Dense>, HostOffloaded<NF4>, Shards>;
TYPED_TEST_SUITE(PackedWeight, Formats);

TYPED_TEST(PackedWeight, DoesWhatItsDenseWeightDoes) {
  auto ours = packed<TypeParam>();
  Linear<WeightDecomposed> dense{
      .weight = ours.dense_weight(at::kFloat), .bias = ours.bias, .adapter = ours.adapter};
  start_adapters(dense);
  EXPECT_TRUE(dense.adapter.lora_magnitude_vector.equal(ours.adapter.lora_magnitude_vector));
  wake(ours.adapter);
  wake(dense.adapter);
  const Tensor x = formula_input("x", {5, 64});
  const Tensor y = ours(x);
  EXPECT_CLOSE(y, dense(x), 1e-5);
  at::NoGradGuard no_grad;
  EXPECT_CLOSE(ours(x.slice(0, 0, 1)), y.slice(0, 0, 1), 1e-5);
}

// Packed weights have no adapter taken out of them, so it would act twice.
TEST(PackedWeightDecomposed, AMergedAdapterIsNotPackedIn) {
  auto dense = Linear<WeightDecomposed>::init(64, 12, true, {at::kFloat, make_generator(1)}, kConfig);
  auto linear = packed<Int8>();
  merge_adapters(dense);
  EXPECT_THAT(testing::message_of([&] { quantize_into(linear, dense); }),
              ::testing::HasSubstr("its adapter is merged; unmerge_adapters first"));
  unmerge_adapters(dense);
  quantize_into(linear, dense);
  EXPECT_TRUE(linear.adapter.lora_A.equal(dense.adapter.lora_A));
}

// A model in four bits whose adapters started on its dense weights, and then on those that it keeps.
TEST(PackedWeightDecomposed, AWholeModelStartsAsItsBase) {
  using Dense = TinyVlm<DoRA<Attn>>;
  using Model = TinyVlm<Quantized<NF4, DoRA<Attn>>>;
  using Base = TinyVlm<Quantized<NF4, LoRA<Attn>>>;  // whose B is zero
  const auto dense = testing::tiny_model<Dense>(7);
  auto model = quantized<Model>(dense);
  const auto run = [](const auto& m) {
    const Tensor ids = at::tensor({3L, testing::kTinyMedia, 5L, 6L}, at::kLong).view({1, 4});
    return m.hidden({.ids = ids}, m.resample(m.encode_vision(testing::tiny_pixels(3, 1))));
  };
  auto base = Base::init(testing::tiny_config<Base>(), {TensorOptions(at::kMeta)});
  quantize_into(base, dense);
  EXPECT_GT(testing::relative_error(run(model), run(base)), 1e-4);
  start_adapters(model);
  EXPECT_CLOSE(run(model), run(base), 1e-5);
}

}  // namespace
}  // namespace morphvlm::weight_decomposed_linear_test
