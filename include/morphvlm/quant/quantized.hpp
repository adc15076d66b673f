// Frozen weights in 4 or 8 bits, as a property of the type: Quantized<NF4, LoRA<Attn>> (QLoRA, Dettmers et
// al. 2023).
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/kernels/cpu/nf4_levels.hpp"
#include "morphvlm/kernels/cpu/unpack_kernels.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"
#include "morphvlm/kernels/cuda/nf4_cuda.hpp"
#include "morphvlm/kernels/packed_weights.hpp"

namespace morphvlm {

namespace detail {

inline Tensor nf4_levels() { return at::tensor(at::ArrayRef<float>(kNf4Levels.data(), kNf4Levels.size())); }

// Codes (int64) of the levels nearest to `x` in [-1, 1]; ties go up.
inline Tensor nearest_level(const Tensor& x, const Tensor& levels) {
  const Tensor edges = levels.slice(0, 1).add(levels.slice(0, 0, -1)).div(2);
  return at::searchsorted(edges, x.contiguous(), false, true);
}

// Rows of `width` values, the last one filled up with zeros.
inline Tensor in_blocks(const Tensor& flat, std::int64_t width) {
  const auto blocks = (flat.numel() + width - 1) / width;
  Tensor out = at::zeros({blocks * width}, flat.options());
  out.slice(0, 0, flat.numel()).copy_(flat);
  return out.view({blocks, width});
}

inline Tensor row_absmax(const Tensor& rows) { return std::get<0>(rows.abs().max(1)); }

// Each row over its `absmax`; one of zeros, whose absmax is 0, stays as it is.
inline Tensor over_absmax(const Tensor& rows, const Tensor& absmax) {
  return rows.div(absmax.clamp_min(1e-38).unsqueeze(1));
}

inline void expect_pairs(std::int64_t in) {
  expect(in % 2 == 0, "NF4: rows must have an even number of weights, found ", in);
}

}  // namespace detail

/// 4-bit NormalFloat with double quantisation: blocks of 64 weights share a scale, blocks of 256 scales share
/// another. 4.127 bits a weight. bitsandbytes equivalent: `Linear4bit(quant_type="nf4",
/// compress_statistics=True)`, whose dequantised values are these to the last bit.
struct NF4 {
  static constexpr std::string_view name = "NF4";           ///< of the format, for reports
  static constexpr std::int64_t block = detail::kNf4Block,  ///< weights to a scale
      nested_block = detail::kNf4NestedBlock;               ///< scales to a scale of scales

  using Packed = Nf4Packed;  ///< what is stored of a weight

  /// Shapes alone, on the device of `options`.
  static Packed empty(std::int64_t out, std::int64_t in, const TensorOptions& options) {
    detail::expect_pairs(in);
    const auto blocks = (out * in + block - 1) / block;
    const auto bytes = options.dtype(at::kByte), floats = options.dtype(at::kFloat);
    return {.codes = at::empty({out * in / 2}, bytes),
            .absmax = at::empty({blocks}, bytes),
            .nested_absmax = at::empty({(blocks + nested_block - 1) / nested_block}, floats),
            .offset = at::empty({}, floats),
            .out = out,
            .in = in};
  }

  /// Quantises weight [out, in].
  static Packed pack(const Tensor& weight) {
    Packed p{.out = weight.size(0), .in = weight.size(1)};
    detail::expect_pairs(p.in);
    const Tensor rows = detail::in_blocks(weight.detach().to(at::kFloat).flatten(), block);
    const Tensor scale = detail::row_absmax(rows);
    const Tensor levels = detail::nf4_levels().to(weight.device());
    const Tensor codes = detail::nearest_level(detail::over_absmax(rows, scale), levels);
    const Tensor pairs = codes.flatten().slice(0, 0, p.out * p.in).view({-1, 2}).to(at::kByte);
    p.codes = pairs.select(1, 0).mul(16).add(pairs.select(1, 1)).contiguous();
    p.offset = scale.mean();
    const Tensor nested = detail::in_blocks(scale.sub(p.offset), nested_block);
    p.nested_absmax = detail::row_absmax(nested);
    const Tensor dynamic = detail::shared_dynamic_levels(weight.device());
    p.absmax = detail::nearest_level(detail::over_absmax(nested, p.nested_absmax), dynamic)
                   .flatten()
                   .slice(0, 0, scale.numel())
                   .to(at::kByte)
                   .contiguous();
    return p;
  }

  /// The scale of each block, float [blocks].
  static Tensor scales(const Packed& p) {
    const Tensor dynamic = detail::shared_dynamic_levels(p.codes.device());
    const Tensor nested = dynamic.index_select(0, p.absmax.to(at::kInt));
    const Tensor outer = p.nested_absmax.repeat_interleave(nested_block).slice(0, 0, nested.numel());
    return nested.mul(outer).add(p.offset);
  }

  /// The weight that `p` stands for, [out, in] in `dtype`.
  static Tensor unpack(const Packed& p, at::ScalarType dtype) {
    const bool has_kernel = dtype == at::kFloat || dtype == at::kBFloat16;
    if (has_kernel && p.codes.is_cuda() && has_cuda_kernels())
      return detail::nf4_unpack_on_cuda(p, detail::shared_dynamic_levels(p.codes.device()), dtype);
    if (has_kernel && p.codes.is_meta() && detail::computes_like(p.codes, c10::kCUDA))
      return at::empty({p.out, p.in}, p.codes.options().dtype(dtype));
    const Tensor scale = scales(p);
    if (detail::computes_like(p.codes, c10::kCPU)) {
      if (dtype == at::kFloat) return expand<float>(p, scale, dtype);
      if (dtype == at::kBFloat16) return expand<c10::BFloat16>(p, scale, dtype);
    }
    const Tensor levels = detail::nf4_levels().to(p.codes.device());
    // Both weights of a byte are looked up at once.
    const Tensor pairs = at::stack({levels.repeat_interleave(16), levels.repeat({16})}, 1);
    const Tensor values = at::embedding(pairs, p.codes.to(at::kInt)).flatten();
    const Tensor each = scale.repeat_interleave(block).slice(0, 0, values.numel());
    return values.mul(each).to(dtype).view({p.out, p.in});
  }

 private:
  template <class T>
  static Tensor expand(const Packed& p, const Tensor& scale, at::ScalarType dtype) {
    Tensor weight = at::empty({p.out, p.in}, p.codes.options().dtype(dtype));
    if (weight.is_meta()) return weight;
    const auto* const codes = p.codes.const_data_ptr<std::uint8_t>();
    const auto* const scales = scale.const_data_ptr<float>();
    auto* const values = weight.mutable_data_ptr<T>();
    const auto unpack = detail::nf4_unpack<T>();
    const auto whole = p.codes.numel() / (block / 2);
    at::parallel_for(0, whole, 256, [&](std::int64_t first, std::int64_t last) {
      unpack(codes + first * (block / 2), scales + first, last - first, values + first * block);
    });
    if (const auto rest = p.codes.numel() % (block / 2); rest != 0)
      detail::nf4_unpack_pairs(codes + whole * (block / 2), scales[whole], rest, values + whole * block);
    return weight;
  }
};

/// 8-bit integers with one scale a row: weight = codes * absmax / 127.
struct Int8 {
  static constexpr std::string_view name = "Int8";  ///< of the format, for reports

  using Packed = Int8Packed;  ///< what is stored of a weight

  /// Shapes alone, on the device of `options`.
  static Packed empty(std::int64_t out, std::int64_t in, const TensorOptions& options) {
    return {.codes = at::empty({out, in}, options.dtype(at::kChar)),
            .absmax = at::empty({out}, options.dtype(at::kFloat)),
            .out = out,
            .in = in};
  }

  /// Quantises weight [out, in] to the nearest.
  static Packed pack(const Tensor& weight) {
    const Tensor w = weight.detach().to(at::kFloat);
    const Tensor absmax = detail::row_absmax(w);
    return {.codes = detail::over_absmax(w.mul(127), absmax).round().to(at::kChar),
            .absmax = absmax,
            .out = w.size(0),
            .in = w.size(1)};
  }

  /// The weight that `p` stands for, [out, in] in `dtype`.
  static Tensor unpack(const Packed& p, at::ScalarType dtype) {
    const Tensor scale = p.absmax.div(127);
    if (detail::has_avx512() && detail::computes_like(p.codes, c10::kCPU)) {
      if (dtype == at::kFloat) return expand<float>(p, scale, dtype);
      if (dtype == at::kBFloat16) return expand<c10::BFloat16>(p, scale, dtype);
    }
    return p.codes.to(dtype).mul(scale.to(dtype).unsqueeze(1));
  }

 private:
  template <class T>
  static Tensor expand(const Packed& p, [[maybe_unused]] const Tensor& scale, at::ScalarType dtype) {
    Tensor weight = at::empty({p.out, p.in}, p.codes.options().dtype(dtype));
    if (weight.is_meta()) return weight;
#if MORPHVLM_HAS_X86_KERNELS
    const auto* const codes = p.codes.const_data_ptr<std::int8_t>();
    const auto* const scales = scale.const_data_ptr<float>();
    auto* const values = weight.mutable_data_ptr<T>();
    at::parallel_for(0, p.out, 16, [&](std::int64_t first, std::int64_t last) {
      for (auto row = first; row < last; ++row)
        detail::int8_unpack_avx512(codes + row * p.in, static_cast<T>(scales[row]), p.in,
                                   values + row * p.in);
    });
#endif
    return weight;
  }
};

/// A storage format of frozen weights.
template <class F>
concept WeightFormat = requires(const Tensor& weight, const typename F::Packed& packed) {
  { F::pack(weight) } -> std::same_as<typename F::Packed>;
  { F::unpack(packed, at::kFloat) } -> std::convertible_to<Tensor>;
  { F::empty(2, 2, TensorOptions{}) } -> std::same_as<typename F::Packed>;
  { packed.out } -> std::convertible_to<std::int64_t>;
  { packed.in } -> std::convertible_to<std::int64_t>;
  { F::name } -> std::convertible_to<std::string_view>;
};

/// An adapter on top of a weight in format F.
template <WeightFormat F, class Adapter>
struct Over {};

/// All projections of the language model and of the gated blocks in format F, adapted as P says:
/// `VLM<ClipViT, Perceiver, OpenLLaMA, Quantized<NF4, LoRA<Attn>>>`. Embeddings, norms, the vocabulary head,
/// the tower and the resampler stay as they are.
template <WeightFormat F, AdapterPolicy P = NoAdapter>
struct Quantized {
  using Format = F;                   ///< of the frozen weights: NF4, Int8
  using Config = typename P::Config;  ///< of the adapters; the format has none
  /// The adapter of P at the site, over a weight in format F.
  template <AdapterSite Site>
  using At = Over<F, AdapterAt<P, Site>>;
};

}  // namespace morphvlm
