// What stands in a file's place when the file itself was not downloaded.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

namespace detail {

inline constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/";

// Whether text begins like a web page, whatever its case.
inline bool begins_as_html(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{"<!doctype html", "<html"},
      [&](std::string_view tag) { return std::ranges::equal(text.substr(0, tag.size()), tag, {}, lower); });
}

}  // namespace detail

/// An Error where `bytes`, the beginning of a file or all of it, are those of a Git LFS pointer or of a web
/// page: it was not downloaded. `where` (the file) leads the message.
inline void expect_downloaded(std::string_view bytes, std::string_view where) {
  expect(
      !bytes.starts_with(detail::kLfsPointer), where,
      ": expected the file itself, found a Git LFS pointer: the file was not downloaded (run `git lfs pull` "
      "where it was cloned)");
  expect(
      !detail::begins_as_html(bytes), where,
      ": expected the file itself, found an HTML page: the file was not downloaded (its address gave a web "
      "page, such as a login or an error)");
}

}  // namespace morphvlm
