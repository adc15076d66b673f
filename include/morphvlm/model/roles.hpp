// What each part of a vision-language model has to offer. A part is an architecture tag that holds a Config
// (sizes) and a Module (the aggregate of parameters).
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <vector>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/gemv_product.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/self_attention.hpp"

namespace morphvlm {

/// Images to tokens: pixels [n, 3, height, width] -> [n, tokens, width()].
template <class V>
concept VisionTower = requires(const typename V::Module& module, const typename V::Config& config, Tensor x,
                               Init init) {
  { V::Module::init(config, init) } -> std::same_as<typename V::Module>;
  { module(x) } -> std::convertible_to<Tensor>;
  { V::feature_dim(config) } -> std::convertible_to<std::int64_t>;
};

/// Any number of vision tokens to a fixed number of latents: [b, media, tokens, d] -> [b, media, latents, d].
/// `config.latents` is that number.
template <class R>
concept Resampler = requires(const typename R::Module& module, const typename R::Config& config, Tensor x,
                             Init init, std::int64_t dim) {
  { R::Module::init(dim, config, init) } -> std::same_as<typename R::Module>;
  { module(x) } -> std::convertible_to<Tensor>;
  { config.latents } -> std::convertible_to<std::int64_t>;
};

/// A decoder that calls a hook before each layer and otherwise knows nothing of images. `layers_path` is the
/// name of its module's list of layers.
template <class L>
concept LanguageModel = requires(const typename L::template Module<NoAdapter>& module,
                                 typename L::template Module<NoAdapter>& mutable_module,
                                 const typename L::Config& config, Tensor x, Init init, KvCache* cache,
                                 DecoderContext context, Tensor (*hook)(std::int64_t, const Tensor&)) {
  {L::template Module<NoAdapter>::init(config, init, NoAdapter::Config{})};
  { L::hidden_dim(config) } -> std::convertible_to<std::int64_t>;
  { L::layer_count(config) } -> std::convertible_to<std::int64_t>;
  { L::layers_path } -> std::convertible_to<std::string_view>;
  { module.context(x, x, cache) } -> std::same_as<DecoderContext>;
  { module.embed(x, context) } -> std::convertible_to<Tensor>;
  { module.layers(x, context, cache, hook, std::int64_t{}, std::int64_t{}) } -> std::convertible_to<Tensor>;
  { module.normed(x) } -> std::convertible_to<Tensor>;
  { module.head() } -> std::convertible_to<const Tensor&>;
  { module.logits(x) } -> std::convertible_to<Tensor>;
  { module.logits(x, x) } -> std::convertible_to<Tensor>;
  { mutable_module.token_tables() } -> std::convertible_to<std::vector<Tensor*>>;
  { config.vocab_size } -> std::convertible_to<std::int64_t>;
  { module.config } -> std::convertible_to<typename L::Config>;
};

/// Runs a decoder's layers [first, last) on x; before each, x = before_layer(i, x). The cache, if any, is
/// extended.
template <class Layer, class Hook>
Tensor run_layers(const std::vector<Layer>& layers, Tensor x, const DecoderContext& context, KvCache* cache,
                  Hook&& before_layer, std::int64_t first, std::int64_t last) {
  if (cache && cache->layers.empty()) cache->layers.resize(layers.size());
  for (auto i = first; i < last; ++i) {
    const auto index = static_cast<std::size_t>(i);
    x = layers[index](before_layer(i, x), context, cache ? &cache->layers[index] : nullptr);
  }
  return x;
}

/// Logits of normed activations x [..., dim] by the rows of `head` [vocabulary, dim], or by those of `tokens`
/// (int64 [n]) alone. Error, on a CPU: a token that the head has no row for.
inline Tensor head_logits(const Tensor& x, const Tensor& head, const Tensor& tokens) {
  if (tokens.defined()) detail::expect_rows(tokens, head.size(0), "logits");
  return product(x, (tokens.defined() ? head.index_select(0, tokens) : head).to(x.scalar_type()));
}

/// The hook of a plain language model: the layer's input goes in as it is.
struct NoHook {
  /// x as it is.
  const Tensor& operator()(std::int64_t, const Tensor& x) const { return x; }
};

}  // namespace morphvlm
