// What every module's `init` needs besides its config.
#pragma once

#include <ATen/core/Generator.h>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Where and in which dtype parameters are made, and the generator their values come from. On the meta device
/// a module gets shapes without memory, and the generator is not used.
struct Init {
  TensorOptions options = at::kFloat;  ///< dtype and device; by default fp32 on the CPU
  at::Generator generator = {};        ///< undefined: the one that LibTorch draws from by default
  /// Nothing but adapters will be trained: no other part gets masters, which would for a moment be the
  /// largest thing in memory.
  bool adapters_alone = false;
  /// Draws adapters alone, so that all else has the same values wherever they sit; undefined: `generator`.
  at::Generator adapters = {};

  /// What adapters' values come from.
  const at::Generator& adapter_generator() const { return adapters.defined() ? adapters : generator; }
  /// Options of parameters that are trained: 16-bit bases keep fp32 masters, others their own dtype.
  TensorOptions masters() const {
    const auto dtype = c10::typeMetaToScalarType(options.dtype());
    return at::isReducedFloatingType(dtype) ? options.dtype(at::kFloat) : options;
  }
  /// The same device and generator, but trained parameters' dtype, for parts that may be trained whole.
  Init trained() const { return adapters_alone ? *this : Init{masters(), generator, false, adapters}; }
};

}  // namespace morphvlm
