// A whole model in another storage format.
#pragma once

#include "morphvlm/core/init.hpp"
#include "morphvlm/nn/quantized_linear.hpp"

namespace morphvlm {

/// `model` as a VLM of type To on a device, whose policy is Quantized: projections are stored in To's format,
/// everything else is shared if it is on the device already.
template <class To, class From>
To quantized(const From& model, c10::Device device) {
  const auto& c = model.config;
  To to = To::init({.vision = c.vision,
                    .perceiver = c.perceiver,
                    .language = c.language,
                    .cross_attention = c.cross_attention,
                    .adapter = c.adapter,
                    .media_token_id = c.media_token_id,
                    .eoc_token_id = c.eoc_token_id},
                   {TensorOptions(at::kMeta)});
  quantize_into(to, model, device);
  return to;
}

/// The same where `model` is.
template <class To, class From>
To quantized(const From& model) {
  return quantized<To>(model, device_of(model));
}

}  // namespace morphvlm
