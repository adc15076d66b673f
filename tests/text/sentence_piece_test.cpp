// sentence_piece.hpp and its model files: damaged and hostile ones end in an error, never in the library.
#include "morphvlm/text/sentence_piece.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "tests/data/data_support.hpp"

namespace morphvlm::sentence_piece_test {
namespace {

using detail::ProtoWriter;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

/// What of a small model can be set.
struct SmallModel {
  std::string chars_map = {};
  std::string extra_piece = "x";
  float score = 0;
  bool pieces = true;
  std::string unknown = "<unk>";

  std::string bytes() const {
    ProtoWriter model, trainer, normalizer;
    const auto piece = [&](const std::string& text, std::uint64_t kind, float value) {
      ProtoWriter one;
      one.text(1, text);
      one.real(2, value);
      one.number(3, kind);
      model.text(1, one.bytes);
    };
    if (pieces) {
      piece(unknown, 2, 0);
      piece("<s>", 3, 0);
      piece("</s>", 3, 0);
      for (const char* text : {"\u2581", "a", "b", "ab", "\u2581ab"}) piece(text, 1, score);
      piece(extra_piece, 1, -9);
    }
    trainer.number(3, 2);
    model.text(2, trainer.bytes);
    normalizer.text(1, "identity");
    if (!chars_map.empty()) normalizer.text(2, chars_map);
    normalizer.number(3, 1);
    normalizer.number(4, 0);
    normalizer.number(5, 1);
    model.text(3, normalizer.bytes);
    return model.bytes;
  }
};

SentencePiece make(const SmallModel& model) {
  SentencePieceSpec spec;
  spec.model = model.bytes();
  return make_sentence_piece(std::move(spec), "small.model");
}

TEST(SentencePieceModel, ASmallOneWorks) {
  const SentencePiece sp = make({});
  EXPECT_EQ(vocab_size(sp), 9);
  EXPECT_THAT(encode_sequence(sp, "ab"), ElementsAre(1, 7));
  EXPECT_THAT(encode(sp, "ab<s>b"), ElementsAre(7, 1, 3, 5));
  EXPECT_EQ(token_id(sp, "ab"), 6);
  EXPECT_EQ(token_id(sp, "no"), std::nullopt);
}

TEST(SentencePieceModel, TruncatedAnywhereItIsAnErrorOrShorterButWhole) {
  const std::string whole = SmallModel{}.bytes();
  std::size_t refused = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      SentencePieceSpec spec;
      spec.model = whole.substr(0, size);
      const SentencePiece sp = make_sentence_piece(std::move(spec), "cut.model");
      encode(sp, "ab a \u00e9");  // cut between two fields, it is a model
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("cut.model"));
      ++refused;
    }
  }
  EXPECT_GT(refused, whole.size() * 9 / 10);
}

TEST(SentencePieceModel, DamagedBytesAreAnErrorOrStillUsable) {
  const std::string whole = SmallModel{}.bytes();
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    SentencePieceSpec spec;
    spec.model = whole;
    for (int i = 0; i < 1 + round % 3; ++i)
      spec.model[random() % whole.size()] = static_cast<char>(random() & 255);
    try {
      const SentencePiece sp = make_sentence_piece(std::move(spec), "damaged.model");
      const auto ids = encode(sp, "ab a\u00e9 <s> b");
      decode(sp, ids);
    } catch (const Error& e) {
      EXPECT_FALSE(std::string(e.what()).empty());
    }
  }
}

TEST(SentencePieceModel, NamesWhatIsWrong) {
  EXPECT_THAT(error_of([] { make({.pieces = false}); }), HasSubstr("small.model: not a SentencePiece model"));
  EXPECT_THAT(error_of([] { make({.extra_piece = "\xff"}); }), HasSubstr("piece 8: expected text"));
  EXPECT_THAT(error_of([] { make({.extra_piece = ""}); }), HasSubstr("piece 8: expected text"));
  EXPECT_THAT(error_of([] { make({.score = std::numeric_limits<float>::infinity()}); }),
              HasSubstr("piece 3: the score is not finite"));
  EXPECT_THAT(error_of([] { make({.extra_piece = "ab"}); }), HasSubstr("small.model"));
  EXPECT_THAT(error_of([] { make({.extra_piece = "<unk>", .unknown = "axnk>"}); }),
              HasSubstr("small.model: not a usable SentencePiece model: the unknown piece"));
}

/// A table of 256 units, all of them leading nowhere, with one set.
std::string table(std::uint32_t root, std::size_t at, std::uint32_t unit, const std::string& replacements) {
  std::vector<std::uint32_t> units(512, 1u << 31);
  units[0] = root;
  if (at > 0) units[at] = unit;
  const auto size = static_cast<std::uint32_t>(units.size() * 4);
  std::string blob(4 + size, '\0');
  std::memcpy(blob.data(), &size, 4);
  std::memcpy(blob.data() + 4, units.data(), size);
  return blob + replacements;
}

TEST(SentencePieceModel, TablesThatPointOutsideAreRefused) {
  const std::string end("r\0", 2);
  const auto message = [](const std::string& blob) { return error_of([&] { make({.chars_map = blob}); }); };
  EXPECT_THAT(message("abc"), HasSubstr("normalization table of 3 bytes"));
  EXPECT_THAT(message(std::string("\xff\xff\xff\xff") + std::string(2000, '\0')),
              HasSubstr("normalization table of 4294967295 bytes"));
  EXPECT_THAT(message(table(0x3FFFFFu << 10, 0, 0, end)), HasSubstr("points outside of itself"));
  // 'a' leads on to a node far away; 'a' has a value that lies beyond the replacements; 'a' leads to itself.
  const std::uint32_t root = 256u << 10;
  EXPECT_THAT(message(table(root, 256 ^ 'a', 'a' | 0x1FFFFFu << 10, end)), HasSubstr("outside"));
  EXPECT_THAT(message(table(root, 256 ^ 'a', 'a' | 1u << 8 | 353u << 10, end)),
              HasSubstr("outside of its replacements"));
  EXPECT_THAT(message(table(root, 256 ^ 'a', 'a' | 97u << 10, end)), HasSubstr("in a circle"));
  EXPECT_NO_THROW(make({.chars_map = table(root, 0, 0, end)}));
}

TEST(SentencePieceModel, RolesOutOfRangeAreRefused) {
  const auto message = [](auto&& set) {
    return error_of([&] {
      SentencePieceSpec spec;
      spec.model = SmallModel{}.bytes();
      set(spec);
      make_sentence_piece(std::move(spec), "small.model");
    });
  };
  EXPECT_THAT(message([](auto& s) { s.roles.bos = 9; }), HasSubstr("id 9 is outside of the 9 pieces"));
  EXPECT_THAT(message([](auto& s) { s.roles.pad = -1; }), HasSubstr("id -1"));
  EXPECT_THAT(message([](auto& s) { s.added.push_back({"<x>", 10}); }), HasSubstr("\"<x>\" has id 10"));
  EXPECT_THAT(message([](auto& s) { s.added = {{"<x>", 9}, {"<x>", 10}}; }), HasSubstr("twice"));
}

}  // namespace
}  // namespace morphvlm::sentence_piece_test
