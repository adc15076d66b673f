// Command lines of the programs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/config.hpp"

namespace morphvlm::experiments {

/// The words of a command line, `--name value` joined to `--name=value`.
inline std::vector<std::string> joined_arguments(int argc, char** argv) {
  const std::span words(argv, static_cast<std::size_t>(argc));
  std::vector<std::string> joined;
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string word = words[i];
    const bool open = word.starts_with("--") && word.find('=') == std::string::npos;
    // What follows is the flag's value unless it is a flag itself; negative numbers have one dash.
    if (open && i + 1 < words.size() && !std::string_view(words[i + 1]).starts_with("--")) {
      word += '=';
      word += words[++i];
    }
    joined.push_back(word);
  }
  return joined;
}

/// Reads flags into the fields of `arguments`, as `--name value` or `--name=value`; what is left over is
/// returned.
template <class Arguments>
std::vector<std::string> read_arguments(Arguments& arguments, int argc, char** argv) {
  const auto joined = joined_arguments(argc, argv);
  std::vector<const char*> flags;
  for (const auto& word : joined) flags.push_back(word.c_str());
  return apply_flags(arguments, flags);
}

}  // namespace morphvlm::experiments
