#include "experiments/mini/small_training.hpp"

namespace morphvlm::experiments {

template SmallWorld<OpenLLaMA> open_small_world(const SmallData&, const std::string&);
template FinetuneRun finetune<LoRA<Attn>>(const SmallWorld<OpenLLaMA>&, const FinetuneConfig&,
                                          const TrainLog&);

}  // namespace morphvlm::experiments
