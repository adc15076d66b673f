// Folders of tokenizers against transformers 5 (tests/golden/tokenizers_5.py): what tokenizer.json,
// tokenizer.model and tokenizer_config.json together make of a text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/text/data_text.hpp"
#include "morphvlm/text/load_tokenizer.hpp"
#include "tests/data/data_support.hpp"

namespace morphvlm::tokenizers_5_test {
namespace {

using testing::golden_file;
using testing::write_file_text;
using TokenIds = std::vector<std::int64_t>;

const Json& reference() {
  static const Json json = read_json(golden_file("tokenizers_5.json"));
  return json;
}

void merge(Json& root, const Json& patch) {
  for (const auto& [key, value] : patch.items()) {
    if (key == "model" && value.is_object())
      merge(root[key], value);
    else
      root[key] = value;
  }
}

/// The folder that the case was read from.
std::filesystem::path folder_of(const Json& row) {
  const auto folder = testing::scratch_folder();
  write_file_text(folder / "tokenizer_config.json", row.at("config").dump());
  if (row.contains("model"))
    write_file_text(folder / "tokenizer.model",
                    read_file_bytes(golden_file(row.at("model").get<std::string>())));
  if (row.contains("base")) {
    Json root = read_json(golden_file(row.at("base").get<std::string>()));
    if (row.contains("patch")) merge(root, row.at("patch"));
    write_file_text(folder / "tokenizer.json", root.dump());
  }
  return folder;
}

std::optional<std::int64_t> id_or_none(const Json& id) {
  return id.is_null() ? std::nullopt : std::optional(id.get<std::int64_t>());
}

struct Tokenizers5 : ::testing::TestWithParam<std::size_t> {};

TEST_P(Tokenizers5, IdsAndTextsAreTheReferences) {
  const Json& row = reference().at(GetParam());
  SCOPED_TRACE(row.at("name").get<std::string>());
  Tokenizer tokenizer = load_tokenizer(folder_of(row));
  EXPECT_EQ(vocab_size(tokenizer), row.at("size").get<std::int64_t>());
  EXPECT_EQ(encode_sequence(tokenizer, "a"), row.at("sequence").get<TokenIds>());
  const TokenRoles roles = token_roles(tokenizer);
  EXPECT_EQ(roles.bos, id_or_none(row.at("roles").at(0)));
  EXPECT_EQ(roles.eos, id_or_none(row.at("roles").at(1)));
  EXPECT_EQ(roles.pad, id_or_none(row.at("roles").at(2)));
  add_tokens(tokenizer, {"<|endofchunk|>", "<image>"});
  EXPECT_EQ(decode(tokenizer, row.at("strange").at(0).get<TokenIds>()),
            row.at("strange").at(1).get<std::string>());
  const DataText plain(tokenizer, SpecialInData::text);
  for (const Json& c : row.at("cases")) {
    SCOPED_TRACE(c.dump());
    const auto text = c.at(0).get<std::string>();
    const auto ids = c.at(1).get<TokenIds>();
    EXPECT_EQ(encode(tokenizer, text), ids);
    EXPECT_EQ(encode(tokenizer, plain(text, "")), c.at(c.size() > 4 ? 4 : 1).get<TokenIds>());
    EXPECT_EQ(decode(tokenizer, ids), c.at(c.size() > 2 ? 2 : 0).get<std::string>());
    EXPECT_EQ(decode(tokenizer, ids, true), c.at(c.size() > 2 ? 3 : 0).get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, Tokenizers5, ::testing::Range<std::size_t>(0, 29));

TEST(Tokenizers5, AreAllTried) { EXPECT_EQ(reference().size(), 29u); }

}  // namespace
}  // namespace morphvlm::tokenizers_5_test
