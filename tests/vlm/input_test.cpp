// Ids and masks that do not fit are named, in a whole model and in each language model alone.
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/vlm/generate.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_languages.hpp"

namespace morphvlm::input_test {
namespace {

using testing::message_of;
using Model = testing::TinyVlm<NoAdapter>;

Tensor ids_with(std::int64_t id) {
  Tensor ids = at::full({2, 5}, 3, at::kLong);
  ids[1][2] = id;
  return ids;
}

const std::string kBeyond =
    "embedding: id 50 at row 1, column 2: expected 0 to 49; ids of another vocabulary "
    "than the model's?";

struct ModelInput : ::testing::Test {
  Model model = testing::tiny_model<Model>(1);

  std::string error(const TextInput& text) const {
    return message_of([&] { model.hidden(text, {}); });
  }
};

TEST_F(ModelInput, AnIdBeyondTheVocabularyIsNamedWithItsPlace) {
  EXPECT_EQ(error({.ids = ids_with(50)}), kBeyond);
  EXPECT_EQ(message_of([&] { model.ungated_hidden({.ids = ids_with(50)}); }), kBeyond);
  EXPECT_EQ(message_of([&] { generate(model, {.ids = ids_with(50)}, {}, {.max_new_tokens = 2}); }), kBeyond);
  EXPECT_THAT(error({.ids = ids_with(-100)}), ::testing::HasSubstr("id -100 at row 1, column 2"));
  EXPECT_EQ(error({.ids = ids_with(49)}), "(nothing was thrown)");
  // A view whose rows do not lie one behind the other.
  EXPECT_THAT(error({.ids = ids_with(50).t()}), ::testing::HasSubstr("id 50 at row 2, column 1"));
}

TEST_F(ModelInput, AMaskOfAnotherShapeIsNamed) {
  const auto masked = [&](at::IntArrayRef shape) {
    return error({.ids = ids_with(4), .attention_mask = at::ones(shape, at::kLong)});
  };
  const std::string start =
      "attention mask: expected [2, 5], a column for each token, those in the cache included, found ";
  EXPECT_EQ(masked({2, 4}), start + "[2, 4]");
  EXPECT_EQ(masked({2, 6}), start + "[2, 6]");
  EXPECT_EQ(masked({1, 5}), start + "[1, 5]");
  EXPECT_EQ(masked({5}), start + "[5]");
  EXPECT_EQ(masked({2, 5}), "(nothing was thrown)");
  EXPECT_EQ(error({.ids = at::ones({5}, at::kLong)}), "text: expected ids [batch, time], found [5]");
}

TEST_F(ModelInput, AMaskThatLeavesOutTheCacheIsNamed) {
  at::NoGradGuard no_grad;
  const Tensor ids = ids_with(4);
  for (const auto reading : {Reading::growing, Reading::fixed}) {
    VlmCache cache;
    model.hidden({.ids = ids}, {}, &cache);
    TokenReader<Model> reader(model, cache, at::ones({2, 4}, at::kLong), 3, reading);
    const std::string columns = reading == Reading::growing ? "[2, 6]" : "[2, 8]";
    EXPECT_THAT(message_of([&] { reader.read(ids.slice(1, 0, 1)); }),
                ::testing::HasSubstr("attention mask: expected " + columns));
  }
}

TEST_F(ModelInput, ATokenThatTheHeadHasNoRowForIsNamed) {
  const Tensor hidden = model.hidden({.ids = ids_with(4)}, {});
  const Tensor tokens = at::full({3}, 50, at::kLong);
  EXPECT_THAT(message_of([&] { model.logits(hidden, tokens); }),
              ::testing::HasSubstr("logits: id 50 at row 0, column 0: expected 0 to 49"));
}

template <class L>
struct LanguageInput : ::testing::Test {};
using Languages = ::testing::Types<OpenLLaMA, MPT, GPTNeoX, BioGPT>;
TYPED_TEST_SUITE(LanguageInput, Languages);

TYPED_TEST(LanguageInput, IdsAndMasksThatDoNotFitAreNamed) {
  using Module = typename TypeParam::template Module<NoAdapter>;
  const auto model = Module::init(testing::tiny_language<TypeParam>(), {at::kFloat, make_generator(1)});
  const auto embed = [&](const Tensor& ids, const Tensor& mask) {
    return message_of([&] { model.embed(ids, model.context(ids, mask, nullptr)); });
  };
  EXPECT_EQ(embed(ids_with(50), {}), kBeyond);
  EXPECT_THAT(embed(ids_with(4), at::ones({2, 3}, at::kLong)),
              ::testing::HasSubstr("attention mask: expected [2, 5]"));
  EXPECT_EQ(embed(ids_with(49), at::ones({2, 5}, at::kLong)), "(nothing was thrown)");
}

}  // namespace
}  // namespace morphvlm::input_test
