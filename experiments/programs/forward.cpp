// One forward pass of a model folder: forward --model DIR [--adapter DIR] --inputs IN --out OUT
// (docs/models.md)
#include <iostream>

#include "experiments/programs/model_registry.hpp"
#include "experiments/programs/program.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/formats/writable_file.hpp"

namespace {

using namespace morphvlm;

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path adapter;
  std::filesystem::path inputs;
  std::filesystem::path out;
  std::string device = "cpu";
};

}  // namespace

template <>
inline constexpr auto morphvlm::field_notes<Arguments> = std::to_array<FieldNote>(
    {{"model", "the model's folder"},
     {"adapter", "a folder of adapters: PEFT's, or what train has made"},
     {"inputs", "a safetensors file: pixels, input_ids and, if there is padding, attention_mask"},
     {"out", "a safetensors file of the logits and the pictures' latents"},
     {"device", "cpu, cuda or cuda:N"}});

namespace {

Tensor input(const StateDict& inputs, const std::string& name, std::int64_t dims, const std::string& where) {
  for (const auto& [key, t] : inputs) {
    if (key != name) continue;
    expect(t.dim() == dims, where, ": ", name, ": expected ", dims, " dimensions, found ", describe(t));
    return t;
  }
  return {};
}

void run(const Arguments& a) {
  const std::string where = a.inputs.string();
  expect_writable_file(a.out);
  const StateDict inputs = load_safetensors(a.inputs);
  const Tensor pixels = input(inputs, "pixels", 5, where), ids = input(inputs, "input_ids", 2, where);
  expect(pixels.defined() && ids.defined(), where, ": expected tensors pixels and input_ids");
  expect(pixels.is_floating_point(), where,
         ": pixels: expected a floating-point type, scaled and normalised, found ", describe(pixels));
  expect(at::isIntegralType(ids.scalar_type(), false), where, ": input_ids: expected integers, found ",
         describe(ids));
  const TextInput text{.ids = ids.to(at::kLong), .attention_mask = input(inputs, "attention_mask", 2, where)};
  const auto device = device_named(a.device);
  experiments::with_model(a.model, a.adapter, device, [&](const auto& model, const WeightSources& sources) {
    std::cerr << to_string(source_rows(model, sources));
    at::NoGradGuard no_grad;
    const Tensor latents =
        model.resample(model.encode_vision(pixels.to(device, experiments::vision_dtype(model))));
    const Tensor logits = model.logits(model.hidden(text.to(device), latents));
    save_safetensors(a.out, {{"logits", logits.to(at::kCPU, at::kFloat)},
                             {"media_latents", latents.to(at::kCPU, at::kFloat)}});
  });
}

}  // namespace

int main(int argc, char** argv) {
  return experiments::program<Arguments>({.name = "forward",
                                          .purpose = "One forward pass of a model folder (docs/models.md).",
                                          .required = {"model", "inputs", "out"}},
                                         argc, argv, run);
}
