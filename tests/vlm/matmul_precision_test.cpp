// Products of fp32 in fewer bits change a model's loss and gradients by little.
#include "morphvlm/kernels/cpu/matmul_precision.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/kernels/cpu/amx_kernels.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::matmul_precision_test {
namespace {

using Model = testing::TinyVlm<LoRA<Attn>>;

// As many rows and columns as these products take.
Model::Config config() {
  auto c = testing::tiny_config<Model>();
  c.vision.image_size = 32;
  c.vision.hidden_size = c.language.hidden_size = 64;
  c.vision.intermediate_size = c.language.intermediate_size = 160;
  c.vision.num_hidden_layers = 6;
  c.cross_attention.heads = c.perceiver.heads = 4;
  return c;
}

// A step's loss, and its gradients by name.
std::pair<Tensor, StateDict> step(Model& model, const std::string& precision) {
  constexpr std::int64_t kBatch = 8, kTokens = 16;
  set_float32_matmul_precision(precision);
  visit(model, [](const std::string&, Tensor& t) { t.mutable_grad().reset(); });
  const Tensor pixels = at::empty({kBatch, 1, 3, 32, 32}, at::kFloat).normal_(0, 1, make_generator(3));
  Tensor ids = at::arange(kBatch * kTokens, at::kLong).remainder(41).view({kBatch, kTokens});
  ids.select(1, 2).fill_(testing::kTinyMedia);
  const Tensor hidden = model.hidden({.ids = ids}, model.resample(model.encode_vision(pixels)));
  const Tensor loss = hidden.pow(2).mean();
  backward(loss);
  StateDict gradients;
  visit(model, [&](const std::string& name, const Tensor& t) {
    if (t.grad().defined()) gradients.emplace_back(name, t.grad().clone());
  });
  set_float32_matmul_precision("highest");
  return {loss.detach(), gradients};
}

TEST(MatmulPrecision, OfSixteenBitsKeepsLossAndGradients) {
  Model model = testing::tiny_model<Model>(7, config());
  testing::wake_adapters(model, 5);
  set_trainable_parts(model, {});
  const auto [loss, gradients] = step(model, "highest");
  const auto [again, same] = step(model, "highest");
  const auto [near, near_gradients] = step(model, "high");
  EXPECT_TRUE(again.equal(loss));
  EXPECT_CLOSE(near, loss, 1e-5);
  ASSERT_GT(gradients.size(), 0u);
  ASSERT_EQ(near_gradients.size(), gradients.size());
  bool is_other = false;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    EXPECT_LE(testing::relative_error(near_gradients[i].second, gradients[i].second), 5e-5)
        << gradients[i].first;
    is_other = is_other || !near_gradients[i].second.equal(gradients[i].second);
  }
  // Processors without these products go on with fp32's.
  EXPECT_EQ(is_other, detail::has_amx());
}

}  // namespace
}  // namespace morphvlm::matmul_precision_test
