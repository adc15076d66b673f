// The rules that the pages of the tree keep, as functions from a text to what is wrong with it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/structure/source_text.hpp"

namespace morphvlm::structure {

inline constexpr std::size_t kMaxColumns = 100;

/// Paths of all pages of the tree below `root`, relative to it: what is built and fetched is none of them.
inline std::vector<std::string> markdown_pages(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  std::vector<std::string> pages;
  const auto add = [&](const fs::path& file) {
    if (file.extension() == ".md") pages.push_back(file.lexically_relative(root).generic_string());
  };
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_regular_file()) add(entry.path());
  }
  for (const char* folder :
       {"benchmarks", "cmake", "docs", "experiments", "include", "packaging", "repro", "tests"}) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) add(entry.path());
  }
  std::ranges::sort(pages);
  return pages;
}

/// Lines of a page outside of fenced code, by number (from 1), the others empty.
inline std::vector<std::string> prose_lines(const std::string& page) {
  std::vector<std::string> out;
  bool code = false;
  std::istringstream in(page);
  for (std::string line; std::getline(in, line);) {
    const bool fence = line.find_first_not_of(' ') != std::string::npos &&
                       std::string_view(line).substr(line.find_first_not_of(' ')).starts_with("```");
    out.push_back(code || fence ? "" : line);
    if (fence) code = !code;
  }
  return out;
}

/// Characters of UTF-8 text.
inline std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Lines of more than kMaxColumns. Tables and code may be wider, and so may a word (a link) that stands
/// alone.
inline std::vector<std::string> check_wrap(const std::string& name, const std::string& page) {
  static const std::regex kAlone(R"(\s*([-*+] +|\d+[.)] +)?\S+)");
  std::vector<std::string> wrong;
  const auto lines = prose_lines(page);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (columns(line) <= kMaxColumns || line.starts_with('|') || std::regex_match(line, kAlone)) continue;
    wrong.push_back(name + ":" + std::to_string(i + 1) + ": " + std::to_string(columns(line)) + " columns");
  }
  return wrong;
}

/// Relative links of a page whose file is not there.
inline std::vector<std::string> check_links(const std::filesystem::path& root, const std::string& name,
                                            const std::string& page) {
  static const std::regex kLink(R"(\]\(([^)#\s]+)(#[^)\s]*)?\))");
  std::vector<std::string> wrong;
  for (const std::string& line : prose_lines(page)) {
    for (std::sregex_iterator it(line.begin(), line.end(), kLink), end; it != end; ++it) {
      const std::string target = (*it)[1];
      if (target.find("://") != std::string::npos) continue;
      if (!std::filesystem::exists((root / name).parent_path() / target))
        wrong.push_back(name + ": links to " + target + ", which is not there");
    }
  }
  return wrong;
}

/// Sources that a page names between backquotes and that are not there. `nn/linear.hpp` counts from
/// include/morphvlm, `morphvlm/vlm.hpp` from include, other paths from the root.
inline std::vector<std::string> check_sources(const std::filesystem::path& root, const std::string& name,
                                              const std::string& page) {
  static const std::regex kSource(R"(`((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:hpp|cpp|py|md))`)");
  std::vector<std::string> wrong;
  for (const std::string& line : prose_lines(page)) {
    for (std::sregex_iterator it(line.begin(), line.end(), kSource), end; it != end; ++it) {
      const std::string source = (*it)[1];
      if (!std::filesystem::exists(root / source) && !std::filesystem::exists(root / "include" / source) &&
          !std::filesystem::exists(root / "include/morphvlm" / source))
        wrong.push_back(name + ": names " + source + ", which is not there");
    }
  }
  return wrong;
}

/// What of a changelog is not in the form of keepachangelog.com: versions with a date or "unreleased", below
/// them kinds of changes, below those one line a change, or a table.
inline std::vector<std::string> check_changelog(const std::string& page) {
  static const std::regex kVersion(
      R"(## \[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2}|unreleased)|## \[Unreleased\])");
  static const std::regex kKind("### (Added|Changed|Deprecated|Removed|Fixed|Security)");
  std::vector<std::string> wrong;
  bool inside = false;
  std::istringstream in(page);
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line.starts_with("# ")) continue;
    if (line.starts_with("## ")) {
      inside = false;
      if (!std::regex_match(line, kVersion)) wrong.push_back("no version: " + line);
    } else if (line.starts_with("#")) {
      inside = true;
      if (!std::regex_match(line, kKind)) wrong.push_back("no kind of change: " + line);
    } else if (inside && !line.starts_with("- ") && !line.starts_with("|")) {
      wrong.push_back("no line of its own: " + line);
    }
  }
  return wrong;
}

}  // namespace morphvlm::structure
