// Kernels of our own, compiled for the CPU (emulation.hpp) and called as a card would be.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::testing {

/// While it lives, kernels run on the CPU, their threads in ascending or descending order.
class EmulatedCuda {
 public:
  explicit EmulatedCuda(bool backwards) {
    CudaKernel::launcher() = [backwards](const CudaKernel& kernel, const CudaGrid& grid, void** arguments) {
      using Run = void(void**, unsigned, unsigned, unsigned, bool);
      reinterpret_cast<Run*>(compiled(kernel))(arguments, grid.blocks, grid.blocks_y, grid.threads,
                                               backwards);
    };
  }
  ~EmulatedCuda() { CudaKernel::launcher() = nullptr; }
  EmulatedCuda(const EmulatedCuda&) = delete;
  EmulatedCuda& operator=(const EmulatedCuda&) = delete;

 private:
  static void* compiled(const CudaKernel& kernel) {
    static const ScratchFolder kFolder;
    static std::map<std::string, void*> known;
    auto& run = known[kernel.name() + kernel.source()];
    if (run != nullptr) return run;
    const std::string place = (kFolder / std::to_string(known.size())).string();
    std::ofstream(place + ".cpp")
        << "#include \"tests/cuda/emulation.hpp\"\n"
        << kernel.source()
        << "\nextern \"C\" void run(void** arguments, unsigned blocks, unsigned blocks_y, "
           "unsigned threads, bool backwards) {\n  emulation::launch("
        << kernel.name() << ", arguments, blocks, blocks_y, threads, backwards);\n}\n";
    const std::string command = std::string(MORPHVLM_CXX) + " -std=c++20 -O1 -w -shared -fPIC -I" +
                                MORPHVLM_SOURCE_DIR + ' ' + place + ".cpp -o " + place + ".so";
    expect(std::system(command.c_str()) == 0, "kernel ", kernel.name(), " does not compile for the CPU");
    void* const library = ::dlopen((place + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
    expect(library != nullptr, ::dlerror());
    return run = ::dlsym(library, "run");
  }
};

}  // namespace morphvlm::testing
