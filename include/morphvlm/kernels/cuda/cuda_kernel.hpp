// CUDA kernels of our own. CUDA's run-time compiler makes them on first use, for the card that is there:
// neither nvcc nor CUDA's headers are needed to build, and a program without a card never loads any of it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

namespace detail {

// The first of several libraries that can be loaded, for as long as the process lives.
class LoadedLibrary {
 public:
  LoadedLibrary(std::string what, std::initializer_list<const char*> names) : what_(std::move(what)) {
    for (const char* const name : names) {
      if (handle_ == nullptr) handle_ = ::dlopen(name, RTLD_LAZY | RTLD_GLOBAL);
    }
    expect(handle_ != nullptr, what_, ": none of its libraries can be loaded: ", ::dlerror());
  }
  template <class F>
  void find(F*& function, const char* name) const {
    function = reinterpret_cast<F*>(::dlsym(handle_, name));
    expect(function != nullptr, what_, " has no ", name);
  }

 private:
  std::string what_;
  void* handle_ = nullptr;
};

// What is called of the driver. Handles are opaque pointers; 0 is success.
struct CudaDriver {
  int (*module_load)(void** module, const void* image) = nullptr;
  int (*module_function)(void** function, void* module, const char* name) = nullptr;
  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared,
                void* stream, void** arguments, void** extra) = nullptr;
  int (*launch_with)(const void* config, void* function, void** arguments, void** extra) = nullptr;
  int (*device_attribute)(int* value, int attribute, int device) = nullptr;
  int (*current_context)(void** context) = nullptr;
  int (*set_context)(void* context) = nullptr;
  int (*primary_context)(void** context, int device) = nullptr;
  int (*error_name)(int error, const char** name) = nullptr;

  static const CudaDriver& get() {
    static const CudaDriver kDriver = [] {
      const LoadedLibrary library("CUDA's driver", {"libcuda.so.1"});
      CudaDriver d;
      library.find(d.module_load, "cuModuleLoadData");
      library.find(d.module_function, "cuModuleGetFunction");
      library.find(d.launch, "cuLaunchKernel");
      library.find(d.launch_with, "cuLaunchKernelEx");
      library.find(d.device_attribute, "cuDeviceGetAttribute");
      library.find(d.current_context, "cuCtxGetCurrent");
      library.find(d.set_context, "cuCtxSetCurrent");
      library.find(d.primary_context, "cuDevicePrimaryCtxRetain");
      library.find(d.error_name, "cuGetErrorName");
      return d;
    }();
    return kDriver;
  }

  void check(int error, const std::string& what) const {
    if (error == 0) return;
    const char* name = nullptr;
    error_name(error, &name);
    fail(what, ": CUDA error ", error, name != nullptr ? std::string(" (") + name + ')' : "");
  }

  // The driver's calls need a context in this thread; LibTorch's threads get theirs from the run time
  // library, and perhaps not before their first kernel.
  void enter(int device) const {
    void* context = nullptr;
    check(current_context(&context), "cuCtxGetCurrent");
    if (context != nullptr) return;
    check(primary_context(&context, device), "cuDevicePrimaryCtxRetain");
    check(set_context(context), "cuCtxSetCurrent");
  }
};

// CUlaunchAttribute and CUlaunchConfig, as the driver lays them out.
struct CudaLaunchAttribute {
  int id = 0;
  int padding = 0;
  int value = 0;
  std::array<int, 15> rest = {};
};
struct CudaLaunchConfig {
  unsigned grid_x = 1, grid_y = 1, grid_z = 1, block_x = 1, block_y = 1, block_z = 1, shared = 0;
  void* stream = nullptr;
  const CudaLaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

inline const LoadedLibrary& cuda_compiler() {
  static const LoadedLibrary kCompiler = [] {
    // LibTorch's own door to the compiler knows where its wheels put it.
    ::dlopen("libcaffe2_nvrtc.so", RTLD_LAZY | RTLD_GLOBAL);
    return LoadedLibrary("CUDA's run-time compiler", {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"});
  }();
  return kCompiler;
}

// Machine code for an architecture such as sm_90.
inline std::string compile_cuda(const std::string& name, const std::string& source,
                                const std::string& architecture) {
  const LoadedLibrary& compiler = cuda_compiler();
  int (*create)(void**, const char*, const char*, int, const char* const*, const char* const*) = nullptr;
  int (*compile)(void*, int, const char* const*) = nullptr;
  int (*size_of)(void*, std::size_t*) = nullptr;
  int (*code_of)(void*, char*) = nullptr;
  int (*log_size)(void*, std::size_t*) = nullptr;
  int (*log_of)(void*, char*) = nullptr;
  int (*destroy)(void**) = nullptr;
  compiler.find(create, "nvrtcCreateProgram");
  compiler.find(compile, "nvrtcCompileProgram");
  compiler.find(size_of, "nvrtcGetCUBINSize");
  compiler.find(code_of, "nvrtcGetCUBIN");
  compiler.find(log_size, "nvrtcGetProgramLogSize");
  compiler.find(log_of, "nvrtcGetProgramLog");
  compiler.find(destroy, "nvrtcDestroyProgram");

  void* program = nullptr;
  expect(create(&program, source.c_str(), (name + ".cu").c_str(), 0, nullptr, nullptr) == 0, "CUDA kernel ",
         name, ": the compiler cannot be started");
  const std::string target = "--gpu-architecture=" + architecture;
  const std::array options{target.c_str(), "--std=c++17"};
  const int error = compile(program, static_cast<int>(options.size()), options.data());
  std::size_t size = 0;
  std::string out;
  if (error == 0) {
    size_of(program, &size);
    out.resize(size);
    code_of(program, out.data());
  } else {
    log_size(program, &size);
    out.resize(size);
    log_of(program, out.data());
  }
  destroy(&program);
  expect(error == 0, "CUDA kernel ", name, " does not compile for ", architecture, ":\n", out);
  return out;
}

}  // namespace detail

/// Whether kernels of our own run on CUDA at all: a process's choice, which tests compare both ways.
inline std::atomic<bool>& own_cuda_kernels() {
  static std::atomic<bool> chosen = true;
  return chosen;
}

/// Whether own_cuda_kernels() is on and the machine has CUDA's run-time compiler.
inline bool has_cuda_kernels() {
  static const bool kAvailable = [] {
    try {
      detail::CudaDriver::get();
      detail::cuda_compiler();
      return true;
    } catch (const Error&) {
      return false;
    }
  }();
  return kAvailable && own_cuda_kernels();
}

/// How many blocks of how many threads a kernel runs in.
struct CudaGrid {
  unsigned blocks = 1;    ///< along x
  unsigned threads = 1;   ///< of a block
  unsigned blocks_y = 1;  ///< along y
  /// The kernel may start before the one ahead of it has ended (from compute capability 9 on). It must call
  /// wait_for_earlier() (kernels/cuda/cuda_text.hpp) before it reads what another kernel writes, or writes at
  /// all.
  bool starts_early = false;
};

/// A kernel `extern "C" __global__ void name(...)` of a source text in CUDA C++ without includes.
class CudaKernel {
 public:
  /// Starts a kernel with pointers to its arguments.
  using Launcher = std::function<void(const CudaKernel&, const CudaGrid&, void** arguments)>;

  /// What starts kernels instead of CUDA's driver, if anything does: tests run them on a CPU.
  static Launcher& launcher() {
    static Launcher launcher;
    return launcher;
  }

  /// Compiles nothing yet.
  CudaKernel(std::string name, std::string source) : name_(std::move(name)), source_(std::move(source)) {}

  /// Runs it on LibTorch's current stream of `device`. The arguments must have the very types that the kernel
  /// declares: pointers, `long long`, `int`, `float`. Error: it does not compile or does not start.
  template <class... Arguments>
  void launch(c10::Device device, const CudaGrid& grid, Arguments... arguments) const {
    std::array<void*, sizeof...(Arguments)> pointers{&arguments...};
    if (launcher()) return launcher()(*this, grid, pointers.data());
    const c10::DeviceGuard guard(device);
    const auto& driver = detail::CudaDriver::get();
    const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
    const auto index = cuda.getDevice().index();
    driver.enter(index);
    const Loaded& there = loaded(index);
    void* const stream = cuda.getStream(cuda.getDevice()).native_handle();
    if (grid.starts_early && there.can_start_early) {
      constexpr int kProgrammaticStreamSerialization = 6;
      const detail::CudaLaunchAttribute early{.id = kProgrammaticStreamSerialization, .value = 1};
      const detail::CudaLaunchConfig config{.grid_x = grid.blocks,
                                            .grid_y = grid.blocks_y,
                                            .block_x = grid.threads,
                                            .stream = stream,
                                            .attributes = &early,
                                            .attribute_count = 1};
      return driver.check(driver.launch_with(&config, there.function, pointers.data(), nullptr),
                          "CUDA kernel " + name_);
    }
    driver.check(driver.launch(there.function, grid.blocks, grid.blocks_y, 1, grid.threads, 1, 1, 0, stream,
                               pointers.data(), nullptr),
                 "CUDA kernel " + name_);
  }

  const std::string& name() const { return name_; }      ///< of the function
  const std::string& source() const { return source_; }  ///< the whole text

  /// Its machine code for an architecture such as sm_90; needs no card. Error: it does not compile.
  std::string compile(const std::string& architecture) const {
    return detail::compile_cuda(name_, source_, architecture);
  }

 private:
  // What a device has of it.
  struct Loaded {
    void* function = nullptr;
    bool can_start_early = false;
  };

  const Loaded& loaded(int device) const {
    const std::scoped_lock lock(mutex_);
    Loaded& there = loaded_[device];
    if (there.function != nullptr) return there;
    const auto& driver = detail::CudaDriver::get();
    constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
    int major = 0, minor = 0;
    driver.check(driver.device_attribute(&major, kMajor, device), "cuDeviceGetAttribute");
    driver.check(driver.device_attribute(&minor, kMinor, device), "cuDeviceGetAttribute");
    const std::string code = compile("sm_" + std::to_string(major) + std::to_string(minor));
    void* module = nullptr;
    driver.check(driver.module_load(&module, code.data()), "CUDA kernel " + name_);
    driver.check(driver.module_function(&there.function, module, name_.c_str()), "CUDA kernel " + name_);
    constexpr int kFirstEarly = 9;
    there.can_start_early = major >= kFirstEarly;
    return there;
  }

  std::string name_, source_;
  mutable std::mutex mutex_;
  mutable std::map<int, Loaded> loaded_ = {};
};

}  // namespace morphvlm
