// What a number was measured on. Date and commit are kept apart from the machine, so that two runs on the
// same machine compare equal.
#pragma once

#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <sched.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace morphvlm {

/// Hardware and software that a number may depend on; "unknown" where the system does not say.
struct Machine {
  std::string cpu = "unknown";       ///< model name
  std::int64_t cores = 0;            ///< that this process may use
  std::int64_t cores_present = 0;    ///< of the whole machine, hyper-threads counted
  bool avx2 = false;                 ///< instructions of 256 bits
  bool avx512 = false;               ///< AVX-512 F
  bool avx512_bf16 = false;          ///< dot products of bfloat16
  std::int64_t memory_bytes = 0;     ///< of the whole machine; 0 where the system does not say
  std::string gpu = "none";          ///< CUDA device 0; "none" too in a build without CUDA
  std::string os = "unknown";        ///< name and version
  std::string compiler = "unknown";  ///< name and version
  std::string build = "unknown";     ///< optimisation and assertions, as this unit was compiled
  std::string torch = "unknown";     ///< LibTorch's version

  /// Whether all of it is the same.
  bool operator==(const Machine&) const = default;
};

namespace detail {

/// The value of the first line "key<space>: value" or "key=value" in a file; empty if there is none.
inline std::string file_entry(const std::filesystem::path& file, std::string_view key, char separator) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const auto mark = line.find(separator);
    if (mark == std::string::npos || line.find_first_not_of(" \t", key.size()) != mark) continue;
    const auto first = line.find_first_not_of(" \t\"", mark + 1);
    const auto last = line.find_last_not_of(" \t\"");
    return first == std::string::npos || last < first ? "" : line.substr(first, last - first + 1);
  }
  return "";
}

/// Whether `flags`, words between spaces, has `flag`.
inline bool has_flag(std::string_view flags, std::string_view flag) {
  return (' ' + std::string(flags) + ' ').find(' ' + std::string(flag) + ' ') != std::string::npos;
}

inline std::string compiler_name() {
#if defined(__clang__)
  return "clang " + std::to_string(__clang_major__) + '.' + std::to_string(__clang_minor__) + '.' +
         std::to_string(__clang_patchlevel__);
#elif defined(__GNUC__)
  return "g++ " + std::to_string(__GNUC__) + '.' + std::to_string(__GNUC_MINOR__) + '.' +
         std::to_string(__GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

inline std::string build_kind() {
#ifdef __OPTIMIZE__
  std::string kind = "optimised";
#else
  std::string kind = "not optimised";
#endif
#ifdef NDEBUG
  return kind + ", assertions off";
#else
  return kind + ", assertions on";
#endif
}

/// The driver's name of device 0. Asked of the driver itself: its interface is stable, and neither CUDA's
/// headers nor its runtime library are needed to build.
inline std::string cuda_device_name() {
  if (!at::detail::getCUDAHooks().hasCUDA()) return "none";
  void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY);
  if (driver == nullptr) return "unknown";
  const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  const auto name_of = reinterpret_cast<int (*)(char*, int, int)>(::dlsym(driver, "cuDeviceGetName"));
  std::array<char, 256> name{};
  const bool known = init != nullptr && name_of != nullptr && init(0) == 0 &&
                     name_of(name.data(), static_cast<int>(name.size()) - 1, 0) == 0;
  return known ? name.data() : "unknown";
}

/// What a shell command prints, without its last line ends; nothing if it fails.
inline std::optional<std::string> output_of(const std::string& command) {
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    text.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

/// `text` as one word of a POSIX shell.
inline std::string shell_quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) c == '\'' ? out += "'\\''" : out += c;
  return out + '\'';
}

inline std::string os_name() {
  std::string name = file_entry("/etc/os-release", "PRETTY_NAME", '=');
  utsname kernel{};
  if (::uname(&kernel) != 0) return name.empty() ? "unknown" : name;
  if (!name.empty()) name += ", ";
  return name + kernel.sysname + ' ' + kernel.release + ' ' + kernel.machine;
}

}  // namespace detail

/// The machine that runs this process, as Linux describes it.
inline Machine this_machine() {
  Machine m;
  if (auto cpu = detail::file_entry("/proc/cpuinfo", "model name", ':'); !cpu.empty()) m.cpu = std::move(cpu);
  const std::string flags = detail::file_entry("/proc/cpuinfo", "flags", ':');
  m.avx2 = detail::has_flag(flags, "avx2");
  m.avx512 = detail::has_flag(flags, "avx512f");
  m.avx512_bf16 = detail::has_flag(flags, "avx512_bf16");
  m.cores_present = ::sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t usable;
  m.cores = ::sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : m.cores_present;
  m.memory_bytes = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  m.gpu = detail::cuda_device_name();
  m.os = detail::os_name();
  m.compiler = detail::compiler_name();
  m.build = detail::build_kind();
  m.torch = TORCH_VERSION;
  return m;
}

/// The commit of the git work tree `source` lies in, with " (modified)" where tracked files differ from it;
/// "unknown" where there is no git or no work tree.
inline std::string git_commit(const std::filesystem::path& source) {
  const std::string git = "git -C " + detail::shell_quote(source.string()) + ' ';
  const auto commit = detail::output_of(git + "rev-parse HEAD 2>/dev/null");
  if (!commit || commit->empty()) return "unknown";
  const auto changes = detail::output_of(git + "status --porcelain --untracked-files=no 2>/dev/null");
  return *commit + (changes && changes->empty() ? "" : " (modified)");
}

/// A point in time as "2026-01-31T12:00:00Z" (ISO 8601, UTC).
inline std::string utc_time(std::chrono::system_clock::time_point when) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

/// Now, as utc_time writes it.
inline std::string utc_now() { return utc_time(std::chrono::system_clock::now()); }

}  // namespace morphvlm
