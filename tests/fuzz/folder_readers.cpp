// Readers that take a folder: the input becomes one file of it, beside others that are sound.
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <stdlib.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "morphvlm/data.hpp"
#include "morphvlm/formats.hpp"
#include "morphvlm/image.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/text.hpp"
#include "morphvlm/train/run_state.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/fuzz/reader.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::fuzz {
namespace {

namespace fs = std::filesystem;

// In memory where there is such a place, since a disk would be written thousands of times a second.
struct Scratch {
  Path path;

  Scratch() {
    const Path memory = "/dev/shm";
    const Path parent = fs::is_directory(memory) ? memory : fs::temp_directory_path();
    std::string name = (parent / "morphvlm-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

// The folder of this process: it reads one kind of file, so there is no second one to disturb.
const Path& scratch() {
  static const Scratch folder;
  return folder.path;
}

void put(const Path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) std::abort();
}

Path source(std::string_view name) { return Path(MORPHVLM_SOURCE_DIR) / name; }

// --- model folders -------------------------------------------------------------------------------------

using Model = testing::TinyVlm<NoAdapter>;
using Adapted = testing::TinyVlm<LoRA<Attn>>;

const Path& model_folder() {
  static const Path folder = [] {
    fs::copy(source("tests/golden/model_dir"), scratch() / "model", fs::copy_options::recursive);
    return scratch() / "model";
  }();
  return folder;
}

Model load_model() {
  const auto opened = open_model_directory(model_folder());
  WeightSources sources;
  return load_model_directory<Model>(opened, model_directory_config<Model>(opened), sources);
}

// The golden folder's tower under transformers' names.
Path transformers_tower() {
  const Path folder = model_folder() / "vision";
  const StateDict tower = state_dict(load_model().vision_encoder);
  fs::remove_all(folder);
  save_hf_directory(folder, Json::object(), vit_to_hf(tower, HfVit::clip));
  return folder;
}

void read_model_file(const char* name, std::string_view text) {
  put(model_folder() / name, text);
  touch(state_dict(load_model()));
}

void read_transformers_tower(const Input& in) {
  static const Path folder = transformers_tower();
  put(folder / "config.json", in.text);
  touch(state_dict(load_model()));
}

void read_shard_index(const Input& in) {
  static const Path folder = [] {
    const StateDict tensors{{"a", at::arange(3)}, {"b", at::arange(5)}};
    save_hf_directory(scratch() / "shards", Json::object(), tensors, 24);  // one each
    return scratch() / "shards";
  }();
  put(folder / "model.safetensors.index.json", in.text);
  touch(load_hf_weights(folder));
}

// --- adapters ------------------------------------------------------------------------------------------

Adapted adapted_model() {
  auto model = testing::tiny_model<Adapted>(1);
  set_trainable_parts(model, {.adapters = true});
  return model;
}

void read_peft_folder(const Input& in) {
  static Adapted model = adapted_model();
  static const Path folder = [] {
    save_peft(model, scratch() / "peft");
    return scratch() / "peft";
  }();
  put(folder / kPeftConfig, in.text);
  load_peft(model, folder);
}

void read_adapter_folder(const Input& in) {
  static Adapted model = adapted_model();
  static const Path folder = [] {
    save_adapter(model, scratch() / "adapter");
    return scratch() / "adapter";
  }();
  put(folder / kAdapterConfig, in.text);
  load_adapter(model, folder);
}

// --- checkpoints of a run ------------------------------------------------------------------------------

const Path& checkpoint() {
  static const Path folder = [] {
    save_checkpoint(scratch() / "run", {.step = 1, .score = 0.5, .tensors = {{"w", at::arange(5)}}});
    return scratch() / "run/step-00000001";
  }();
  return folder;
}

void read_checkpoint() {
  const auto found = find_checkpoint(checkpoint().parent_path());
  if (found.newest) touch(found.newest->tensors);
}

// Under a marker that vouches for it: else no byte of it would be looked at.
void read_run_state(const Input& in) {
  const Path state = checkpoint() / "state.json", tensors = checkpoint() / "tensors.safetensors";
  put(state, in.text);
  const Json sums{{"state.json", morphvlm::detail::file_checksum(state)},
                  {"tensors.safetensors", morphvlm::detail::file_checksum(tensors)}};
  put(checkpoint() / "complete.json", sums.dump());
  read_checkpoint();
}

void read_run_marker(const Input& in) {
  put(checkpoint() / "complete.json", in.text);
  read_checkpoint();
}

// The tensors of a checkpoint, put back into the run that they claim to be of.
void read_run_tensors(const Input& in) {
  static const Json config{{"steps", 3}};
  auto part = Linear<>::init(2, 3, true, {at::kFloat, make_generator(1)});
  set_trainable(part, "*", true);
  RunState run{.optimizer = AdamW::over(part, {}), .generators = {make_generator(2)}};
  const RunCheckpoint checkpoint{
      .step = 1,
      .state = {{"config", config}, {"moved", 1}, {"skipped", 0}, {"silent", Json::array()}},
      .tensors = load_safetensors(in.path)};
  restore(run, checkpoint, config, "run");
}

// --- tokenizers ----------------------------------------------------------------------------------------

constexpr const char *kGpt2 = "GPT2Tokenizer", *kBioGpt = "BioGptTokenizer";

// Each class of tokenizer finds its files here.
const Path& tokenizer_folder() {
  static const Path folder = [] {
    const Path path = scratch() / "tokenizer";
    put(path / "vocab.json", R"({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6, "Ġ": 7,
                                 "b</w>": 8, "ab</w>": 9})");
    put(path / "merges.txt", "a b\na b</w>\n");
    fs::copy(source("tests/fuzz/seeds/sentence_piece/small.model"), path / "tokenizer.model");
    return path;
  }();
  return folder;
}

void read_tokenizer_file(const char* name, std::string_view text) {
  put(tokenizer_folder() / name, text);
  const Tokenizer tokenizer = load_tokenizer(tokenizer_folder());
  decode(tokenizer, encode_sequence(tokenizer, "ab a <pad> b"));
}

// What a class of tokenizer does with the file.
void read_beside_config(const char* type, const char* name, std::string_view text) {
  static const bool ready = [&] {
    put(tokenizer_folder() / "tokenizer_config.json",
        Json{{"tokenizer_class", type}, {"legacy", true}}.dump());
    return true;
  }();
  if (ready) read_tokenizer_file(name, text);
}

// --- pictures and questions ----------------------------------------------------------------------------

void read_pixel_steps(const char* name, std::string_view text) {
  constexpr std::int64_t kQuick = 256;
  put(scratch() / name, text);
  const auto steps = read_preprocess(scratch(), {});
  static const Image picture{at::zeros({5, 7, 3}, at::kByte)};
  if (steps.size < kQuick && steps.resize < kQuick) clip_pixels(picture, steps);
}

void read_easy_questions(const Input& in) {
  static const Path folder = [] {
    put(scratch() / "answers.txt", "yes\nno\nred\n");
    for (const char* name : {"0.png", "1.png", "2.png"}) put(scratch() / "test/images" / name, "");
    return scratch();
  }();
  put(folder / "test/questions.json", in.text);
  read_easy_vqa(folder, Split::test);
}

void read_easy_answers(const Input& in) {
  put(scratch() / "answers.txt", in.text);
  put(scratch() / "test/questions.json", R"([["is it red?", "yes", 0], ["which one?", "red", 1]])");
  for (const char* name : {"0.png", "1.png"}) put(scratch() / "test/images" / name, "");
  read_easy_vqa(scratch(), Split::test);
}

void read_instruction_lines(const Input& in) {
  const Path file = scratch() / "lines.jsonl";
  put(file, in.text);
  read_instructions(file, kDollyKeys);
}

constexpr std::array kReaders{
    Reader{"model_config", [](const Input& in) { read_model_file("config.json", in.text); }},
    Reader{"model_language", [](const Input& in) { read_model_file("language/config.json", in.text); }},
    Reader{"open_clip", [](const Input& in) { read_model_file("vision/open_clip_config.json", in.text); }},
    Reader{"hf_vision", read_transformers_tower},
    Reader{"shard_index", read_shard_index},
    Reader{"peft_config", read_peft_folder},
    Reader{"adapter_config", read_adapter_folder},
    Reader{"run_state", read_run_state},
    Reader{"run_marker", read_run_marker},
    Reader{"run_tensors", read_run_tensors},
    Reader{"tokenizer_config",
           [](const Input& in) { read_tokenizer_file("tokenizer_config.json", in.text); }},
    Reader{"special_tokens_map",
           [](const Input& in) { read_beside_config(kGpt2, "special_tokens_map.json", in.text); }},
    Reader{"added_tokens", [](const Input& in) { read_beside_config(kGpt2, "added_tokens.json", in.text); }},
    Reader{"merges", [](const Input& in) { read_beside_config(kGpt2, "merges.txt", in.text); }},
    Reader{"bio_gpt_merges", [](const Input& in) { read_beside_config(kBioGpt, "merges.txt", in.text); }},
    Reader{"preprocessor_config",
           [](const Input& in) { read_pixel_steps("preprocessor_config.json", in.text); }},
    Reader{"processor_config", [](const Input& in) { read_pixel_steps("processor_config.json", in.text); }},
    Reader{"open_clip_pixels", [](const Input& in) { read_pixel_steps("open_clip_config.json", in.text); }},
    Reader{"easy_vqa", read_easy_questions},
    Reader{"easy_vqa_answers", read_easy_answers},
    Reader{"instruction_lines", read_instruction_lines},
};

}  // namespace

std::span<const Reader> folder_readers() { return kReaders; }

}  // namespace morphvlm::fuzz
