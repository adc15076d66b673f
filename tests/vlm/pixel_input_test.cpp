// model/pixel_input.hpp: one rule for the pixels that a model is given, wherever they come in.
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::pixel_input_test {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

TEST(PixelInput, BytesAreRefusedByName) {
  using Model = testing::TinyVlm<NoAdapter>;
  const auto model = testing::tiny_model<Model>(1);
  const Tensor bytes = testing::tiny_pixels(1, 2).to(at::kByte);
  const TextInput text{.ids = at::zeros({2, 3}, at::kLong)};
  const auto expected = HasSubstr(
      "expected pixels of a floating-point type, scaled and normalised "
      "(clip_pixels), found Byte [2, 1, 3, ");
  EXPECT_THAT(message_of([&] { model.encode_vision(bytes); }), expected);
  EXPECT_THAT(message_of([&] { model(bytes, text); }), expected);
  EXPECT_THAT(message_of([&] { model.encode_vision({}); }), HasSubstr("found undefined"));
  const auto half = testing::tiny_model<Model>(1, testing::tiny_config<Model>(), at::kBFloat16);
  EXPECT_EQ(half.encode_vision(testing::tiny_pixels(1, 2).to(at::kBFloat16)).size(0), 2);
}

}  // namespace
}  // namespace morphvlm::pixel_input_test
