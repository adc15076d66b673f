// What the stages of the mini experiment share: data, tokenizer, the language model's weights, features.
#pragma once

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "experiments/mini/aokvqa_finetune.hpp"
#include "morphvlm/data.hpp"
#include "morphvlm/formats.hpp"
#include "morphvlm/image.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/model/vocabulary.hpp"
#include "morphvlm/text.hpp"

namespace morphvlm::experiments {

/// The language model as the GGUF file has it, with its tokenizer.
struct LanguageFile {
  std::filesystem::path path = {};
  LlamaConfig config = {};
  GgufFile file = {};
  ByteLevelBpe tokenizer = {};
};

/// Opens the file and gives its tokenizer the media token, which gets the id after the vocabulary.
inline LanguageFile open_language(const std::filesystem::path& path) {
  LanguageFile out{.path = path, .file = open_gguf(path)};
  update_from_json(out.config, gguf_llama_config(out.file), path.string());
  out.tokenizer = make_byte_level_bpe(gguf_bpe(out.file));
  add_token(out.tokenizer, std::string(kImageToken));
  return out;
}

/// bf16 only where the CPU has instructions for it: elsewhere it is several times slower than fp32.
inline at::ScalarType base_dtype(BaseDtype choice) {
#if defined(__x86_64__)
  const bool fast = __builtin_cpu_supports("avx512bf16");
#else
  const bool fast = false;
#endif
  return choice == BaseDtype::bf16 || (choice == BaseDtype::automatic && fast) ? at::kBFloat16 : at::kFloat;
}

/// The tokenizer and prompt in the form that evaluation takes. The prompt ends with the token that ends an
/// answer.
inline TextCodec text_codec(const LanguageFile& language, const std::string& prompt) {
  const auto* bpe = &language.tokenizer;
  const auto end = fill_prompt(prompt, "", "").answer;
  const TokenIds last = encode(*bpe, end);
  expect(!last.empty(), "prompt \"", prompt, "\": expected an end token after {answer}");
  return {.encode = [bpe](std::string_view text) { return encode(*bpe, text); },
          .decode = [bpe](const TokenIds& ids) { return decode(*bpe, ids, true); },
          .prompt = prompt,
          .media_token = token_id(*bpe, std::string(kImageToken)).value(),
          .eoc_token = last.back(),
          .pad_token = last.back()};
}

/// A VLM with the language model's real weights, everything else random by `seed`, all frozen.
template <AdapterPolicy P>
Model<P> make_model(const AokvqaFinetune& e, const LanguageFile& language, const TextCodec& codec) {
  typename Model<P>::Config config{.vision = e.vision.model,
                                   .perceiver = e.perceiver,
                                   .language = language.config,
                                   .cross_attention = e.cross_attention};
  if constexpr (!std::is_same_v<P, NoAdapter>) config.adapter = e.adapter;
  config.media_token_id = codec.media_token;
  config.eoc_token_id = codec.eoc_token;
  const auto dtype = base_dtype(e.base);
  const auto seed = split_mix(static_cast<std::uint64_t>(e.seed));
  auto model = Model<P>::init(config, {at::TensorOptions(dtype), make_generator(seed)});
  // The tower is small and its features are kept: no reason to round them.
  model.vision_encoder = ClipVitModule::init(config.vision, {at::kFloat, make_generator(seed)});
  load_base(model.lang_encoder, read_gguf_llama(language.file, dtype), language.path.string());
  append_token_row(model.lang_encoder, encode(language.tokenizer, ":").front());
  model.config.language = model.lang_encoder.config;
  freeze(model);
  return model;
}

/// Pictures as the tower takes them, [n, 3, S, S]; row i is the picture with image id i.
inline Tensor load_pixels(const VqaDataset& data, const ClipPreprocess& preprocess) {
  std::map<std::int64_t, std::filesystem::path> paths;
  for (const auto& e : data.examples) paths.emplace(e.image_id, e.image);
  expect(!paths.empty() && paths.rbegin()->first + 1 == std::ssize(paths), data.name,
         ": image ids are not 0 .. n-1, each with a question");
  std::vector<Tensor> pixels;
  for (const auto& [id, path] : paths) pixels.push_back(clip_pixels(read_image(path), preprocess));
  return at::stack(pixels);
}

/// Batches of a data set: which rows batch number `index` has.
struct QuestionSampler {
  const VqaDataset* data = nullptr;
  std::int64_t questions = 0, images = 0;
  std::uint64_t seed = 0;
  std::map<std::string, std::vector<std::int64_t>> rows = {};

  static QuestionSampler over(const VqaDataset& data, const FlamingoStage& stage, std::uint64_t seed) {
    QuestionSampler sampler{&data, stage.questions, stage.images, seed};
    for (std::size_t i = 0; i < data.examples.size(); ++i) {
      sampler.rows[data.examples[i].question].push_back(static_cast<std::int64_t>(i));
    }
    return sampler;
  }

  /// `questions` draws of a question (as often as it stands in the data), for each `images` of its rows.
  std::vector<std::int64_t> batch(std::int64_t index) const {
    CounterRng rng{split_mix(seed) ^ split_mix(static_cast<std::uint64_t>(index) + 1)};
    std::vector<std::int64_t> out;
    for (std::int64_t q = 0; q < questions; ++q) {
      const auto& example = data->examples[rng.below(data->examples.size())];
      std::vector<std::int64_t> pool = rows.at(example.question);
      const auto take = std::min(static_cast<std::size_t>(images), pool.size());
      for (std::size_t i = 0; i < take; ++i) {
        std::swap(pool[i], pool[i + rng.below(pool.size() - i)]);
        out.push_back(pool[i]);
      }
    }
    return out;
  }
};

}  // namespace morphvlm::experiments
