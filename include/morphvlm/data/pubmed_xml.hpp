// Articles of PubMed's yearly XML files (pubmed21n1298.xml.gz), and questions in PubMedQA's form made of
// them.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/text_file.hpp"
#include "morphvlm/data/pubmedqa.hpp"

namespace morphvlm {

/// A part of an abstract. An abstract without parts is one section without label.
struct PubMedSection {
  std::string label = {};     ///< the authors' heading: "METHODS AND RESULTS"
  std::string category = {};  ///< the NLM's: BACKGROUND, OBJECTIVE, METHODS, RESULTS, CONCLUSIONS, UNASSIGNED
  std::string text = {};      ///< without the markup inside
};

/// What is used of an article.
struct PubMedArticle {
  std::string pmid = {};   ///< PubMed's number; never empty
  std::string title = {};  ///< without the markup inside
  // Without "=": before one, Doxygen takes the name for another language's keyword.
  std::vector<PubMedSection> abstract{};  ///< in order; empty: there is none
  std::vector<std::string> meshes = {};   ///< MeSH descriptors: "Humans", ...
};

/// Largest file that is unpacked (PubMed's are below 400 MB).
inline constexpr std::size_t kMaxPubMedBytes = std::size_t{2} << 30,
                             kMaxArticleBytes = 16 << 20;  ///< largest article

namespace detail {

/// A file's content, unpacked where it is gzip.
inline std::string read_gzip(const std::filesystem::path& path) {
  expect(std::filesystem::is_regular_file(path), path.string(), ": cannot be opened for reading");
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  expect(file != nullptr, path.string(), ": cannot be opened for reading");
  std::string text;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const int count = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
    expect(count >= 0, path.string(), ": damaged gzip data after ", text.size(), " bytes");
    if (count == 0) break;
    expect(text.size() + static_cast<std::size_t>(count) <= kMaxPubMedBytes, path.string(),
           ": unpacks to more than ", kMaxPubMedBytes, " bytes");
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  int code = Z_OK;
  gzerror(file.get(), &code);
  expect(code == Z_OK || code == Z_STREAM_END, path.string(), ": truncated gzip data after ", text.size(),
         " bytes");
  return text;
}

/// All text below a node: titles and abstracts have markup inside (<i>, <sub>).
inline std::string text_of(const pugi::xml_node& node) {
  std::string text;
  struct Walker : pugi::xml_tree_walker {
    std::string& out;
    explicit Walker(std::string& to) : out(to) {}
    bool for_each(pugi::xml_node& n) override {
      if (n.type() == pugi::node_pcdata || n.type() == pugi::node_cdata) out += n.value();
      return true;
    }
  } walker(text);
  pugi::xml_node(node).traverse(walker);
  return text;
}

inline PubMedArticle read_pubmed_article(std::string_view xml, const std::string& where) {
  pugi::xml_document document;
  // White space alone between two pieces of markup ("<i>E.</i> <i>coli</i>") is text too.
  const auto result =
      document.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_ws_pcdata);
  expect(static_cast<bool>(result), where, ": not valid XML: ", result.description());
  const auto citation = document.child("PubmedArticle").child("MedlineCitation");
  PubMedArticle out{.pmid = text_of(citation.child("PMID")),
                    .title = text_of(citation.child("Article").child("ArticleTitle"))};
  expect(!out.pmid.empty(), where, ": an article without PMID");
  for (const auto& part : citation.child("Article").child("Abstract").children("AbstractText")) {
    out.abstract.push_back(
        {part.attribute("Label").value(), part.attribute("NlmCategory").value(), text_of(part)});
  }
  for (const auto& heading : citation.child("MeshHeadingList").children("MeshHeading"))
    out.meshes.push_back(text_of(heading.child("DescriptorName")));
  return out;
}

}  // namespace detail

/// Reads all articles of a file (.xml or .xml.gz) in its order. Articles are parsed one by one; no entities
/// but XML's own are expanded. Errors name the file, and the article (from 0) that cannot be read.
inline std::vector<PubMedArticle> read_pubmed_xml(const std::filesystem::path& path) {
  constexpr std::string_view kBegin = "<PubmedArticle>", kEnd = "</PubmedArticle>";
  const std::string unpacked = detail::read_gzip(path);
  const std::string_view text = as_text(unpacked, path.string());
  std::vector<PubMedArticle> out;
  for (std::size_t begin = text.find(kBegin); begin != std::string_view::npos;) {
    const std::string where = path.string() + ": article " + std::to_string(out.size());
    const auto end = text.find(kEnd, begin);
    expect(end != std::string_view::npos && end - begin <= kMaxArticleBytes, where, ": has no end within ",
           kMaxArticleBytes, " bytes");
    out.push_back(detail::read_pubmed_article(text.substr(begin, end + kEnd.size() - begin), where));
    begin = text.find(kBegin, end);
  }
  expect(!out.empty(), path.string(), ": no article in the file");
  return out;
}

/// An abstract with a CONCLUSIONS section in PubMedQA's form: the title is the question, the conclusions the
/// long answer, the other sections the contexts. Nothing where there are no conclusions, no other sections or
/// no title. No decision: nobody made one.
inline std::optional<PubMedQaExample> pubmedqa_form(const PubMedArticle& article) {
  PubMedQaExample out{.id = article.pmid, .question = article.title, .meshes = article.meshes};
  for (const auto& section : article.abstract) {
    if (section.category == "CONCLUSIONS") {
      out.long_answer += (out.long_answer.empty() ? "" : " ") + section.text;
    } else {
      out.contexts.push_back(section.text);
      out.labels.push_back(section.label);
    }
  }
  if (out.long_answer.empty() || out.contexts.empty() || out.question.empty()) return std::nullopt;
  return out;
}

/// A yes/no question whose answer the indexers gave: whether the article's MeSH descriptors have "Humans".
/// Nothing where there is no abstract or no descriptor.
inline std::optional<PubMedQaExample> humans_question(const PubMedArticle& article) {
  if (article.abstract.empty() || article.meshes.empty()) return std::nullopt;
  PubMedQaExample out{.id = article.pmid, .question = "Was this in humans?", .meshes = article.meshes};
  for (const auto& section : article.abstract) {
    out.contexts.push_back(section.text);
    out.labels.push_back(section.label);
  }
  out.decision = std::ranges::find(article.meshes, "Humans") != article.meshes.end() ? "yes" : "no";
  return out;
}

}  // namespace morphvlm
