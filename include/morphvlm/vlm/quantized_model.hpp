// A whole model in another storage format.
#pragma once

#include "morphvlm/core/init.hpp"
#include "morphvlm/nn/quantized_linear.hpp"

namespace morphvlm {

/// `model` as a VLM of type To, whose policy is Quantized: projections are stored in To's format, everything
/// else is shared.
template <class To, class From>
To quantized(const From& model) {
  const auto& c = model.config;
  To to = To::init({.vision = c.vision,
                    .perceiver = c.perceiver,
                    .language = c.language,
                    .cross_attention = c.cross_attention,
                    .adapter = c.adapter,
                    .media_token_id = c.media_token_id,
                    .eoc_token_id = c.eoc_token_id},
                   {TensorOptions(at::kMeta)});
  quantize_into(to, model);
  return to;
}

}  // namespace morphvlm
