#include "experiments/small_training.hpp"

#include <unistd.h>

#include <fstream>

namespace morphvlm::experiments {

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return in ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

template SmallWorld<OpenLLaMA> open_small_world(const SmallData&, const std::string&);
template FinetuneRun finetune<LoRA<Attn>>(const SmallWorld<OpenLLaMA>&, const FinetuneConfig&,
                                          const TrainLog&);

}  // namespace morphvlm::experiments
