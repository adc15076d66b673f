#include "experiments/device/device_placement.hpp"

#include <ATen/Context.h>

#include <type_traits>

#include "experiments/models.hpp"

namespace morphvlm::experiments {

namespace {

// While it lives, LibTorch chooses kernels that give the same sums each time, where it has such.
class SameSums {
 public:
  SameSums()
      : before_(at::globalContext().deterministicAlgorithms()),
        warned_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        filled_(at::globalContext().deterministicFillUninitializedMemory()) {
    at::globalContext().setDeterministicAlgorithms(true, true);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // steps are timed
  }
  ~SameSums() {
    at::globalContext().setDeterministicAlgorithms(before_, warned_);
    at::globalContext().setDeterministicFillUninitializedMemory(filled_);
  }
  SameSums(const SameSums&) = delete;
  SameSums& operator=(const SameSums&) = delete;

 private:
  bool before_, warned_, filled_;
};

}  // namespace

std::vector<PlacementSteps> placement_steps(const DeviceScale& d) {
  const SameSums same;
  const auto device = device_named(d.device);
  std::vector<PlacementSteps> out;
  const auto add = [&]<class P>(const char* placement, std::type_identity<P>) {
    for (const bool live : {true, false}) {
      const auto config = device_config<Model<P>>(d, presets::open_llama_3b, d.every);
      out.push_back({placement, live,
                     try_steps<Model<P>>(placement, config, device_setup(d), picture_rows(d), device, d.steps,
                                         live ? 0.5 : 0.0)});
    }
  };
  add("Attn + CrossMlp", std::type_identity<LoRA<Attn, CrossMlp>>{});
  add("Attn", std::type_identity<LoRA<Attn>>{});
  add("SelfAttn", std::type_identity<LoRA<SelfAttn>>{});
  add("CrossAttn", std::type_identity<LoRA<CrossAttn>>{});
  add("FeedForward", std::type_identity<LoRA<FeedForward>>{});
  return out;
}

}  // namespace morphvlm::experiments
