// A module is a plain aggregate: its fields are its parameters and sub-modules, and their names, joined by
// dots, are the checkpoint's keys. `visit` is the one mechanism behind state dicts, freezing, counting,
// moving, saving and optimising.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/reflect.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

inline std::string join_path(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + '.' + std::string(name);
}

// Whether a T can hold a tensor. Configs cannot: leaving them out keeps the walk short, to compile and to
// run.
template <class T>
constexpr bool holds_tensor() {
  if constexpr (std::is_same_v<T, Tensor>) {
    return true;
  } else if constexpr (is_vector<T> || is_optional<T>) {
    return holds_tensor<typename T::value_type>();
  } else if constexpr (Reflectable<T>) {
    return any_field<T>([]<class Field>(std::type_identity<Field>) { return holds_tensor<Field>(); });
  } else {
    return false;
  }
}

// f(path, node) for `node` and everything below it that holds tensors, parents first.
template <class T, class F>
void walk(T& node, const std::string& path, F& f) {
  using Node = std::remove_const_t<T>;
  if constexpr (!holds_tensor<Node>()) {
    return;
  } else if constexpr (is_vector<Node>) {
    for (std::size_t i = 0; i < node.size(); ++i) walk(node[i], join_path(path, std::to_string(i)), f);
  } else if constexpr (is_optional<Node>) {
    if (node) walk(*node, path, f);
  } else {
    f(path, node);
    if constexpr (!std::is_same_v<Node, Tensor>) {
      for_each_field(node, [&](std::string_view name, auto& field) {
        if constexpr (holds_tensor<std::remove_cvref_t<decltype(field)>>()) {
          walk(field, join_path(path, name), f);
        }
      });
    }
  }
}

// What walks call is a class that no module's type is part of, so that all models of a program share the
// walks of the modules they share: walks are what `visit` costs to compile.
struct CollectTensors {
  std::vector<std::pair<std::string, Tensor*>> found = {};

  template <class Node>
  void operator()(const std::string& name, Node& node) {
    if constexpr (std::is_same_v<Node, Tensor>) {
      if (node.defined()) found.emplace_back(name, &node);
    }
  }
};

// All defined tensors by name.
template <class M>
std::vector<std::pair<std::string, Tensor*>> named_tensors(M& module) {
  CollectTensors collect;
  walk(module, "", collect);
  return std::move(collect.found);
}

template <class F>
struct CallWithModules {
  F& f;

  template <class Node>
  void operator()(const std::string& name, Node& node) {
    if constexpr (!std::is_same_v<std::remove_const_t<Node>, Tensor>) f(name, node);
  }
};

}  // namespace detail

/// Calls f(const std::string& name, Tensor&) for every defined tensor of a module, in declaration order.
/// The name is the state-dict key: field names joined by dots, vector elements by index. (PyTorch:
/// `named_parameters`.) An undefined tensor stands for a parameter the module does not have, e.g. no bias.
template <class M, class F>
void visit(M& module, F&& f) {
  for (auto& [name, tensor] : detail::named_tensors(module)) f(std::as_const(name), *tensor);
}

/// The same for a module that is not to be changed: f(const std::string& name, const Tensor&).
template <class M, class F>
void visit(const M& module, F&& f) {
  // The walk only takes addresses, and f gets its tensors as const.
  for (auto& [name, tensor] : detail::named_tensors(const_cast<M&>(module))) {
    f(std::as_const(name), std::as_const(*tensor));
  }
}

/// Calls f(const std::string& name, auto& node) for the module and every aggregate with tensors below it,
/// parents first. (PyTorch: `named_modules`.)
template <class M, class F>
void visit_modules(M& module, F&& f) {
  detail::CallWithModules<std::remove_reference_t<F>> call{f};
  detail::walk(module, "", call);
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters, dots included.
inline bool matches(std::string_view name, std::string_view pattern) {
  std::size_t n = 0, p = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// Switches gradients of all parameters whose name matches `pattern`; returns how many tensors matched.
template <class M>
std::int64_t set_trainable(M& module, std::string_view pattern, bool trainable) {
  std::int64_t count = 0;
  visit(module, [&](const std::string& name, Tensor& t) {
    if (!matches(name, pattern)) return;
    expect(!trainable || t.is_floating_point(), name, ": ", describe(t), " cannot be trained");
    t.set_requires_grad(trainable);
    ++count;
  });
  return count;
}

/// Stops training of the parameters whose name matches `pattern` (default: all).
template <class M>
std::int64_t freeze(M& module, std::string_view pattern = "*") {
  return set_trainable(module, pattern, false);
}

/// Starts training of the parameters whose name matches `pattern`.
template <class M>
std::int64_t unfreeze(M& module, std::string_view pattern) {
  return set_trainable(module, pattern, true);
}

/// Number of scalars in all parameters whose name matches `pattern`. Exact on the meta device too, where a
/// module has shapes but no memory.
template <class M>
std::int64_t parameter_count(const M& module, std::string_view pattern = "*") {
  std::int64_t count = 0;
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (matches(name, pattern)) count += t.numel();
  });
  return count;
}

/// Number of scalars that receive gradients.
template <class M>
std::int64_t trainable_count(const M& module) {
  std::int64_t count = 0;
  visit(module, [&](const std::string&, const Tensor& t) { count += t.requires_grad() ? t.numel() : 0; });
  return count;
}

/// Where the module's parameters are; of one without any, the CPU.
template <class M>
c10::Device device_of(const M& module) {
  c10::Device device = c10::kCPU;
  visit(module, [&](const std::string&, const Tensor& t) {
    if (t.defined()) device = t.device();
  });
  return device;
}

/// Whether `name` is a part of what a quantised weight is stored as; its dtype belongs to the storage format.
inline bool is_packed_part(std::string_view name) {
  return name.starts_with("weight.") || matches(name, "*.weight.*");
}

namespace detail {
// Whether a parameter stays in its dtype whatever a module is converted to.
inline bool keeps_dtype(const std::string& name, const Tensor& t) {
  return !t.is_floating_point() || is_packed_part(name);
}
}  // namespace detail

/// Moves and/or converts the parameters whose name matches `pattern`, keeping which ones are trainable.
/// Integer tensors and parts of quantised weights are moved and not converted.
template <class M>
void convert(M& module, const TensorOptions& options, std::string_view pattern = "*") {
  visit(module, [&](const std::string& name, Tensor& t) {
    if (!matches(name, pattern)) return;
    const bool trainable = t.requires_grad();
    const auto dtype = detail::keeps_dtype(name, t) || !options.has_dtype()
                           ? t.scalar_type()
                           : c10::typeMetaToScalarType(options.dtype());
    t = t.detach().to(options.dtype(dtype)).set_requires_grad(trainable);
  });
}

}  // namespace morphvlm
