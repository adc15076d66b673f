// The README's program is the one that is compiled and run.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string text_of(const std::string& name) {
  std::ifstream in(std::filesystem::path(MORPHVLM_SOURCE_DIR) / name);
  EXPECT_TRUE(in.good()) << name;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(Readme, ProgramIsTheOneThatIsTested) {
  const std::string readme = text_of("README.md"), tested = text_of("tests/consume/readme.cpp");
  const std::string fence = "```cpp\n#include <morphvlm/morphvlm.hpp>\n";
  const auto begin = readme.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const auto code = begin + std::string("```cpp\n").size();
  const std::string program = readme.substr(code, readme.find("```", code) - code);
  EXPECT_NE(tested.find(program), std::string::npos) << program;
}

}  // namespace
