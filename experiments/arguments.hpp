// Command lines of the programs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "morphvlm/core/config.hpp"

namespace morphvlm::experiments {

/// Reads flags into the fields of `arguments`, as `--name value` or `--name=value`; what is left over is
/// returned.
template <class Arguments>
std::vector<std::string> read_arguments(Arguments& arguments, int argc, char** argv) {
  const std::span words(argv, static_cast<std::size_t>(argc));
  std::vector<std::string> joined;
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string word = words[i];
    if (word.starts_with("--") && word.find('=') == std::string::npos && i + 1 < words.size()) {
      word += '=';
      word += words[++i];
    }
    joined.push_back(word);
  }
  std::vector<const char*> flags;
  for (const auto& word : joined) flags.push_back(word.c_str());
  return apply_flags(arguments, flags);
}

}  // namespace morphvlm::experiments
