// The script `morph`, on a tree of its own in which everything is built already.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/formats/files.hpp"

namespace morphvlm::morph_test {
namespace {

namespace fs = std::filesystem;

struct Morph : ::testing::Test {
  testing::ScratchFolder scratch;
  fs::path tree = scratch / "tree", elsewhere = scratch / "else where", tools = scratch / "tools",
           said = scratch / "said", asked = scratch / "asked";

  // A program that says where it runs and with what.
  static void put_program(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    testing::put(path, "#!/bin/sh\n" + text);
    fs::permissions(path, fs::perms::owner_all);
  }

  void SetUp() override {
    fs::create_directories(tree / "cmake");
    fs::create_directories(elsewhere);
    const fs::path source = MORPHVLM_SOURCE_DIR;
    fs::copy_file(source / "morph", tree / "morph");
    fs::copy(source / "cmake/requirements", tree / "cmake/requirements");
    fs::copy_file(source / "cmake/fetch_sdist.py", tree / "cmake/fetch_sdist.py");
    put_program(tools / "dpkg-query", "shift 3\nfor name; do echo \"installed $name\"; done\n");
    put_program(tools / "cmake", "exit 0\n");
    put_program(tree / ".morph/venv/bin/python", "[ \"$1\" != -V ] || echo Python 3.11.2\n");
    const std::string says = "pwd\nprintf '%s\\n' \"$@\"\n";
    for (const char* name : {"plan", "train", "evaluate", "forward", "answer"})
      put_program(tree / "build/release/experiments" / name, says);
    put_program(tree / "build/release/repro/repro", says);
    put_program(tree / "build/release/benchmarks/peer_step", "");
    put_program(elsewhere / "my/python", says);
  }

  // What the command says, called from elsewhere.
  std::string call(const std::string& words) const {
    const std::string line = "cd '" + elsewhere.string() + "' && PATH='" + tools.string() +
                             "':$PATH ../tree/morph " + words + " >'" + asked.string() + "' 2>'" +
                             said.string() + "'";
    EXPECT_EQ(std::system(line.c_str()), 0) << testing::contents(said) << testing::contents(asked);
    return testing::contents(asked);
  }
};

TEST_F(Morph, ProgramsRunInTheCallersFolder) {
  call("plan");  // sets up, and says so
  for (const std::string program : {"plan", "train", "evaluate", "forward", "answer", "repro"})
    EXPECT_EQ(call(program + " --out my_run 'a b'"), elsewhere.string() + "\n--out\nmy_run\na b\n")
        << program;
}

TEST_F(Morph, APathToAPythonCountsFromTheCallersFolder) {
  call("plan");
  EXPECT_EQ(call("bench --peer my/python --record here.json"),
            elsewhere.string() + "\n" + (tree / "benchmarks/compare_with_peer.py").string() + "\n" +
                (tree / "build/release/benchmarks/peer_step").string() + "\n--record\nhere.json\n");
}

}  // namespace
}  // namespace morphvlm::morph_test
