// The README's program is the one that is compiled and run.
#include <gtest/gtest.h>

#include <string>

#include "tests/structure/source_text.hpp"

namespace {

using morphvlm::structure::text_of;

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
