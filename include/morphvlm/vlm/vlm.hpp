// A vision-language model as a type: a tower, a resampler, a language model and an adapter policy.
#pragma once

#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/pixel_input.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/vlm/run_recomputed.hpp"

namespace morphvlm {

/// Text to be read by a VLM.
struct TextInput {
  Tensor ids = {};             ///< int64 [batch, time]
  Tensor attention_mask = {};  ///< [batch, cached + time], 1 = token, 0 = padding; undefined: all tokens
  Tensor ungated_hidden = {};  ///< `VLM::ungated_hidden` of these ids, if it is known already; else undefined
  /// Leaves the gated blocks out whole, feed-forward and all: how Multimodal-GPT reads batches without
  /// images. OpenFlamingo's gated feed-forward applies to text without an image too, so this is a choice.
  bool without_gated_blocks = false;

  /// The same on a device.
  TextInput to(c10::Device device) const {
    const auto moved = [&](const Tensor& t) { return t.defined() ? t.to(device) : t; };
    return {moved(ids), moved(attention_mask), moved(ungated_hidden), without_gated_blocks};
  }
};

/// What a VLM remembers between calls of `hidden`: the text's keys and values, the media's, and how many
/// media each text has seen.
struct VlmCache {
  KvCache text = {};                       ///< of the language model's own attention
  std::vector<MediaKeyValues> media = {};  ///< one per gated block
  Tensor media_seen = {};                  ///< int64 [batch, 1]
  bool without_gated_blocks = false;       ///< what was read so, is continued so (TextInput)

  /// The text's part of the given batch rows (int64 [n], repeats allowed): one text continued with many
  /// images.
  VlmCache select_text(const Tensor& rows) const {
    return {.text = text.select(rows),
            .media_seen = media_seen.defined() ? media_seen.index_select(0, rows) : Tensor{},
            .without_gated_blocks = without_gated_blocks};
  }

  /// The given batch rows of all of it: one state continued in several ways.
  VlmCache select(const Tensor& rows) const {
    VlmCache out = select_text(rows);
    for (const auto& [k, v] : media) out.media.push_back({k.index_select(0, rows), v.index_select(0, rows)});
    return out;
  }

  /// Beams of the same images change places; `same` as KvCache::reorder has it.
  void reorder_text(const Tensor& rows, std::int64_t same = 0) {
    text.reorder(rows, same);
    if (media_seen.defined()) media_seen = media_seen.index_select(0, rows);
  }
};

/// The model of Flamingo (Alayrac et al. 2022) with exchangeable parts. open_flamingo equivalent: `Flamingo`.
/// Frozen where nothing is said; see `set_trainable_parts`.
template <VisionTower V, Resampler R, LanguageModel L, AdapterPolicy P = NoAdapter>
struct VLM {
  /// The tower's tag.
  using Vision = V;
  /// The resampler's tag.
  using Resampling = R;
  /// The language model's tag.
  using Language = L;
  /// Where adapters sit.
  using Policy = P;

  /// Sizes of all parts and the two token ids that join text and images.
  struct Config {
    typename V::Config vision = {};                  ///< of the tower
    typename R::Config perceiver = {};               ///< of the resampler
    typename L::Config language = {};                ///< of the language model
    GatedCrossAttentionConfig cross_attention = {};  ///< of the gated blocks
    typename P::Config adapter = {};                 ///< of the adapters
    std::int64_t media_token_id = -1;                ///< `<image>`
    std::int64_t eoc_token_id = -1;                  ///< `<|endofchunk|>`, which ends an answer
  };

  typename V::Module vision_encoder = {};  ///< pictures to vision tokens
  typename R::Module perceiver = {};       ///< vision tokens to latents
  std::vector<GatedCrossAttention<P>> gated_cross_attn =
      {};  ///< in order; block i stands before decoder layer (i + 1) * every - 1
  typename L::template Module<P> lang_encoder = {};  ///< the decoder
  Config config = {};                                ///< sizes of all parts
  Recompute recompute = {};                          ///< of training; changes no result

  /// pixels [batch, media, 3, S, S] -> vision tokens [batch, media, tokens, d].
  Tensor encode_vision(const Tensor& pixels) const {
    detail::expect_scaled_pixels(pixels, "VLM");
    expect(pixels.dim() == 5, "VLM: expected pixels [batch, media, 3, S, S], found ",
           to_string(pixels.sizes()));
    return vision_encoder(pixels.flatten(0, 1)).unflatten(0, {pixels.size(0), pixels.size(1)});
  }

  /// Vision tokens [batch, media, tokens, d] -> latents [batch, media, l, d].
  Tensor resample(const Tensor& features) const { return perceiver(features); }

  /// The decoder layer that the first gated block precedes; everything below it depends on text alone.
  std::int64_t first_gated_layer() const {
    return gated_cross_attn.empty() ? L::layer_count(config.language) : config.cross_attention.every - 1;
  }

  /// Activations [batch, time, dim] entering the first gated layer: the part of a forward pass that no image
  /// and no gated block changes, so it can be kept per text while the layers below are frozen. With a cache,
  /// those layers' keys and values are kept in it, so that decoding can go on from there.
  Tensor ungated_hidden(const TextInput& text, VlmCache* cache = nullptr) const {
    const DecoderContext context = lang_encoder.context(text.ids, text.attention_mask, nullptr);
    return lang_encoder.layers(lang_encoder.embed(text.ids, context), context, cache ? &cache->text : nullptr,
                               NoHook{}, 0, first_gated_layer());
  }

  /// The language model's last layer's output [batch, time, dim]. `latents` [batch, media, l, d] belong to
  /// the media tokens of the whole text in order; undefined means none yet, or those already in the cache.
  /// With a cache, the text continues what it holds. With `text.ungated_hidden`, layers below the first gated
  /// one are skipped, and their part of the cache is as `below` left it.
  Tensor hidden(const TextInput& text, const Tensor& latents, VlmCache* cache = nullptr) const {
    KvCache* text_cache = cache ? &cache->text : nullptr;
    const bool skip = text.ungated_hidden.defined();
    DecoderContext context = lang_encoder.context(text.ids, text.attention_mask, text_cache);
    context.recompute_feed_forward = recompute.feed_forward;
    const Tensor x = skip ? text.ungated_hidden : lang_encoder.embed(text.ids, context);
    VlmCache local;
    VlmCache& state = cache ? *cache : local;
    state.without_gated_blocks |= text.without_gated_blocks;
    const MediaMask mask = read_media(text.ids, latents, state);
    // By value: segments that are recomputed outlive this call.
    const auto run = [this, context, text_cache, mask, without = state.without_gated_blocks](
                         const Tensor& h, const std::vector<MediaKeyValues>& media, std::int64_t first,
                         std::int64_t last) {
      const auto see = [&](std::int64_t layer, const Tensor& input) {
        return gated(layer, input, media, mask, without);
      };
      return lang_encoder.layers(h, context, text_cache, see, first, last);
    };
    const LayerRange all{skip ? first_gated_layer() : 0, L::layer_count(config.language)};
    if (cache || !at::GradMode::is_enabled() || recompute.every <= 0)
      return run(x, state.media, all.first, all.last);
    return run_recomputed(*this, x, state.media, all, run);
  }

  /// What the gated block before decoder layer `layer`, if there is one, makes of the layer's input.
  Tensor gated(std::int64_t layer, const Tensor& x, const std::vector<MediaKeyValues>& media,
               const MediaMask& mask, bool without) const {
    if (without || (layer + 1) % config.cross_attention.every != 0) return x;
    const auto block = static_cast<std::size_t>((layer + 1) / config.cross_attention.every - 1);
    if (media.empty()) return gated_cross_attn[block].feed_forward(x, recompute.feed_forward);
    return gated_cross_attn[block](x, media[block], mask, recompute.feed_forward);
  }

  /// The last layer's output [..., dim] -> next-token logits [..., vocabulary], or [..., n] for the n tokens
  /// of `tokens` (int64) alone.
  Tensor logits(const Tensor& hidden, const Tensor& tokens = {}) const {
    return lang_encoder.logits(hidden, tokens);
  }

  /// pixels [batch, media, 3, S, S], text -> logits [batch, time, vocabulary]; the whole model at once.
  Tensor operator()(const Tensor& pixels, const TextInput& text) const {
    return logits(hidden(text, resample(encode_vision(pixels))));
  }

  /// Random parameters. 16-bit `options` hold the tower and the language model; what is meant to be trained
  /// (perceiver, gated blocks, adapters) is then kept in fp32.
  static VLM init(const Config& c, const Init& init) {
    expect(c.cross_attention.every > 0, "cross_attention.every must be positive, found ",
           c.cross_attention.every);
    VLM m{.vision_encoder = V::Module::init(c.vision, init), .config = c};
    m.init_resampler(init.trained());
    m.lang_encoder = L::template Module<P>::init(c.language, init, c.adapter);
    m.init_gated_blocks(init.trained());
    return m;
  }

  /// A fresh resampler, for a tower that none was trained for yet.
  void init_resampler(const Init& init) {
    perceiver = R::Module::init(V::feature_dim(config.vision), config.perceiver, init);
  }

  /// Fresh gated blocks, for a language model that none were trained for yet.
  void init_gated_blocks(const Init& init) {
    const auto dim = L::hidden_dim(config.language), media_dim = V::feature_dim(config.vision);
    gated_cross_attn.clear();
    for (auto n = L::layer_count(config.language) / config.cross_attention.every; n > 0; --n) {
      gated_cross_attn.push_back(
          GatedCrossAttention<P>::init(dim, media_dim, config.cross_attention, init, config.adapter));
    }
  }

  /// Takes in new media, counts media tokens, and says which media each new token sees.
  MediaMask read_media(const Tensor& ids, const Tensor& latents, VlmCache& state) const {
    if (latents.defined()) {
      state.media.clear();
      const Tensor flat = latents.flatten(1, 2);
      for (const auto& block : gated_cross_attn) state.media.push_back(block.attn.key_values(flat));
    }
    Tensor text_time = ids.eq(config.media_token_id).cumsum(-1);
    if (state.media_seen.defined()) text_time = text_time.add(state.media_seen);
    state.media_seen = text_time.slice(1, text_time.size(1) - 1);
    if (state.media.empty()) return {};
    const auto per_medium = config.perceiver.latents;
    const Tensor& keys = state.media.front().k;
    MediaMask mask = media_mask(text_time, keys.size(2) / per_medium, per_medium);
    mask.attend = score_bias(mask.attend, keys);
    return mask;
  }
};

}  // namespace morphvlm
