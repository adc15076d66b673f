// Benchmarks' JSON says which machine made it, since it may be read on another.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "morphvlm/report/machine.hpp"

namespace morphvlm::benchmarks {

/// To be called once, before benchmarks run.
inline void add_machine_context() {
  const Machine machine = this_machine();
  benchmark::AddCustomContext("cpu", machine.cpu);
  benchmark::AddCustomContext("cores", std::to_string(machine.cores));
  benchmark::AddCustomContext("torch", machine.torch);
  benchmark::AddCustomContext("gpu", machine.gpu);
}

}  // namespace morphvlm::benchmarks
