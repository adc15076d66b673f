// A plan as people read it.
#pragma once

#include <charconv>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/programs/plan_model.hpp"
#include "morphvlm/core/format.hpp"

namespace morphvlm::experiments {

/// "12GB" (10^9 bytes), "11.2 GiB" (2^30), also with M and T, as bytes. Error: anything else.
inline std::int64_t parse_bytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  for (const auto& [name, size] : kUnits) {
    if (error == std::errc{} && unit == name && number > 0 && number * size < 0x1p62)
      return static_cast<std::int64_t>(number * size);
  }
  fail("expected a size such as 12GB or 11.2GiB, found '", std::string(text), "'");
}

/// One line: a name, a value, and what it is.
inline std::string plan_row(const std::string& name, const std::string& value, const std::string& note = "") {
  std::string line = name;
  line.resize(24, ' ');
  line += std::string(value.size() < 12 ? 12 - value.size() : 0, ' ') + value;
  return line + (note.empty() ? "" : "   " + note) + '\n';
}

/// Operations in 10^12.
inline std::string tera(double flops) { return fixed(flops / 1e12, flops < 1e12 ? 3 : 1); }

/// What a step costs, line by line.
inline std::string plan_text(const Plan& p) {
  const auto note = [](std::int64_t n) { return with_commas(n) + " parameters"; };
  std::string out =
      plan_row("frozen weights", format_bytes(p.frozen_bytes), note(p.parameters - p.trainable));
  out += plan_row("trained weights", format_bytes(p.trained_bytes), note(p.trainable));
  out += plan_row("their gradients", format_bytes(p.gradient_bytes));
  out += plan_row("AdamW's moments", format_bytes(p.optimizer_bytes));
  out += plan_row("activations kept", format_bytes(p.kept_bytes), "from forward to backward pass");
  out += plan_row("peak", format_bytes(p.peak_bytes), "all that lives at once, temporaries included");
  if (p.host_bytes > 0) {
    out += plan_row("weights on the host", format_bytes(p.host_bytes));
    out += plan_row("copied from there", format_bytes(p.copied_bytes), "in a step");
  }
  out += plan_row("operations", tera(p.flops()) + " TFLOP",
                  "vision " + tera(p.vision_flops) + ", forward " + tera(p.forward_flops) + ", backward " +
                      tera(p.backward_flops));
  return out;
}

/// Ways to fit, one a line: operations a row relative to what was asked for, peak, change.
inline std::string ways_text(const std::vector<Fit>& ways) {
  std::string out;
  for (const auto& way : ways) {
    out += "  " + fixed(way.cost, 2) + " x  " + format_bytes(way.plan.peak_bytes) + "  " +
           (way.change.empty() ? "as asked" : way.change) + '\n';
  }
  return out;
}

/// Whether it fits `budget` bytes, and if not, what does.
inline std::string fit_text(const std::vector<Fit>& ways, const Plan& asked, std::int64_t budget) {
  if (asked.peak_bytes <= budget)
    return "fits, with " + format_bytes(budget - asked.peak_bytes) + " to spare\n";
  const std::string out = "does not fit: " + format_bytes(asked.peak_bytes - budget) + " too much\n";
  if (ways.empty())
    return out + "batches of one row, recomputing every layer and bf16 are not enough together\n";
  return out + "what would fit, by operations a row:\n" + ways_text(ways);
}

}  // namespace morphvlm::experiments
