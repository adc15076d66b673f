// Every reader of untrusted bytes under libFuzzer. The environment variable MORPHVLM_FUZZ_READER says which.
// A reader may refuse its input with an Error and nothing else; with MORPHVLM_FUZZ_SHOW, it is told which: a
// seed that is refused tests little.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "morphvlm/data.hpp"
#include "morphvlm/distributed.hpp"
#include "morphvlm/formats.hpp"
#include "morphvlm/image.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/plan.hpp"
#include "morphvlm/text.hpp"
#include "morphvlm/train.hpp"
#include "tests/fuzz/reader.hpp"

namespace {

using namespace morphvlm;
using namespace morphvlm::fuzz;

struct TestConfig {
  TrainConfig train;
  LlamaConfig llama;
  ClipVitConfig vision;
  GatedCrossAttentionConfig gates;
};

void read_gguf_file(const Input& in) { touch(read_gguf_llama(in.path)); }

void read_tokenizer_json(const Input& in) {
  const Tokenizer tokenizer = tokenizer_from_json(parse_json(in.text, "tokenizer.json"), "tokenizer.json");
  const auto ids = encode(tokenizer, "a short text, Ärger 12");
  decode(tokenizer, ids);
}

// The model of these sizes is made as well, without memory.
template <class Language>
void read_language_config(const Input& in) {
  using Config = decltype(Language::config);
  const auto config = language_config_from_hf<Config>(parse_json(in.text, "config.json"), "config.json");
  Language::init(config, {at::TensorOptions(at::kFloat).device(at::kMeta)});
}

void read_questions(const Input& in) {
  read_vqav2({.questions = in.path, .annotations = in.path, .images = "images"});
}

void read_sentence_piece_model(const Input& in) {
  const auto tokenizer = read_sentence_piece(in.path);
  decode(tokenizer, encode_sequence(tokenizer, "ab a <s> \u00c4rger 12"));
  const auto pieces = make_piece_bpe(backend_pieces(in.text, true, "tokenizer.model"));
  decode(pieces, encode_sequence(pieces, "ab a <s> \u00c4rger 12"));
}

// The names of pictures come from the file, too.
void read_captions(const Input& in) { missing_images(read_coco_captions(in.path, "images")); }

// Small pictures are made into squares as well, by the steps of both libraries.
void read_picture(const Input& in) {
  constexpr std::int64_t kQuick = 1 << 14;
  const Image image = read_image(in.path);
  if (image.pixels.numel() > kQuick) return;
  for (const auto steps : {PixelSteps::open_clip, PixelSteps::transformers})
    clip_square(image, {.size = 8, .steps = steps});
}

constexpr std::array kReaders{
    Reader{"safetensors", [](const Input& in) { touch(load_safetensors(in.path)); }},
    Reader{"torch", [](const Input& in) { touch(load_torch(in.path)); }},
    Reader{"gguf", read_gguf_file},
    Reader{"gguf_tokenizer", [](const Input& in) { morphvlm::detail::load_gguf_tokenizer(in.path); }},
    Reader{"tokenizer_json", read_tokenizer_json},
    Reader{"vocab_json", [](const Input& in) { morphvlm::detail::read_vocab_json(in.path); }},
    Reader{"image", read_picture},
    Reader{"config", [](const Input& in) { from_json<TestConfig>(parse_json(in.text, "c"), "c"); }},
    Reader{"language_config", read_language_config<Llama<NoAdapter>>},
    Reader{"mpt_config", read_language_config<MPTModel<NoAdapter>>},
    Reader{"neox_config", read_language_config<GPTNeoXModel<NoAdapter>>},
    Reader{"bio_gpt_config", read_language_config<BioGPTModel<NoAdapter>>},
    Reader{"vqav2", read_questions},
    Reader{"aokvqa", [](const Input& in) { read_aokvqa(in.path, "images"); }},
    Reader{"pubmedqa", [](const Input& in) { read_pubmedqa(in.path); }},
    Reader{"pubmedqa_decisions", [](const Input& in) { read_pubmedqa_decisions(in.path); }},
    Reader{"vqa_lines", [](const Input& in) { read_vqa_lines(in.path); }},
    Reader{"vl_stereoset", [](const Input& in) { read_vl_stereoset(in.path, "images"); }},
    Reader{"pubmed_xml", [](const Input& in) { read_pubmed_xml(in.path); }},
    Reader{"sentence_piece", read_sentence_piece_model},
    Reader{"coco_captions", read_captions},
    Reader{"instructions", [](const Input& in) { read_instructions(in.path, kAlpacaKeys); }},
    Reader{"baize", [](const Input& in) { read_baize(in.path); }},
};

const Reader& chosen_reader() {
  const char* const name = std::getenv("MORPHVLM_FUZZ_READER");
  const std::array all{std::span<const Reader>(kReaders), folder_readers()};
  for (const auto& some : all)
    for (const auto& reader : some)
      if (name != nullptr && reader.name == name) return reader;
  for (const auto& some : all)
    for (const auto& reader : some) std::printf("%s\n", std::string(reader.name).c_str());
  std::exit(name != nullptr && std::string_view(name) == "list" ? 0 : 2);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  chosen_reader();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Reader& reader = chosen_reader();
  const int fd = ::memfd_create("input", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, data, size) != static_cast<::ssize_t>(size)) std::abort();
  try {
    reader.read({{reinterpret_cast<const char*>(data), size}, "/proc/self/fd/" + std::to_string(fd)});
  } catch (const Error& e) {
    static const bool show = std::getenv("MORPHVLM_FUZZ_SHOW") != nullptr;
    if (show) std::fprintf(stderr, "refused: %s\n", e.what());
  }
  ::close(fd);
  return 0;
}
