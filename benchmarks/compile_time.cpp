// Seconds that the compiler takes for one unit, without and with a precompiled header: one that instantiates
// a model from the layers it needs, the README's program from all of them, and LibTorch's own header beside
// them. The target: a model's unit in under 8 s, and under 3 s with a precompiled header, on two current
// cores.
#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "benchmarks/machine_context.hpp"

namespace {

struct Cost {
  double seconds = 0;
  double gib = 0;  // that the compiler held at once
};

/// What a command took, in a folder of the build, where its outputs may lie about; nothing if it failed.
std::optional<Cost> cost_of(const std::string& command) {
  const std::string line = "cd " MORPHVLM_COMPILE_FOLDER " && ( " + command + " ) >/dev/null 2>&1";
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  if (child < 0 || ::wait4(child, &status, 0, &used) != child || status != 0) return std::nullopt;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return Cost{took.count(), static_cast<double>(used.ru_maxrss) * 1024 / 0x1p30};
}

const std::string kCompiler = MORPHVLM_COMPILE_COMMAND;
const std::string kSource = MORPHVLM_SOURCE_DIR;

void compile(benchmark::State& state, const std::string& unit, const std::string& flags) {
  double gib = 0;
  for (auto iteration : state) {
    const auto cost = cost_of(kCompiler + flags + " -c " + kSource + unit + " -o compile_time.o");
    if (!cost) return state.SkipWithError("the compiler failed");
    state.SetIterationTime(cost->seconds);
    gib = std::max(gib, cost->gib);
  }
  state.counters["GiB"] = gib;
}

// What is compiled, and which header may be so beforehand.
struct Unit {
  std::string source;
  std::string header = "";
};

void with_pch(benchmark::State& state, const Unit& unit) {
  const std::string header = " -x c++-header " + kSource + "/include/morphvlm/" + unit.header;
  if (!cost_of(kCompiler + header + " -o compile_time_pch.hpp.gch && touch compile_time_pch.hpp"))
    return state.SkipWithError("no precompiled header");
  compile(state, unit.source, " -include compile_time_pch.hpp");
}

void plainly(benchmark::State& state, const Unit& unit) { compile(state, unit.source, ""); }

void add(const std::string& name, void (*run)(benchmark::State&, const Unit&), const Unit& unit) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, unit); })
      ->Unit(benchmark::kSecond)
      ->UseManualTime()
      ->Iterations(3);
}

[[maybe_unused]] const bool kRegistered = [] {
  morphvlm::benchmarks::add_machine_context();
  benchmark::AddCustomContext("compiler", MORPHVLM_COMPILER);
  const Unit model{"/benchmarks/units/vlm_unit.cc", "vlm.hpp"},
      program{"/tests/consume/readme.cpp", "morphvlm.hpp"};
  add("torch.h", plainly, {"/benchmarks/units/torch_unit.cc"});
  add("model", plainly, model);
  add("model/pch", with_pch, model);
  add("train", plainly, program);
  add("train/pch", with_pch, program);
  return true;
}();

}  // namespace
