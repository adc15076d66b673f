// A Git LFS pointer or a web page in the place of each kind of file that people download.
#include "morphvlm/core/downloaded_file.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "morphvlm/core/json.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/formats/safetensors.hpp"
#include "morphvlm/formats/torch_pickle.hpp"
#include "morphvlm/image/image.hpp"
#include "morphvlm/text/sentence_piece.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::downloaded_file_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

struct Reader {
  std::string name;
  std::function<void(const std::filesystem::path&)> read;
};

const std::vector<Reader> kReaders{{"model.safetensors", [](const auto& path) { load_safetensors(path); }},
                                   {"model.pt", [](const auto& path) { load_torch(path); }},
                                   {"model.gguf", [](const auto& path) { open_gguf(path); }},
                                   {"tokenizer.model", [](const auto& path) { read_sentence_piece(path); }},
                                   {"tokenizer.json", [](const auto& path) { read_json(path); }},
                                   {"merges.txt", [](const auto& path) { read_text_file(path); }},
                                   {"picture.png", [](const auto& path) { read_image(path); }}};

TEST(DownloadedFile, PointersAndPagesAreNamed) {
  const ScratchFolder folder;
  for (const auto& reader : kReaders) {
    const auto read = [&](const std::string& bytes) { reader.read(put(folder / reader.name, bytes)); };
    EXPECT_ERROR(read(kPointer),
                 HasSubstr(reader.name + ": expected the file itself, found a Git LFS pointer"),
                 HasSubstr("git lfs pull"));
    for (const char* page :
         {"<!DOCTYPE html>\n<html><head>", "\n  <!doctype HTML>", "<html lang=\"en\">", "\xEF\xBB\xBF<HTML>"})
      EXPECT_ERROR(read(page), HasSubstr(reader.name + ": expected the file itself, found an HTML page"),
                   HasSubstr("was not downloaded"));
  }
}

TEST(DownloadedFile, OtherTextIsLeftAlone) {
  for (const char* text : {"", " ", "<", "<?xml version=\"1.0\"?><html>", "version https://example.org",
                           "{\"a\": \"<html>\"}", "<h1>"})
    EXPECT_EQ(testing::error_text([&] { expect_downloaded(text, "a"); }), "") << text;
}

}  // namespace
}  // namespace morphvlm::downloaded_file_test
