// What a model remembers between calls, whose rows change places and part: against texts read whole.
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "morphvlm/vlm/token_reader.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::cache_test {
namespace {

using Model = testing::TinyVlm<NoAdapter>;
constexpr std::int64_t kMedia = testing::kTinyMedia;

Tensor rows_of(const std::vector<std::vector<std::int64_t>>& rows) {
  std::vector<Tensor> out;
  for (const auto& row : rows) out.push_back(at::tensor(row, at::kLong));
  return at::stack(out);
}

struct Cache : ::testing::Test {
  at::NoGradGuard no_grad = {};
  Model model = testing::tiny_model<Model>(7);
  // Two pictures for each of two texts.
  Tensor latents = model.resample(model.encode_vision(testing::tiny_pixels(3, 2, 2)));

  // The last position's output of a text that is read whole.
  Tensor whole(const std::vector<std::int64_t>& ids, const Tensor& media) const {
    const Tensor out = model.hidden({.ids = rows_of({ids})}, media.unsqueeze(0));
    return out[0][out.size(1) - 1];
  }
};

// Beams have their pictures in common, but one may have come to the second when another has not.
TEST_F(Cache, BeamsTakeAlongHowManyPicturesTheyHaveSeen) {
  const Tensor same = latents.slice(0, 0, 1).expand({2, -1, -1, -1});
  const Tensor start = rows_of({{kMedia, 5, 9, 7}, {kMedia, 5, kMedia, 7}});
  const Tensor first = whole({kMedia, 5, kMedia, 7, 4}, latents[0]),
               second = whole({kMedia, 5, 9, 7, 11}, latents[0]);
  // After the second picture it would be another text.
  ASSERT_GT(testing::relative_error(whole({kMedia, 5, 9, 7, 11}, latents[1]), second), 1e-3);
  for (const auto reading : {Reading::growing, Reading::fixed}) {
    VlmCache cache;
    model.hidden({.ids = start}, same, &cache);
    TokenReader<Model> reader(model, cache, {}, 3, reading);
    reader.reorder(at::tensor({1, 0}, at::kLong));
    const Tensor logits = reader.read(rows_of({{4}, {11}}));
    EXPECT_CLOSE(logits[0], model.logits(first), 1e-5);
    EXPECT_CLOSE(logits[1], model.logits(second), 1e-5);
  }
}

TEST_F(Cache, ChosenRowsGoOnWithTheirOwnTextAndPictures) {
  VlmCache cache;
  model.hidden({.ids = rows_of({{kMedia, 5, 9}, {3, kMedia, kMedia}})}, latents, &cache);
  VlmCache chosen = cache.select(at::tensor({1, 0, 1}, at::kLong));
  const Tensor out = model.hidden({.ids = rows_of({{4}, {kMedia}, {8}})}, {}, &chosen).squeeze(1);
  EXPECT_CLOSE(out[0], whole({3, kMedia, kMedia, 4}, latents[1]), 1e-5);
  EXPECT_CLOSE(out[1], whole({kMedia, 5, 9, kMedia}, latents[0]), 1e-5);
  EXPECT_CLOSE(out[2], whole({3, kMedia, kMedia, 8}, latents[1]), 1e-5);
  EXPECT_GT(testing::relative_error(whole({3, kMedia, kMedia, 8}, latents[0]), out[2]), 1e-3);
}

// A text that has seen a picture is continued with several second ones.
TEST_F(Cache, OneTextIsContinuedWithManyPictures) {
  const Tensor first = latents[0].slice(0, 0, 1);
  VlmCache cache;
  model.hidden({.ids = rows_of({{kMedia, 5}})}, first.unsqueeze(0), &cache);
  VlmCache parted = cache.select_text(at::tensor({0, 0}, at::kLong));
  const Tensor media =
      at::stack({at::cat({first, latents[0].slice(0, 1)}), at::cat({first, latents[1].slice(0, 1)})});
  const Tensor out = model.hidden({.ids = rows_of({{7, kMedia, 9}, {7, kMedia, 9}})}, media, &parted);
  for (std::int64_t row = 0; row < 2; ++row)
    EXPECT_CLOSE(out[row][2], whole({kMedia, 5, 7, kMedia, 9}, media[row]), 1e-5);
  EXPECT_GT(testing::relative_error(out[0][2], out[1][2]), 1e-3);
}

}  // namespace
}  // namespace morphvlm::cache_test
