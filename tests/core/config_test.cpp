#include "morphvlm/core/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message.hpp"

namespace morphvlm {

enum class Pooling { first, mean };
template <>
inline constexpr std::array<std::pair<Pooling, std::string_view>, 2> enum_names<Pooling>{
    {{Pooling::first, "first"}, {Pooling::mean, "mean"}}};

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;

struct Constant {
  static constexpr std::string_view name = "constant";
};
struct Cosine {
  static constexpr std::string_view name = "cosine";
  std::int64_t warmup = 10;
  double floor = 0;
};

struct Train {
  double lr = 1e-3;
  std::int64_t steps = 600;
  std::uint8_t workers = 2;
  std::variant<Constant, Cosine> schedule = {};
  bool shuffle = false;
};

struct Layer {
  std::int64_t dim = 0;
  Pooling pooling = Pooling::first;
};

struct Experiment {
  Train train = {};
  std::vector<Layer> layers = {};
  std::optional<std::int64_t> head_dim = {};
  std::filesystem::path out = "runs";
  std::map<std::string, double> weights = {};
  std::string note = "";
  std::uint64_t seed = 1;
};

constexpr const char* kDefaults =
    R"({"train":{"lr":0.001,"steps":600,"workers":2,"schedule":{"constant":{}},"shuffle":false},)"
    R"("layers":[],"head_dim":null,"out":"runs","weights":{},"note":"","seed":1})";
constexpr const char* kFull =
    R"({"train":{"lr":0.5,"steps":-3,"workers":255,"schedule":{"cosine":{"warmup":7,"floor":0.25}},"shuffle":true},)"
    R"("layers":[{"dim":3,"pooling":"mean"},{"dim":4,"pooling":"first"}],"head_dim":100,"out":"/tmp/a b",)"
    R"("weights":{"vqa":0.5,"text":2.0},"note":"é \"q\"","seed":18446744073709551615})";

Experiment parsed(const std::string& text) { return from_json<Experiment>(parse_json(text, "text"), ""); }
std::string error_of(const std::string& text) {
  return message_of([&] { from_json<Experiment>(parse_json(text, "text"), ""); });
}

TEST(ConfigToJson, FieldsInTheirOrderUnderTheirNames) { EXPECT_EQ(to_json(Experiment{}).dump(), kDefaults); }

TEST(ConfigFromJson, EveryKindOfFieldThereAndBack) {
  const Experiment e = parsed(kFull);
  EXPECT_EQ(e.train.lr, 0.5);
  EXPECT_EQ(e.train.steps, -3);
  EXPECT_EQ(e.train.workers, 255);
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).warmup, 7);
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).floor, 0.25);
  EXPECT_TRUE(e.train.shuffle);
  ASSERT_EQ(e.layers.size(), 2U);
  EXPECT_EQ(e.layers[1].dim, 4);
  EXPECT_EQ(e.layers[0].pooling, Pooling::mean);
  EXPECT_EQ(e.head_dim, 100);
  EXPECT_EQ(e.out, "/tmp/a b");
  EXPECT_THAT(e.weights, ElementsAre(std::pair("text", 2.0), std::pair("vqa", 0.5)));
  EXPECT_EQ(e.note, "é \"q\"");
  EXPECT_EQ(e.seed, UINT64_MAX);
  EXPECT_EQ(to_json(parsed(to_json(e).dump())), to_json(e));
  EXPECT_EQ(to_json(e),
            parse_json(R"({"train":{"lr":0.5,"steps":-3,"workers":255,"schedule":{"cosine":)"
                       R"({"warmup":7,"floor":0.25}},"shuffle":true},"layers":[{"dim":3,"pooling":)"
                       R"("mean"},{"dim":4,"pooling":"first"}],"head_dim":100,"out":"/tmp/a b",)"
                       R"("weights":{"text":2.0,"vqa":0.5},"note":"é \"q\"",)"
                       R"("seed":18446744073709551615})",
                       "text"));
}

TEST(ConfigFromJson, WhatIsLeftOutKeepsItsDefaultAndNullResets) {
  EXPECT_EQ(to_json(parsed("{}")).dump(), kDefaults);
  Experiment e{.head_dim = 5};
  update_from_json(e, parse_json(R"({"train": {"steps": 7}})", "text"), "");
  EXPECT_EQ(e.train.steps, 7);
  EXPECT_EQ(e.train.lr, 1e-3);
  EXPECT_EQ(e.head_dim, 5);
  update_from_json(e, parse_json(R"({"head_dim": null})", "text"), "");
  EXPECT_FALSE(e.head_dim.has_value());
}

TEST(ConfigFromJson, AVariantMayBeNamedAloneAndKeepsItsFieldsWhereTheKindIsTheSame) {
  Experiment e = parsed(R"({"train": {"schedule": "cosine"}})");
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).warmup, 10);
  std::get<Cosine>(e.train.schedule).floor = 0.5;
  update_from_json(e, parse_json(R"({"train": {"schedule": {"cosine": {"warmup": 1}}}})", "text"), "");
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).floor, 0.5);
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).warmup, 1);
}

TEST(ConfigFromJson, AnUnknownKeyIsNamedWithItsPathAndWithWhatIsKnown) {
  EXPECT_EQ(error_of(R"({"train": {"lrx": 1}})"),
            "train.lrx: unknown key; known here: lr, steps, workers, schedule, shuffle");
  EXPECT_THAT(error_of(R"({"trian": {}})"), HasSubstr("trian: unknown key; known here: train, layers"));
  EXPECT_THAT(error_of(R"({"layers": [{"dim": 1}, {"dmi": 2}]})"), HasSubstr("layers.1.dmi: unknown key"));
  EXPECT_THAT(error_of(R"({"train": {"schedule": {"cosine": {"warmpu": 1}}}})"),
              HasSubstr("train.schedule.cosine.warmpu: unknown key"));
  EXPECT_EQ(error_of(R"({"train": {"schedule": {"constant": {"warmup": 1}}}})"),
            "train.schedule.constant.warmup: unknown key; known here: none");
  EXPECT_EQ(error_of(R"({"train": {"schedule": "step"}})"),
            "train.schedule: unknown kind \"step\"; known: constant, cosine");
  EXPECT_THAT(message_of([] { from_json<Train>(parse_json(R"({"lrx": 1})", "text"), "config.json"); }),
              HasSubstr("config.json.lrx: unknown key"));
}

TEST(ConfigFromJson, AWrongTypeIsNamedWithItsPath) {
  EXPECT_EQ(error_of(R"({"train": {"lr": "fast"}})"), "train.lr: expected a number, found \"fast\"");
  EXPECT_EQ(error_of(R"({"train": {"steps": 1.5}})"), "train.steps: expected an integer, found 1.5");
  EXPECT_EQ(error_of(R"({"train": {"steps": true}})"), "train.steps: expected an integer, found true");
  EXPECT_EQ(error_of(R"({"train": {"shuffle": 1}})"), "train.shuffle: expected true or false, found 1");
  EXPECT_EQ(error_of(R"({"out": 3})"), "out: expected a string, found 3");
  EXPECT_EQ(error_of(R"({"train": 3})"), "train: expected an object, found 3");
  EXPECT_EQ(error_of(R"({"layers": {}})"), "layers: expected a list, found {}");
  EXPECT_EQ(error_of(R"({"weights": {"vqa": []}})"), "weights.vqa: expected a number, found []");
  EXPECT_EQ(error_of(R"({"layers": [{"pooling": "max"}]})"),
            "layers.0.pooling: expected one of first, mean, found \"max\"");
  EXPECT_THAT(error_of(R"({"train": {"schedule": {"cosine": {}, "constant": {}}}})"),
              HasSubstr("train.schedule: expected {\"<kind>\": {...}}"));
  EXPECT_EQ(error_of("[]"), "config: expected an object, found []");
}

TEST(ConfigFromJson, AnIntegerThatDoesNotFitIsRefused) {
  for (const char* workers : {"256", "-1", "18446744073709551615"}) {
    EXPECT_EQ(error_of(R"({"train": {"workers": )" + std::string(workers) + "}}"),
              "train.workers: " + std::string(workers) + " does not fit the field's type");
  }
  EXPECT_THAT(error_of(R"({"train": {"steps": 9223372036854775808}})"), HasSubstr("does not fit"));
  EXPECT_THAT(error_of(R"({"seed": -1})"), HasSubstr("does not fit"));
}

std::vector<std::string> apply(Experiment& e, std::vector<const char*> arguments) {
  return apply_flags(e, std::span<const char* const>(arguments));
}

TEST(ConfigFlags, SetFieldsByPath) {
  Experiment e;
  const auto rest = apply(e, {"train", "--train.lr=1e-4", "--train.steps=12", "--train.shuffle", "a.png",
                              "--head_dim=64", "--note=two words", "--seed=18446744073709551615"});
  EXPECT_THAT(rest, ElementsAre("train", "a.png"));
  EXPECT_EQ(e.train.lr, 1e-4);
  EXPECT_EQ(e.train.steps, 12);
  EXPECT_TRUE(e.train.shuffle);
  EXPECT_EQ(e.head_dim, 64);
  EXPECT_EQ(e.note, "two words");
  EXPECT_EQ(e.seed, UINT64_MAX);
  EXPECT_THAT(apply(e, {"--train.shuffle=false", "--head_dim=null"}), IsEmpty());
  EXPECT_FALSE(e.train.shuffle);
  EXPECT_FALSE(e.head_dim.has_value());
}

TEST(ConfigFlags, TextThatLooksLikeANumberStaysTextWhereTextIsWanted) {
  Experiment e;
  apply(e, {"--out=123", "--note=true"});
  EXPECT_EQ(e.out, "123");
  EXPECT_EQ(e.note, "true");
  apply(e, {"--note=", "--out=a=b"});
  EXPECT_EQ(e.note, "");
  EXPECT_EQ(e.out, "a=b");
}

TEST(ConfigFlags, ListsMapsAndVariants) {
  Experiment e;
  apply(e, {R"(--layers=[{"dim": 3}, {"pooling": "mean"}])", "--weights.vqa=0.25", "--train.schedule=cosine",
            "--train.schedule.cosine.warmup=3"});
  EXPECT_EQ(e.layers.at(0).dim, 3);
  EXPECT_EQ(e.layers.at(1).pooling, Pooling::mean);
  EXPECT_EQ(e.weights.at("vqa"), 0.25);
  EXPECT_EQ(std::get<Cosine>(e.train.schedule).warmup, 3);
}

TEST(ConfigFlags, AWrongFlagIsNamedAndChangesNothing) {
  Experiment e;
  EXPECT_THAT(message_of([&] { apply(e, {"--train.lrx=1"}); }), HasSubstr("train.lrx: unknown key"));
  EXPECT_THAT(message_of([&] { apply(e, {"--train.lrx"}); }), HasSubstr("train.lrx: unknown key"));
  EXPECT_THAT(message_of([&] { apply(e, {"--lr=1"}); }), HasSubstr("lr: unknown key; known here: train"));
  EXPECT_EQ(message_of([&] { apply(e, {"--train.lr=fast"}); }),
            "--train.lr: expected a number, found \"fast\"");
  EXPECT_EQ(message_of([&] { apply(e, {"--train.steps=1.5"}); }),
            "--train.steps: expected an integer, found 1.5");
  EXPECT_EQ(message_of([&] { apply(e, {"--train.steps"}); }),
            "--train.steps: expected an integer, found true");
  EXPECT_EQ(message_of([&] { apply(e, {"--train.lr.x=1"}); }),
            "train.lr: expected a number, found {\"x\":1}");
  EXPECT_THAT(message_of([&] { apply(e, {"--layers=[{\"dim\":1},{\"dmi\":2}]"}); }),
              HasSubstr("layers.1.dmi"));
  EXPECT_EQ(to_json(e).dump(), kDefaults);
}

}  // namespace
}  // namespace morphvlm
