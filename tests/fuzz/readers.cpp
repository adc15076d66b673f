// Every reader of untrusted bytes under libFuzzer. The environment variable MORPHVLM_FUZZ_READER says which.
// A reader may refuse its input with an Error and nothing else.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "morphvlm/data.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/train.hpp"

namespace {

using namespace morphvlm;
using Path = std::filesystem::path;

// The input as text, and as a file.
struct Input {
  std::string_view text;
  Path path;
};

// Reads every byte that a tensor claims to have.
void touch(const StateDict& dict) {
  std::uint64_t sum = 0;
  for (const auto& [name, t] : dict) {
    const Tensor flat = t.contiguous();
    const auto* const bytes = static_cast<const unsigned char*>(flat.const_data_ptr());
    for (std::size_t i = 0; i < flat.nbytes(); ++i) sum += bytes[i];
  }
  volatile std::uint64_t kept = sum;
  static_cast<void>(kept);
}

struct TestConfig {
  TrainConfig train;
  LlamaConfig llama;
  ClipVitConfig vision;
  GatedCrossAttentionConfig gates;
};

void read_gguf_file(const Input& in) { touch(read_gguf_llama(in.path)); }

void read_tokenizer_json(const Input& in) {
  const auto tokenizer = make_byte_level_bpe(parse_bpe_json(in.text, "tokenizer.json"));
  const auto ids = encode(tokenizer, "a short text, Ärger 12");
  decode(tokenizer, ids);
}

void read_language_config(const Input& in) {
  const Json json = parse_json(in.text, "config.json");
  language_config_from_hf<LlamaConfig>(json, "config.json");
}

void read_questions(const Input& in) {
  read_vqav2({.questions = in.path, .annotations = in.path, .images = "images"});
}

struct Reader {
  std::string_view name;
  void (*read)(const Input&);
};

constexpr std::array kReaders{
    Reader{"safetensors", [](const Input& in) { touch(load_safetensors(in.path)); }},
    Reader{"torch", [](const Input& in) { touch(load_torch(in.path)); }},
    Reader{"gguf", read_gguf_file},
    Reader{"gguf_tokenizer", [](const Input& in) { morphvlm::detail::load_gguf_tokenizer(in.path); }},
    Reader{"tokenizer_json", read_tokenizer_json},
    Reader{"vocab_json", [](const Input& in) { morphvlm::detail::read_vocab_json(in.path); }},
    Reader{"image", [](const Input& in) { read_image(in.path); }},
    Reader{"config", [](const Input& in) { from_json<TestConfig>(parse_json(in.text, "c"), "c"); }},
    Reader{"language_config", read_language_config},
    Reader{"vqav2", read_questions},
    Reader{"aokvqa", [](const Input& in) { read_aokvqa(in.path, "images"); }},
    Reader{"pubmedqa", [](const Input& in) { read_pubmedqa(in.path); }},
    Reader{"pubmedqa_decisions", [](const Input& in) { read_pubmedqa_decisions(in.path); }},
    Reader{"vqa_lines", [](const Input& in) { read_vqa_lines(in.path); }},
    Reader{"vl_stereoset", [](const Input& in) { read_vl_stereoset(in.path, "images"); }},
    Reader{"pubmed_xml", [](const Input& in) { read_pubmed_xml(in.path); }},
};

const Reader& chosen_reader() {
  const char* const name = std::getenv("MORPHVLM_FUZZ_READER");
  for (const auto& reader : kReaders)
    if (name != nullptr && reader.name == name) return reader;
  for (const auto& reader : kReaders) std::printf("%s\n", std::string(reader.name).c_str());
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
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): a refusal is what is asked for
  }
  ::close(fd);
  return 0;
}
