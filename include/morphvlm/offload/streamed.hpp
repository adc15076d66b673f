// A frozen base that stays in the host's memory, as a property of the type: Streamed<LoRA<Attn>> (as ZeRO's
// offloaded parameters, Ren et al. 2021, for weights that never change).
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/core/reflect.hpp"
#include "morphvlm/kernels/cuda/cuda_graph.hpp"
#include "morphvlm/offload/weight_stream.hpp"
#include "morphvlm/quant/quantized.hpp"

namespace morphvlm {

/// Weights as they are.
struct Dense {
  static constexpr std::string_view name = "Dense";  ///< of the format, for reports

  /// What is stored of a weight.
  struct Packed {
    Tensor values = {};    ///< [out, in]
    std::int64_t out = 0,  ///< rows of the weight
        in = 0;            ///< columns of the weight
  };

  /// Shapes alone, on the device and in the dtype of `options`.
  static Packed empty(std::int64_t out, std::int64_t in, const TensorOptions& options) {
    return {.values = at::empty({out, in}, options), .out = out, .in = in};
  }

  /// The weight [out, in] itself.
  static Packed pack(const Tensor& weight) {
    return {.values = weight.detach(), .out = weight.size(0), .in = weight.size(1)};
  }

  /// The weight [out, in], in `dtype`.
  static Tensor unpack(const Packed& p, at::ScalarType dtype) { return p.values.to(dtype); }
};

namespace detail {

// The tensors of an aggregate one behind the other in host memory. No aggregate itself: walks over a model
// pass it by, so that moving a model leaves it where it is.
template <class Parts>
class HostParts : public HostBytes {
 public:
  // Parts on the meta device leave their shapes alone.
  explicit HostParts(const Parts& parts) : HostParts(parts, places_of(parts)) {}

  // The parts, as views of a copy uint8 [size] of the memory.
  Parts in(const Tensor& copy) const {
    Parts parts = shape_;
    auto place = places_.begin();
    for_each_tensor(parts, [&](Tensor& t) {
      const Tensor bytes = copy.slice(0, place->offset, place->offset + place->bytes);
      t = bytes.view(place->dtype).view(place->sizes);
      ++place;
    });
    return parts;
  }

 private:
  struct Place {
    std::int64_t offset, bytes;
    at::ScalarType dtype;
    std::vector<std::int64_t> sizes;
  };

  HostParts(const Parts& parts, std::vector<Place> places)
      : HostBytes(places.empty() ? 0 : places.back().offset + places.back().bytes, !is_meta(parts)),
        places_(std::move(places)),
        shape_(parts) {
    for_each_tensor(shape_, [](Tensor& t) { t.reset(); });
    if (!memory().defined()) return;
    Parts here = in(memory());
    std::vector<Tensor> from;
    for_each_tensor(parts, [&](const Tensor& t) { from.push_back(t); });
    auto next = from.begin();
    for_each_tensor(here, [&](Tensor& t) { t.copy_(*next++); });
  }

  template <class P, class F>
  static void for_each_tensor(P& parts, F&& f) {
    for_each_field(parts, [&](std::string_view, auto& field) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(field)>, Tensor>) f(field);
    });
  }

  static bool is_meta(const Parts& parts) {
    bool meta = false;
    for_each_tensor(parts, [&](const Tensor& t) { meta = meta || t.is_meta(); });
    return meta;
  }

  static std::vector<Place> places_of(const Parts& parts) {
    constexpr std::int64_t kApart = 256;  // as LibTorch's own tensors are on CUDA, for kernels' wide loads
    std::vector<Place> places;
    std::int64_t end = 0;
    for_each_tensor(parts, [&](const Tensor& t) {
      const auto offset = (end + kApart - 1) / kApart * kApart, bytes = static_cast<std::int64_t>(t.nbytes());
      places.push_back({offset, bytes, t.scalar_type(), t.sizes().vec()});
      end = offset + bytes;
    });
    return places;
  }

  std::vector<Place> places_;
  Parts shape_;
};

}  // namespace detail

/// Weights in format F that stay in the host's memory, wherever the model is. A product fetches its weight
/// for the time it takes: through the WeightStream, if there is one. On a CPU without one they are read where
/// they are.
template <WeightFormat F>
struct HostOffloaded {
  static constexpr std::string_view name = "HostOffloaded";  ///< of the format, for reports
  using Inner = F;                                           ///< what the weights are kept in

  /// What is stored of a weight.
  struct Packed {
    Tensor place = {};  ///< uint8 [0], on the device that the weight is used on; moves with the model
    std::shared_ptr<const detail::HostParts<typename F::Packed>> host = {};  ///< its bytes
    std::int64_t out = 0,                                                    ///< rows of the weight
        in = 0;                                                              ///< columns of the weight
  };

  /// Sizes alone, on the meta device.
  static Packed empty(std::int64_t out, std::int64_t in, const TensorOptions& options) {
    return keep(F::empty(out, in, options), options.device());
  }

  /// Keeps weight [out, in] on the host, to be used on the device it is on now.
  static Packed pack(const Tensor& weight) { return keep(F::pack(weight), weight.device()); }

  /// The weight in format F, on the device where it is used.
  static typename F::Packed fetch(const Packed& p) {
    const auto device = p.place.device();
    auto* const stream = WeightStream::current();
    if (stream != nullptr) return p.host->in(stream->fetch(p.host, device));
    if (device.is_cpu()) return p.host->in(p.host->memory());
    expect(!is_recording(device), "a weight on the host: recording a CUDA graph needs a WeightStream");
    const Tensor copy = at::empty({p.host->size()}, p.place.options());
    if (!device.is_meta()) copy.copy_(p.host->memory());
    return p.host->in(copy);
  }

  /// The weight [out, in], in `dtype`, on the device where it is used.
  static Tensor unpack(const Packed& p, at::ScalarType dtype) { return F::unpack(fetch(p), dtype); }

 private:
  static Packed keep(const typename F::Packed& parts, c10::Device device) {
    return {.place = at::empty({0}, TensorOptions(at::kByte).device(device)),
            .host = std::make_shared<const detail::HostParts<typename F::Packed>>(parts),
            .out = parts.out,
            .in = parts.in};
  }
};

/// All projections of the language model and of the gated blocks kept in the host's memory in format F,
/// adapted as P says: `VLM<ClipViT, Perceiver, OpenLLaMA, Streamed<LoRA<Attn>>>`, or `Streamed<LoRA<Attn>,
/// NF4>`, which has a quarter to copy. `quantized` fills it from a model with whole weights.
template <AdapterPolicy P = NoAdapter, WeightFormat F = Dense>
using Streamed = Quantized<HostOffloaded<F>, P>;

/// Bytes of a model's weights that stay in the host's memory; those of other models' types are 0.
template <class Model>
std::int64_t host_bytes(const Model& model) {
  std::int64_t bytes = 0;
  visit_modules(model, [&](const std::string&, const auto& node) {
    if constexpr (requires { node.weight.host->size(); }) bytes += node.weight.host->size();
  });
  return bytes;
}

}  // namespace morphvlm
