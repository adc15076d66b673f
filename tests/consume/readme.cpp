// The README's program: composes a model, trains its adapters, and finds that the loss has fallen.
#include <ATen/ops/zeros.h>

#include <iostream>

#include <morphvlm/morphvlm.hpp>
using namespace morphvlm;

using Model = VLM<ClipViT, Perceiver, OpenLLaMA, LoRA<Attn>>;

std::vector<TrainStep> adapt(Model& model, const Tensor& pixels, const Batch& batch) {
  set_trainable_parts(model, {.adapters = true});
  const Tensor latents = model.resample(model.encode_vision(pixels));
  return train(model, TrainConfig{.steps = 100, .lr = 1e-3, .schedule = Cosine{.warmup = 10}},
               [&](const Model& m, std::int64_t) {
                 return next_token_loss(m, m.hidden(batch.text, latents), batch.labels);
               });
}

int main() {  // NOLINT(bugprone-exception-escape): an error ends it, with its text
  Model::Config config{.vision = {.image_size = 16,
                                  .patch_size = 8,
                                  .hidden_size = 24,
                                  .num_hidden_layers = 1,
                                  .num_attention_heads = 2,
                                  .intermediate_size = 48},
                       .perceiver = {.depth = 1, .heads = 2, .head_dim = 8, .latents = 4, .ff_mult = 2},
                       .language = {.vocab_size = 40,
                                    .hidden_size = 32,
                                    .intermediate_size = 64,
                                    .num_hidden_layers = 2,
                                    .num_attention_heads = 4},
                       .cross_attention = {.every = 2, .heads = 2, .head_dim = 8, .gate_value = 0.5},
                       .media_token_id = 39};
  Model model = Model::init(config, {at::kFloat, make_generator(1)});
  const std::vector<VqaTokens> rows{{.prefix = {5, 6, 7}, .rest = {39, 8}, .answer = {11, 2}},
                                    {.prefix = {5, 9}, .rest = {39, 8}, .answer = {12, 2}}};
  const auto history = adapt(model, at::zeros({2, 1, 3, 16, 16}), collate(rows, 0));
  std::cout << trainable_count(model) << " parameters trained, loss " << history.front().loss << " -> "
            << history.back().loss << '\n';
  return history.back().loss < history.front().loss ? 0 : 1;
}
