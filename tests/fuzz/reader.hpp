// What a fuzz target is: a reader of untrusted bytes by its name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "morphvlm/core/state_dict.hpp"

namespace morphvlm::fuzz {

using Path = std::filesystem::path;

/// The input as text, and as a file.
struct Input {
  std::string_view text;
  Path path;
};

struct Reader {
  std::string_view name;
  void (*read)(const Input&);
};

/// Reads every byte that a tensor claims to have.
inline void touch(const StateDict& dict) {
  std::uint64_t sum = 0;
  for (const auto& [name, t] : dict) {
    const Tensor flat = t.contiguous();
    const auto* const bytes = static_cast<const unsigned char*>(flat.const_data_ptr());
    for (std::size_t i = 0; i < flat.nbytes(); ++i) sum += bytes[i];
  }
  volatile std::uint64_t kept = sum;
  static_cast<void>(kept);
}

/// Those that read a file among others of a folder.
std::span<const Reader> folder_readers();

}  // namespace morphvlm::fuzz
