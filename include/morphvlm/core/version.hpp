// The toolkit's version, for the preprocessor and for programs that say what made their results.
#pragma once

#include <string>

/// 10000 * major + 100 * minor + patch; what each part means stands in docs/packaging.md.
#define MORPHVLM_VERSION 10000

namespace morphvlm {

/// The version as text, "1.0.0".
inline std::string toolkit_version() {
  return std::to_string(MORPHVLM_VERSION / 10000) + '.' + std::to_string(MORPHVLM_VERSION / 100 % 100) + '.' +
         std::to_string(MORPHVLM_VERSION % 100);
}

}  // namespace morphvlm
