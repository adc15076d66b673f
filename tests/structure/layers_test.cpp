#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/structure/rules.hpp"

namespace morphvlm::structure {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A tree to plant headers in.
struct Layers : testing::Test {
  std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "morphvlm_layers_test";

  void SetUp() override { std::filesystem::remove_all(root); }
  void TearDown() override { std::filesystem::remove_all(root); }

  void plant(const std::string& header, const std::string& text) {
    const std::filesystem::path file = root / "include" / "morphvlm" / header;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
};

TEST_F(Layers, ThisTreeKeepsTheRules) {
  std::string all;
  for (const std::string& wrong : check_tree(MORPHVLM_SOURCE_DIR)) all += wrong + '\n';
  EXPECT_EQ(all, "");
}

TEST_F(Layers, OwnAndEarlierLayersMayBeIncluded) {
  plant("core/a.hpp", "#pragma once\n#include <vector>\n");
  plant("nn/b.hpp", "#pragma once\n#include \"morphvlm/core/a.hpp\"\n#include \"morphvlm/nn/c.hpp\"\n");
  plant("nn.hpp", "#pragma once\n#include \"morphvlm/nn/b.hpp\"\n");
  plant("morphvlm.hpp",
        "#pragma once\n#include \"morphvlm/report/report.hpp\"\n#include \"morphvlm/nn.hpp\"\n");
  plant("core/reflect.hpp", "#pragma once\n#include <boost/pfr.hpp>\n");
  plant("core/json.hpp", "#pragma once\n#include <nlohmann/json.hpp>\n");
  EXPECT_THAT(check_tree(root), IsEmpty());
}

TEST_F(Layers, ALaterLayerIsFound) {
  plant("core/a.hpp", "#pragma once\n  # include \"morphvlm/adapt/b.hpp\"  // why not\n");
  EXPECT_THAT(check_tree(root), ElementsAre("core/a.hpp: includes morphvlm/adapt/b.hpp of a later layer"));
  plant("core/a.hpp", "#pragma once\n#include \"morphvlm/morphvlm.hpp\"\n");
  EXPECT_THAT(check_tree(root), ElementsAre("core/a.hpp: includes morphvlm/morphvlm.hpp of a later layer"));
  plant("core/a.hpp", "#pragma once\n#include \"morphvlm/report.hpp\"\n");
  EXPECT_THAT(check_tree(root), ElementsAre("core/a.hpp: includes morphvlm/report.hpp of a later layer"));
}

TEST_F(Layers, AutogradWithoutItsHeaderIsFound) {
  plant("nn/a.hpp", "#pragma once\ninline void f() { torch::autograd::backward({}, {}); }\n");
  EXPECT_THAT(check_tree(root), ElementsAre(HasSubstr("nn/a.hpp: names torch::autograd")));
  plant("nn/a.hpp",
        "#pragma once\n#include <torch/csrc/autograd/autograd.h>\nusing torch::autograd::Node;\n");
  EXPECT_THAT(check_tree(root), IsEmpty());
}

TEST_F(Layers, ALibraryOutsideItsHeaderIsFound) {
  plant("io/a.hpp", "#pragma once\n#include <nlohmann/json_fwd.hpp>\n");
  EXPECT_THAT(check_tree(root), ElementsAre(AllOf(HasSubstr("io/a.hpp"), HasSubstr("only core/json.hpp"))));
  plant("io/a.hpp", "#pragma once\n#include <boost/pfr/core.hpp>\n");
  EXPECT_THAT(check_tree(root),
              ElementsAre(AllOf(HasSubstr("io/a.hpp"), HasSubstr("only core/reflect.hpp"))));
  plant("io/a.hpp", "#pragma once\n#include <torch/torch.h>\n");
  EXPECT_THAT(check_tree(root), ElementsAre(AllOf(HasSubstr("<torch/torch.h>"), HasSubstr("too slow"))));
}

TEST_F(Layers, AKernelOutsideItsFolderIsFound) {
  const std::string on_cpu = "#pragma once\n__attribute__((target(\"avx2\"))) inline void f() {}\n",
                    on_cuda = "#pragma once\ninline constexpr auto kText = R\"(__global__ void f() {})\";\n";
  plant("kernels/cpu/a.hpp", on_cpu);
  plant("kernels/cuda/a.hpp", on_cuda);
  EXPECT_THAT(check_tree(root), IsEmpty());
  plant("nn/a.hpp", on_cpu);
  EXPECT_THAT(check_tree(root), ElementsAre("nn/a.hpp: has a kernel, which belongs in kernels/"));
  plant("nn/a.hpp", on_cuda);
  EXPECT_THAT(check_tree(root), ElementsAre("nn/a.hpp: has a kernel, which belongs in kernels/"));
}

TEST_F(Layers, EachLayerHasAnUmbrellaOfAllItsHeaders) {
  plant("nn/a.hpp", "#pragma once\n");
  plant("kernels/cpu/b.hpp", "#pragma once\n");
  plant("nn.hpp", "#pragma once\n#include \"morphvlm/nn/a.hpp\"\n");
  plant("kernels.hpp", "#pragma once\n#include \"morphvlm/kernels/cpu/b.hpp\"\n");
  EXPECT_THAT(check_umbrellas(root), IsEmpty());
  plant("nn/c.hpp", "#pragma once\n");
  EXPECT_THAT(check_umbrellas(root), ElementsAre("nn.hpp: lacks nn/c.hpp"));
  EXPECT_THAT(check_umbrellas(MORPHVLM_SOURCE_DIR), IsEmpty());
}

TEST_F(Layers, UnknownLayersAndRelativePathsAreFound) {
  plant("util/a.hpp", "#pragma once\n");
  EXPECT_THAT(check_tree(root), ElementsAre("util/a.hpp: is in no layer"));
  std::filesystem::remove_all(root);
  plant("nn/a.hpp", "#pragma once\n#include \"linear.hpp\"\n");
  EXPECT_THAT(check_tree(root), ElementsAre(HasSubstr("linear.hpp")));
  plant("nn/a.hpp", "#pragma once\n#include <morphvlm/nn/linear.hpp>\n");
  EXPECT_THAT(check_tree(root), ElementsAre(HasSubstr("morphvlm/nn/linear.hpp")));
  plant("nn/a.hpp", "#pragma once\n#include \"morphvlm/util/linear.hpp\"\n");
  EXPECT_THAT(check_tree(root),
              ElementsAre("nn/a.hpp: includes morphvlm/util/linear.hpp, which is in no layer"));
}

TEST_F(Layers, AHeaderWithoutGuardAndALongFileAreFound) {
  plant("nn/a.hpp", "int a();\n");
  EXPECT_THAT(check_tree(root), ElementsAre("nn/a.hpp: has no #pragma once"));
  std::string text = "#pragma once\n";
  while (static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) < kMaxLines) text += '\n';
  plant("nn/a.hpp", text);
  EXPECT_THAT(check_tree(root), IsEmpty());
  plant("nn/a.hpp", text + "\n");
  EXPECT_THAT(check_tree(root), ElementsAre(HasSubstr("has 400 lines")));
}

}  // namespace
}  // namespace morphvlm::structure
