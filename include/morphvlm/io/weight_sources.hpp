// A model put together from several files: what came from where, and an Error for what came from nowhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

/// Which source gave each parameter its value, by the parameter's name.
using WeightSources = std::map<std::string, std::string>;

/// One line of the report: how much of a part of the model came from a source.
struct SourceRow {
  std::string part = {};     ///< first part of the parameters' names
  std::string source = {};   ///< file or folder; "made here": no source
  std::int64_t tensors = 0,  ///< how many tensors
      parameters = 0;        ///< how many numbers in them
};

/// Gives the parameters named in `dict` their values, in the parameters' dtypes, and records `source` for
/// them. Strict: a name that the model does not have, or another shape, is an Error that lists them all, and
/// then nothing is changed. A parameter without memory takes over the tensor itself. Adapters that start from
/// their weight start from the new one; see load_base.
template <class M>
void take_weights(M& model, const StateDict& dict, const std::string& source, WeightSources& sources) {
  std::unordered_map<std::string, Tensor*> parameters;
  visit(model, [&](const std::string& name, Tensor& t) { parameters.emplace(name, &t); });
  LoadReport report;
  std::vector<std::pair<Tensor*, Tensor>> values;
  for (const auto& [name, t] : dict) {
    const auto it = parameters.find(name);
    if (it == parameters.end()) {
      report.unexpected.push_back(name);
      continue;
    }
    Tensor* parameter = it->second;
    if (t.sizes() != parameter->sizes() || !t.is_floating_point())
      report.mismatched.push_back(name + ": expected " + describe(*parameter) + ", found " + describe(t));
    values.emplace_back(parameter, t);
  }
  if (!report.clean()) fail(to_string(report, source));
  for (auto& [parameter, t] : values) {
    const bool trainable = parameter->requires_grad();
    const auto device = parameter->is_meta() ? t.device() : parameter->device();
    *parameter = t.detach().to(device, parameter->scalar_type()).set_requires_grad(trainable);
  }
  for (const auto& [name, t] : dict) sources[name] = source;
  std::set<std::string> taken;
  for (const auto& item : dict) taken.insert(item.first);
  detail::restart_adapters(model, [&](const std::string& name) { return taken.contains(name); });
}

/// An Error that lists every parameter, adapters aside, that no source gave a value.
template <class M>
void expect_all_sources(const M& model, const WeightSources& sources, std::string_view where) {
  LoadReport report;
  visit(model, [&](const std::string& name, const Tensor&) {
    if (!matches(name, kAdapterParameters) && !sources.contains(name)) report.missing.push_back(name);
  });
  if (!report.clean()) fail(to_string(report, std::string(where) + ": in none of the files"));
}

/// The report, parts in the order of the model.
template <class M>
std::vector<SourceRow> source_rows(const M& model, const WeightSources& sources) {
  std::vector<SourceRow> rows;
  visit(model, [&](const std::string& name, const Tensor& t) {
    const auto it = sources.find(name);
    const std::string part = name.substr(0, name.find('.'));
    const std::string source = it == sources.end() ? "made here" : it->second;
    const auto row =
        std::ranges::find_if(rows, [&](const SourceRow& r) { return r.part == part && r.source == source; });
    SourceRow& out = row == rows.end() ? rows.emplace_back(SourceRow{part, source}) : *row;
    ++out.tensors;
    out.parameters += t.numel();
  });
  return rows;
}

/// The report as lines of text.
inline std::string to_string(const std::vector<SourceRow>& rows) {
  std::string text;
  for (const auto& row : rows) {
    text += row.part + ": " + std::to_string(row.tensors) + " tensors, " + std::to_string(row.parameters) +
            " parameters from " + row.source + '\n';
  }
  return text;
}

}  // namespace morphvlm
