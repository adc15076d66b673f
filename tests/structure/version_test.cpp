// The version stands in CMakeLists.txt, and what cannot read it there says the same.
#include "morphvlm/core/version.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "tests/structure/source_text.hpp"

namespace {

using morphvlm::structure::text_of;

// The only match of the expression's group in the file.
std::string only_match(const std::string& name, const std::string& expression) {
  const std::string text = text_of(name);
  const std::regex regex(expression);
  const std::sregex_iterator found(text.begin(), text.end(), regex), end;
  EXPECT_EQ(std::distance(found, end), 1) << name << ": " << expression;
  return found == end ? "none" : (*found)[1].str();
}

std::string project_version() {
  return only_match("CMakeLists.txt", R"(\bproject\(morphvlm VERSION (\d+\.\d+\.\d+) )");
}

TEST(Version, HeaderSaysTheProjects) { EXPECT_EQ(morphvlm::toolkit_version(), project_version()); }

TEST(Version, VcpkgPortSaysTheProjects) {
  const auto port = nlohmann::json::parse(text_of("packaging/vcpkg/morphvlm/vcpkg.json"));
  EXPECT_EQ(port.at("name"), "morphvlm");
  EXPECT_EQ(port.at("version-semver"), project_version());
}

TEST(Version, ConanRecipeSaysTheProjects) {
  EXPECT_EQ(only_match("packaging/conan/conanfile.py", R"re(\n    version = "([^"]*)"\n)re"),
            project_version());
}

// Whoever copies these lines asks for this major version.
TEST(Version, ExamplesAskForTheMajorVersion) {
  const std::string major = project_version().substr(0, project_version().find('.'));
  for (const char* file :
       {"docs/packaging.md", "packaging/vcpkg/morphvlm/usage", "packaging/conan/test_package/CMakeLists.txt",
        "tests/consume/find_package/CMakeLists.txt"})
    EXPECT_EQ(only_match(file, R"(find_package\(morphvlm (\d+)[ )])"), major) << file;
}

}  // namespace
