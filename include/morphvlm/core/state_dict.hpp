// A module's tensors by name, and loading them back strictly.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/module.hpp"

namespace morphvlm {

/// Tensors by key, in order. The same container that the file readers return and the writers take.
using StateDict = std::vector<std::pair<std::string, Tensor>>;

/// Handles (not copies) of all parameters whose name matches `pattern`, detached from autograd.
template <class M>
StateDict state_dict(const M& module, std::string_view pattern = "*") {
  StateDict dict;
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (matches(name, pattern)) dict.emplace_back(name, t.detach());
  });
  return dict;
}

/// The entries of `dict` that receive gradients in `module`: what a run has to save.
template <class M>
StateDict trainable_state(const M& module) {
  StateDict dict;
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (t.requires_grad()) dict.emplace_back(name, t.detach());
  });
  return dict;
}

/// What a loader found wrong; every problem of a file in one message.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the module, not in the dict
  std::vector<std::string> unexpected;  ///< in the dict, not in the module
  std::vector<std::string> mismatched;  ///< "key: expected float32 [2, 3], found float32 [3, 2]"

  /// Nothing to complain about.
  bool clean() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

namespace detail {

inline void append_list(std::string& text, const char* title, const std::vector<std::string>& items) {
  if (items.empty()) return;
  text += "\n  " + std::string(title) + " (" + std::to_string(items.size()) + "):";
  for (const auto& item : items) text += "\n    " + item;
}

// A parameter on the meta device has no memory to copy into: it takes over the loaded tensor itself, which
// for a mapped file means no copy at all.
inline void assign(Tensor& parameter, const Tensor& value) {
  const bool trainable = parameter.requires_grad();
  if (parameter.is_meta()) {
    parameter = value.detach().set_requires_grad(trainable);
  } else {
    parameter.detach().copy_(value);
  }
}

// Assigns every entry of `dict` to the parameter of its name; other parameters stay. The dict has been
// checked.
template <class M>
void assign_all(M& module, const StateDict& dict) {
  std::unordered_map<std::string, const Tensor*> found;
  for (const auto& [name, t] : dict) found.emplace(name, &t);
  visit(module, [&](const std::string& name, Tensor& t) {
    if (auto it = found.find(name); it != found.end()) assign(t, *it->second);
  });
}

}  // namespace detail

/// The report as one text, led by `where`.
inline std::string to_string(const LoadReport& report, std::string_view where) {
  std::string text = std::string(where) + ": the tensors do not fit the model";
  detail::append_list(text, "missing", report.missing);
  detail::append_list(text, "unexpected", report.unexpected);
  detail::append_list(text, "wrong shape or dtype", report.mismatched);
  return text;
}

/// Compares without loading: names, shapes and dtypes of parameters matching `pattern` against `dict`.
template <class M>
LoadReport check_state_dict(const M& module, const StateDict& dict, std::string_view pattern = "*") {
  std::unordered_map<std::string, const Tensor*> found;
  LoadReport report;
  for (const auto& [name, t] : dict) {
    if (!found.emplace(name, &t).second) report.unexpected.push_back(name + " (a second time)");
  }
  visit(module, [&](const std::string& name, const Tensor& t) {
    if (!matches(name, pattern)) return;
    auto it = found.find(name);
    if (it == found.end()) return report.missing.push_back(name);
    const Tensor& given = *it->second;
    if (given.sizes() != t.sizes() || given.scalar_type() != t.scalar_type()) {
      report.mismatched.push_back(name + ": expected " + describe(t) + ", found " + describe(given));
    }
    found.erase(it);
  });
  for (const auto& [name, t] : dict) {
    if (found.contains(name)) report.unexpected.push_back(name);
  }
  return report;
}

/// Loads `dict` into the parameters matching `pattern`, strictly: a missing or unexpected key, a wrong shape
/// or dtype raises one Error that lists them all, and then nothing has been changed. `where` names the
/// source.
template <class M>
void load_state_dict(M& module, const StateDict& dict, std::string_view where,
                     std::string_view pattern = "*") {
  const LoadReport report = check_state_dict(module, dict, pattern);
  if (!report.clean()) fail(to_string(report, where));
  detail::assign_all(module, dict);
}

/// A copy of `dict` with its floating tensors in `dtype`.
inline StateDict cast(StateDict dict, at::ScalarType dtype) {
  for (auto& [name, t] : dict) {
    if (t.is_floating_point()) t = t.to(dtype);
  }
  return dict;
}

/// The entries under `prefix`, with the prefix removed.
inline StateDict strip_prefix(const StateDict& dict, std::string_view prefix) {
  StateDict out;
  for (const auto& [name, t] : dict) {
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), t);
  }
  return out;
}

}  // namespace morphvlm
