// A base on the host: the same numbers to the last bit, whichever way its weights come.
#include "morphvlm/offload/streamed.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "morphvlm/plan/plan.hpp"
#include "morphvlm/vlm/generate.hpp"
#include "morphvlm/vlm/quantized_model.hpp"
#include "tests/train/tiny_training.hpp"

namespace morphvlm::streamed_test {
namespace {

Tensor some_weight() { return at::empty({37, 128}, at::kFloat).normal_(0, 1, make_generator(5)); }

template <class F>
struct HostOffloadedFormat : ::testing::Test {};
using Formats = ::testing::Types<Dense, NF4, Int8>;
TYPED_TEST_SUITE(HostOffloadedFormat, Formats);

TYPED_TEST(HostOffloadedFormat, KeepsEveryBit) {
  const Tensor weight = some_weight();
  const auto packed = HostOffloaded<TypeParam>::pack(weight);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor expected = TypeParam::unpack(TypeParam::pack(weight), dtype);
    EXPECT_TRUE(HostOffloaded<TypeParam>::unpack(packed, dtype).equal(expected));
    WeightStream stream;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(HostOffloaded<TypeParam>::unpack(packed, dtype).equal(expected));
    // Each time it is fetched, and once more ahead of time as soon as it is known to come again.
    EXPECT_GE(stream.copied(), 3 * packed.host->size());
  }
}

TYPED_TEST(HostOffloadedFormat, StaysWhereItIsWhenTheModelMoves) {
  auto linear = Linear<Over<HostOffloaded<TypeParam>, NoWeights>>::init(128, 37, false,
                                                                        {at::kFloat, make_generator(1)});
  const auto* const memory = linear.weight.host->memory().const_data_ptr();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 4096, 0u) << "pages of its own can be pinned";
  EXPECT_EQ(parameter_count(linear), 0);
  EXPECT_EQ(host_bytes(linear), linear.weight.host->size());
  convert(linear, at::TensorOptions(at::kBFloat16).device(at::kMeta));
  EXPECT_EQ(linear.weight.host->memory().const_data_ptr(), memory);
  // It is used where the model is now.
  const detail::StandFor scope(c10::kCUDA);
  EXPECT_TRUE(HostOffloaded<TypeParam>::unpack(linear.weight, at::kFloat).is_meta());
}

// Kernels load whole vectors from where a tensor begins, as LibTorch's own tensors on CUDA do.
TYPED_TEST(HostOffloadedFormat, PartsLieApartAsTensorsOfTheirOwnDo) {
  const auto packed = HostOffloaded<TypeParam>::pack(some_weight());
  const auto parts = HostOffloaded<TypeParam>::fetch(packed);
  std::size_t tensors = 0;
  for_each_field(parts, [&](std::string_view name, const auto& field) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(field)>, Tensor>) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(field.const_data_ptr()) % 256, 0u) << name;
      ++tensors;
    }
  });
  EXPECT_GT(tensors, 0u);
}

TYPED_TEST(HostOffloadedFormat, OnTheMetaDeviceHasASizeAndNoMemory) {
  const auto options = at::TensorOptions(at::kFloat).device(at::kMeta);
  const auto real = HostOffloaded<TypeParam>::pack(some_weight());
  const MemoryMeter memory(c10::kMeta);
  const auto planned = HostOffloaded<TypeParam>::empty(37, 128, options);
  EXPECT_EQ(planned.host->size(), real.host->size());
  EXPECT_FALSE(planned.host->memory().defined());
  EXPECT_EQ(memory.use().live, 0);
  const detail::StandFor scope(c10::kCUDA);
  EXPECT_EQ(HostOffloaded<TypeParam>::unpack(planned, at::kFloat).sizes(), at::IntArrayRef({37, 128}));
}

// Losses of some steps and the adapters after them.
template <class Model>
std::pair<std::vector<double>, StateDict> trained(Model model) {
  const auto history = train(model, {.steps = 4, .lr = 1e-2}, testing::kWholeBatch, testing::kQuiet);
  std::vector<double> losses;
  for (const auto& step : history) losses.push_back(step.loss);
  StateDict adapters;
  for (const auto& [name, t] : state_dict(model))
    if (t.requires_grad()) adapters.emplace_back(name, t);
  return {losses, adapters};
}

// What it is streamed from, as a model of the type that computes the same with weights at hand.
template <class F>
struct AtHand {
  using Policy = Quantized<F, LoRA<Attn>>;
};
template <>
struct AtHand<Dense> {
  using Policy = LoRA<Attn>;
};

template <class F>
struct StreamedTraining : ::testing::Test {};
TYPED_TEST_SUITE(StreamedTraining, Formats);

TYPED_TEST(StreamedTraining, IsTrainingWithWeightsAtHand) {
  using Here = testing::TinyVlm<typename AtHand<TypeParam>::Policy>;
  using There = testing::TinyVlm<Streamed<LoRA<Attn>, TypeParam>>;
  for (const std::int64_t recompute : {0, 1}) {
    const auto open = [&]<class Model>(std::type_identity<Model>) {
      // Quantised from one and the same model.
      const auto plain = testing::open_model<testing::TinyAdapted>();
      Model model = [&] {
        if constexpr (std::is_same_v<Model, testing::TinyAdapted>)
          return plain;
        else
          return quantized<Model>(plain);
      }();
      set_trainable_parts(model, {});
      model.recompute.every = recompute;
      return model;
    };
    const auto [losses, adapters] = trained(open(std::type_identity<Here>{}));
    EXPECT_LT(losses.back(), 0.9 * losses.front());
    for (const std::int64_t ahead : {-1, 0, 3, 7}) {
      std::optional<WeightStream> stream;
      if (ahead >= 0) stream.emplace(ahead);
      const auto [same_losses, same_adapters] = trained(open(std::type_identity<There>{}));
      EXPECT_EQ(same_losses, losses) << ahead;
      ASSERT_EQ(same_adapters.size(), adapters.size());
      for (std::size_t i = 0; i < adapters.size(); ++i) {
        EXPECT_EQ(same_adapters[i].first, adapters[i].first);
        EXPECT_TRUE(same_adapters[i].second.equal(adapters[i].second)) << adapters[i].first << ' ' << ahead;
      }
    }
  }
}

TEST(WeightStream, CopiesAStepsWeightsOnceForEachUseAsPlanned) {
  using Model = testing::TinyVlm<Streamed<LoRA<Attn>>>;
  const auto config = testing::tiny_config<Model>();
  Model model = testing::open_model<Model>({}, config);
  WeightStream stream;
  const auto step = [&] {
    const auto before = stream.copied();
    backward(testing::loss_of_rows(model, 0, 4));
    return stream.copied() - before;
  };
  step();
  step();
  const auto copied = step();
  EXPECT_EQ(step(), copied);
  // Below the first adapter there is nothing to go back to, and a layer's last product is not needed twice.
  EXPECT_GT(copied, host_bytes(model));
  EXPECT_LE(copied, 2 * host_bytes(model));
  EXPECT_EQ((plan<Model>(config, {}, {.batch = 4, .seq = 7, .supervised = 2}).copied_bytes), copied);
}

TEST(WeightStream, TheNewestServesUntilItIsGone) {
  EXPECT_EQ(WeightStream::current(), nullptr);
  const WeightStream first;
  {
    const WeightStream second;
    EXPECT_EQ(WeightStream::current(), &second);
  }
  EXPECT_EQ(WeightStream::current(), &first);
}

TEST(StreamedModel, DecodesAsWithWeightsAtHand) {
  using Plain = testing::TinyVlm<LoRA<Attn>>;
  Plain plain = testing::open_model<Plain>();
  testing::wake_adapters(plain, 3);
  const auto held = quantized<testing::TinyVlm<Streamed<LoRA<Attn>>>>(plain);
  const Tensor pixels = testing::tiny_pixels(3, 1);
  const TextInput text{.ids = at::tensor({testing::kTinyMedia, 4L, 7L}, at::kLong).unsqueeze(0)};
  const auto decode = [&](const auto& model) {
    at::NoGradGuard no_grad;
    return generate(model, text, model.resample(model.encode_vision(pixels)), {.max_new_tokens = 6}).ids;
  };
  const Tensor expected = decode(plain);
  EXPECT_TRUE(decode(held).equal(expected));
  const WeightStream stream;
  EXPECT_TRUE(decode(held).equal(expected));
}

}  // namespace
}  // namespace morphvlm::streamed_test
