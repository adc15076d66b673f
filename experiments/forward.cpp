// One forward pass of a model folder: forward --model DIR [--adapter DIR] --inputs IN --out OUT
// (docs/models.md)
#include <iostream>

#include "experiments/arguments.hpp"
#include "experiments/model_registry.hpp"
#include "morphvlm/core/device.hpp"

namespace {

using namespace morphvlm;

struct Arguments {
  std::filesystem::path model;
  std::filesystem::path adapter;
  std::filesystem::path inputs;
  std::filesystem::path out;
  std::string device = "cpu";
};

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
  const StateDict inputs = load_safetensors(a.inputs);
  const Tensor pixels = input(inputs, "pixels", 5, where), ids = input(inputs, "input_ids", 2, where);
  expect(pixels.defined() && ids.defined(), where, ": expected tensors pixels and input_ids");
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

int main(int argc, char** argv) try {
  Arguments arguments;
  const auto rest = experiments::read_arguments(arguments, argc, argv);
  if (!rest.empty() || arguments.model.empty() || arguments.inputs.empty() || arguments.out.empty()) {
    std::cerr << "usage: forward --model DIR [--adapter DIR] --inputs IN.safetensors --out OUT.safetensors\n"
                 "               [--device cpu|cuda]\n";
    return 2;
  }
  run(arguments);
  return 0;
} catch (const std::exception& e) {
  std::cerr << "forward: " << e.what() << '\n';
  return 1;
}
