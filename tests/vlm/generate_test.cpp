// Generation against transformers' generate, alone and inside OpenFlamingo (tests/golden/generate.py).
#include "morphvlm/vlm/generate.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/flamingo_case.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::generate_test {
namespace {

using testing::message_of;
using Rows = std::vector<std::vector<std::int64_t>>;
using Model = VLM<ClipViT, Perceiver, OpenLLaMA>;

const Json& golden() {
  static const Json json = read_json(testing::golden_path("generate.json"));
  return json;
}

GenerateConfig config_of(const Json& c) {
  GenerateConfig out;
  const auto take = [&](const char* key, auto& field) {
    if (c.contains(key)) field = c.at(key).get<std::remove_cvref_t<decltype(field)>>();
  };
  take("max_new_tokens", out.max_new_tokens);
  take("min_new_tokens", out.min_new_tokens);
  take("num_beams", out.num_beams);
  take("num_return_sequences", out.num_return_sequences);
  take("length_penalty", out.length_penalty);
  take("temperature", out.temperature);
  take("top_k", out.top_k);
  take("top_p", out.top_p);
  take("eos_token_id", out.other_eos_token_ids);
  if (!out.other_eos_token_ids.empty()) {
    out.eos_token_id = out.other_eos_token_ids.back();
    out.other_eos_token_ids.pop_back();
  }
  if (c.contains("early_stopping")) {
    const Json& stop = c.at("early_stopping");
    out.early_stopping = stop == true    ? EarlyStopping::first_full
                         : stop == false ? EarlyStopping::heuristic
                                         : EarlyStopping::never;
  }
  return out;
}

TextInput left_padded(const Rows& prompts) {
  std::size_t longest = 0;
  for (const auto& p : prompts) longest = std::max(longest, p.size());
  const auto rows = std::ssize(prompts), time = static_cast<std::int64_t>(longest);
  TextInput text{.ids = at::zeros({rows, time}, at::kLong),
                 .attention_mask = at::zeros({rows, time}, at::kLong)};
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto& p = prompts[static_cast<std::size_t>(r)];
    text.ids.select(0, r).slice(0, time - std::ssize(p)).copy_(at::tensor(p, at::kLong));
    text.attention_mask.select(0, r).slice(0, time - std::ssize(p)).fill_(1);
  }
  return text;
}

Rows until_end(const Generated& g) {
  Rows rows;
  for (std::int64_t r = 0; r < g.ids.size(0); ++r) {
    const auto length = g.lengths[r].item<std::int64_t>();
    const Tensor row = g.ids[r].slice(0, 0, length).contiguous();
    rows.emplace_back(row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + length);
    // What follows the end is padding.
    EXPECT_TRUE(g.ids[r].slice(0, length).eq(0).all().item<bool>());
  }
  return rows;
}

void expect_outcome(const Generated& found, const Json& expected) {
  EXPECT_EQ(until_end(found), expected.at("ids").get<Rows>());
  const auto scores = expected.at("scores").get<std::vector<double>>();
  EXPECT_EQ(found.scores.defined(), !scores.empty());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto score = found.scores[static_cast<std::int64_t>(i)].item<double>();
    EXPECT_NEAR(score, scores[i], 1e-4 * std::max(1.0, std::abs(scores[i])));
  }
}

// The language model alone: gated blocks before every third of two layers are none.
Model language_model(const std::string& weights) {
  typename Model::Config config{
      .vision = {.image_size = 8,
                 .patch_size = 4,
                 .hidden_size = 8,
                 .num_hidden_layers = 1,
                 .num_attention_heads = 1,
                 .intermediate_size = 8,
                 .projection_dim = 0},
      .perceiver = {.depth = 1, .heads = 1, .head_dim = 8, .latents = 2, .ff_mult = 1},
      .cross_attention = {.every = 3}};
  update_from_json(config.language, golden().at("language"), "language");
  Model model = Model::init(config, {at::kFloat, make_generator(1)});
  StateDict dict;
  for (const auto& entry : golden().at("parameters")) {
    const auto key = entry.at(0).get<std::string>();
    dict.emplace_back(
        key, testing::formula_parameter(weights + '.' + key, entry.at(1).get<std::vector<std::int64_t>>()));
  }
  load_state_dict(model.lang_encoder, dict, weights);
  at::NoGradGuard no_grad;
  model.lang_encoder.lm_head.weight.mul_(golden().at("head_scale").get<double>());
  return model;
}

TEST(Generate, IdsAndScoresOfTransformersUnderManySettings) {
  ASSERT_GE(golden().at("cases").size(), 90u);
  std::map<std::string, Model> models;
  for (const auto& c : golden().at("cases")) {
    const auto weights = c.at("weights").get<std::string>();
    if (!models.contains(weights)) models.emplace(weights, language_model(weights));
    SCOPED_TRACE(c.at("config").dump());
    const auto text = left_padded(c.at("prompts").get<Rows>());
    expect_outcome(generate(models.at(weights), text, {}, config_of(c.at("config"))), c);
  }
}

TEST(Generate, IdsAndScoresOfOpenFlamingo) {
  auto model = testing::load_flamingo<Model>(testing::open_golden("flamingo"));
  {
    at::NoGradGuard no_grad;
    model.lang_encoder.lm_head.weight.mul_(golden().at("flamingo_head_scale").get<double>());
  }
  const auto text = left_padded(golden().at("flamingo_prompts").get<Rows>());
  const Tensor latents = model.resample(model.encode_vision(testing::flamingo_pixels("generate_pixels", 3)));
  ASSERT_EQ(golden().at("flamingo_cases").size(), 10u);
  for (const auto& c : golden().at("flamingo_cases")) {
    SCOPED_TRACE(c.at("config").dump());
    expect_outcome(generate(model, text, latents, config_of(c.at("config"))), c);
  }
}

TEST(Sampling, DrawsFromWhatTransformersFiltersLeave) {
  ASSERT_EQ(golden().at("filters").size(), 14u);
  for (const auto& c : golden().at("filters")) {
    SCOPED_TRACE(c.at("config").dump());
    Tensor logits = testing::formula_input("generate_logits", {3, 23}).mul(4);
    if (const double q = c.at("quantum"); q > 0) logits = logits.div(q).round().mul(q);
    const auto config = config_of(c.at("config"));
    const Tensor found = at::softmax(warp_logits(hold_back_eos(logits, config, 2), config), -1);
    const auto expected = c.at("probabilities").get<std::vector<std::vector<double>>>();
    for (std::int64_t r = 0; r < 3; ++r) {
      for (std::int64_t t = 0; t < 23; ++t) {
        const double p = expected[static_cast<std::size_t>(r)][static_cast<std::size_t>(t)];
        EXPECT_NEAR(found[r][t].item<double>(), p, 1e-5 * p + 1e-12) << r << ' ' << t;
      }
    }
  }
}

TEST(Sampling, HoweverSmallTopPIsTheBestTokenStays) {
  const Tensor logits = testing::formula_input("generate_logits", {3, 23}).mul(4);
  const Tensor left = warp_logits(logits, {.top_p = 1e-12}).isfinite();
  EXPECT_TRUE(left.sum(-1).eq(1).all().item<bool>()) << left;
  EXPECT_TRUE(left.to(at::kLong).argmax(-1).equal(logits.argmax(-1)));
}

// 20,000 draws against the distribution, by chi-square with 4 degrees of freedom: 18.5 is passed once in a
// thousand.
TEST(Sampling, DrawsFollowTheDistribution) {
  const std::vector<double> p{0.4, 0.3, 0.15, 0.1, 0.05};
  const Tensor logits = at::tensor(p, at::kDouble).log().unsqueeze(0).expand({200, -1});
  GenerateConfig config{.do_sample = true, .seed = 11};
  Tensor counts = at::zeros({5}, at::kDouble);
  for (std::int64_t step = 0; step < 100; ++step) {
    const Tensor drawn = draw(logits, config, step);
    for (std::int64_t t = 0; t < 5; ++t) counts[t] += drawn.eq(t).sum().item<double>();
  }
  double chi = 0;
  for (std::int64_t t = 0; t < 5; ++t) {
    const double expected = 20000 * p[static_cast<std::size_t>(t)];
    chi += std::pow(counts[t].item<double>() - expected, 2) / expected;
  }
  EXPECT_LT(chi, 18.5);
  EXPECT_GT(chi, 0.01);  // nor is it too good to be random
}

TEST(Sampling, ARowDependsOnItsNumberAndTheSeedAlone) {
  const auto model = language_model("generate.0");
  const auto config = [](std::int64_t seed) {
    return GenerateConfig{.max_new_tokens = 8, .do_sample = true, .temperature = 1.5, .seed = seed};
  };
  const Rows prompts{{3, 4, 5}, {6, 7}, {8}};
  const auto all = until_end(generate(model, left_padded(prompts), {}, config(1)));
  EXPECT_EQ(until_end(generate(model, left_padded(prompts), {}, config(1))), all);
  EXPECT_EQ(until_end(generate(model, left_padded({prompts[0]}), {}, config(1)))[0], all[0]);
  EXPECT_NE(until_end(generate(model, left_padded(prompts), {}, config(2))), all);
  // Another row alone, by its number.
  auto third = config(1);
  third.streams = {2};
  EXPECT_EQ(until_end(generate(model, left_padded({prompts[2]}), {}, third))[0], all[2]);
  third.streams = {2, 3};
  EXPECT_EQ(message_of([&] { generate(model, left_padded({prompts[2]}), {}, third); }),
            "generate: streams: expected 1 numbers, found 2");
}

TEST(Sampling, FromLogitsThatAreNoNumbersIsAnError) {
  const Tensor logits = at::full({1, 5}, std::nan(""), at::kFloat);
  EXPECT_EQ(message_of([&] { draw(logits, {.do_sample = true}, 0); }),
            "generate: the logits are NaN, or forbid every token");
}

// Against whole passes without a cache.
TEST(Generate, TextReadWithoutGatedBlocksIsContinuedWithoutThem) {
  using Tiny = testing::TinyVlm<NoAdapter>;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const auto model = testing::tiny_model<Tiny>(seed);
    const Tensor ids = at::tensor({3, 9, 14, 27, 31, 2, 8, 40}, at::kLong).view({2, 4});
    const TextInput text{.ids = ids, .without_gated_blocks = true};
    const Tensor found = generate(model, text, {}, {.max_new_tokens = 6}).ids;
    Tensor all = ids;
    for (int i = 0; i < 6; ++i) {
      const Tensor h = model.hidden({.ids = all, .without_gated_blocks = true}, {});
      all = at::cat({all, model.logits(h).select(1, all.size(1) - 1).argmax(-1, true)}, 1);
    }
    EXPECT_TRUE(found.equal(all.slice(1, 4))) << seed;
    EXPECT_TRUE(
        generate(model, text, {}, {.max_new_tokens = 1, .num_beams = 2}).ids.equal(found.slice(1, 0, 1)));
  }
}

TEST(Generate, SettingsThatMakeNoSenseAreRefusedByName) {
  const auto refused = [](const GenerateConfig& c) {
    return message_of([&] { check_generate_config(c, 10); });
  };
  EXPECT_EQ(refused({.max_new_tokens = 0}), "generate: max_new_tokens: expected at least 1, found 0");
  EXPECT_EQ(refused({.max_new_tokens = 2, .min_new_tokens = 3}),
            "generate: min_new_tokens: expected 0 to max_new_tokens (2), found 3");
  EXPECT_EQ(refused({.num_beams = 2, .num_return_sequences = 3}),
            "generate: num_return_sequences: expected 1 to num_beams (2), found 3");
  EXPECT_EQ(refused({.num_beams = 2, .do_sample = true}),
            "generate: do_sample goes with num_beams 1, found 2");
  EXPECT_EQ(refused({.temperature = 0}), "generate: temperature: expected more than 0, found 0");
  EXPECT_EQ(refused({.top_p = 1.5}), "generate: top_p: expected more than 0 and at most 1, found 1.5");
  EXPECT_EQ(refused({.eos_token_id = 10}), "generate: eos token 10 is not in a vocabulary of 10");
  EXPECT_EQ(refused({.num_beams = 0}),
            "generate: num_beams: 0 beams and 0 eos tokens do not go with a vocabulary of 10");
  EXPECT_NO_THROW(check_generate_config({}, 10));
}

}  // namespace
}  // namespace morphvlm::generate_test
