// Unicode normalization forms: the only header that names utf8proc.
#pragma once

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/utf8.hpp"

namespace morphvlm {

/// What happens to a text before it is cut into words. `nfc` and `nfd` compose and decompose; the `k` forms
/// also replace compatibility characters.
enum class Normalization { none, nfc, nfd, nfkc, nfkd };

/// `text` in the normalization form; text that is not UTF-8 is an error.
inline std::string normalize(std::string_view text, Normalization form) {
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (form == Normalization::none || ascii) return std::string(text);
  expect_utf8(text, "text to normalize");
  const bool compose = form == Normalization::nfc || form == Normalization::nfkc;
  const bool compatible = form == Normalization::nfkc || form == Normalization::nfkd;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                     (compatible ? UTF8PROC_COMPAT : 0));
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &out, options);
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(out, std::free);
  expect(size >= 0, "text of ", text.size(), " bytes: cannot be normalized: ", utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(out), static_cast<std::size_t>(size)};
}

}  // namespace morphvlm
