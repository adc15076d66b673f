// 4-bit weights against bitsandbytes', 8-bit ones against their definition.
#include "morphvlm/quant/quantized.hpp"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/stack.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/core/rng.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/threads.hpp"

namespace morphvlm::quantized_test {
namespace {

using testing::open_golden;

struct Nf4 : ::testing::Test {
  testing::Golden golden = open_golden("nf4");
  Tensor weight = [] {
    Tensor w = testing::formula_input("nf4.weight", {142, 150});
    w.select(0, 3).slice(0, 10, 140).mul_(20);
    w.select(0, 7).zero_();
    return w;
  }();
  NF4::Packed theirs{.codes = golden["codes"],
                     .absmax = golden["absmax"],
                     .nested_absmax = golden["nested_absmax"],
                     .offset = golden["offset"],
                     .out = 142,
                     .in = 150};
};

template <class T>
void check_nf4_kernel() {
  constexpr std::int64_t kBlocks = 37;
  const Tensor codes = at::randint(0, 256, {kBlocks * detail::kNf4Block / 2}, make_generator(1), at::kByte),
               scales = at::rand({kBlocks}, make_generator(2), at::kFloat);
  // The earlier of two weights is in the higher bits of their byte.
  const Tensor places = at::stack({codes.bitwise_right_shift(4), codes.bitwise_and(15)}, 1).to(at::kLong);
  const Tensor expected = open_golden("nf4")["levels"]
                              .index_select(0, places.flatten())
                              .mul(scales.repeat_interleave(detail::kNf4Block))
                              .to(c10::CppTypeToScalarType<T>::value);
  for (const auto kernel : {detail::nf4_unpack<T>(), detail::Nf4Unpack<T>(&detail::nf4_unpack_portable<T>)}) {
    Tensor values = at::empty_like(expected);
    kernel(codes.const_data_ptr<std::uint8_t>(), scales.const_data_ptr<float>(), kBlocks,
           values.mutable_data_ptr<T>());
    EXPECT_TRUE(values.equal(expected));
  }
}

TEST(Nf4Unpack, EveryKernelIsALookupAndAProductToTheLastBit) {
  check_nf4_kernel<float>();
  check_nf4_kernel<c10::BFloat16>();
}

TEST_F(Nf4, LevelsAreTheReferences) {
  EXPECT_TRUE(detail::nf4_levels().equal(golden["levels"]));
  EXPECT_TRUE(detail::shared_dynamic_levels().equal(golden["dynamic"]));
}

TEST_F(Nf4, DequantisesToTheLastBit) {
  for (const int threads : {1, 3}) {
    const testing::Threads scope(threads);
    EXPECT_TRUE(NF4::unpack(theirs, at::kFloat).equal(golden["float32"])) << threads;
    EXPECT_TRUE(NF4::unpack(theirs, at::kBFloat16).equal(golden["float32"].to(at::kBFloat16))) << threads;
  }
}

TEST_F(Nf4, TheGeneralWayAgreesWithTheCpusOwn) {
  // fp64 takes the way that other devices take.
  EXPECT_TRUE(NF4::unpack(theirs, at::kDouble).to(at::kFloat).equal(golden["float32"]));
}

TEST_F(Nf4, QuantisesAsTheReference) {
  const auto ours = NF4::pack(weight);
  EXPECT_EQ(ours.codes.ne(theirs.codes).sum().item<std::int64_t>(), 0);
  EXPECT_LE(testing::relative_error(ours.offset, theirs.offset), 1e-6);
  EXPECT_LE(testing::relative_error(ours.nested_absmax, theirs.nested_absmax), 1e-5);
  // A scale half-way between two levels may fall to either side; that is at most one level.
  EXPECT_LE(ours.absmax.to(at::kInt).sub(theirs.absmax.to(at::kInt)).abs().max().item<int>(), 1);
  EXPECT_LE(ours.absmax.ne(theirs.absmax).sum().item<std::int64_t>(), 2);
}

TEST_F(Nf4, ErrorIsWithinHalfAStep) {
  const auto packed = NF4::pack(weight);
  const Tensor error = NF4::unpack(packed, at::kFloat).sub(weight).abs();
  const auto in_blocks = [](const Tensor& t) {
    return at::constant_pad_nd(t.flatten(), {0, (NF4::block - t.numel() % NF4::block) % NF4::block})
        .view({-1, NF4::block});
  };
  const Tensor largest = std::get<0>(in_blocks(weight).abs().max(1));
  // The widest gap between levels is 0.304, its half 0.152 of a block's largest weight; a rounded scale moves
  // the largest weight, at most, by as much as it is off itself.
  const Tensor off = NF4::scales(packed).sub(largest).abs();
  const Tensor bound = largest.mul(0.1521).add(off).add(1e-6);
  EXPECT_TRUE(in_blocks(error).le(bound.unsqueeze(1)).all().item<bool>());
  // Scales themselves are within half the widest gap of their levels of those of their own 256.
  EXPECT_LE(off.max().item<double>(), 0.04 * packed.nested_absmax.max().item<double>());
  EXPECT_EQ(error.select(0, 7).slice(0, 60, 100).max().item<double>(), 0);
}

TEST(Nf4Packed, TakesFourBitsAndAnEighth) {
  const auto p = NF4::empty(3200, 8640, at::TensorOptions(at::kBFloat16).device(at::kMeta));
  const double bits =
      8.0 * static_cast<double>(p.codes.nbytes() + p.absmax.nbytes() + p.nested_absmax.nbytes());
  EXPECT_NEAR(bits / (3200.0 * 8640.0), 4.127, 0.001);
  EXPECT_THAT(testing::message_of([] { NF4::empty(3, 5, at::kFloat); }), ::testing::HasSubstr("even number"));
}

TEST(Int8Packed, RoundsToTheNearestOf255) {
  const testing::Threads scope(3);
  const Tensor w = at::empty({50, 43}, at::kFloat).normal_(0, 1, make_generator(2));
  const auto p = Int8::pack(w);
  EXPECT_EQ(p.codes.scalar_type(), at::kChar);
  const Tensor step = std::get<0>(w.abs().max(1)).div(127).unsqueeze(1);
  EXPECT_TRUE(Int8::unpack(p, at::kFloat).sub(w).abs().le(step.mul(0.5001)).all().item<bool>());
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor scale = p.absmax.div(127).to(dtype).unsqueeze(1);
    EXPECT_TRUE(Int8::unpack(p, dtype).equal(p.codes.to(dtype).mul(scale)));
  }
  EXPECT_TRUE(Int8::unpack(Int8::pack(at::zeros({2, 4})), at::kFloat).equal(at::zeros({2, 4})));
}

}  // namespace
}  // namespace morphvlm::quantized_test
